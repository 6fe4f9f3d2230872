"""Bearer tokens for a registry: during a rotation both are known, and the accepted one is used."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import httpx

REFUSED = (401, 403)


class Tokens(httpx.Auth):
    """Sends the token that was accepted last, initially the first; when one is rejected, it tries the next."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)
        self.accepted = ""  # the token of the last response that was not a rejection

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, with one token after another while they are rejected."""
        if not self._tokens:
            yield request
        for token in list(self._tokens):
            request.headers["authorization"] = f"Bearer {token}"
            response = yield request
            if response.status_code not in REFUSED:
                self.accepted = token
                self._tokens.sort(key=lambda one: one != token)
                return
