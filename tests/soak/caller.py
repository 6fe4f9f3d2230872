"""A well-behaved HTTP client of the soak: it waits as told, and repeats unanswered requests."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import httpx

from tests.soak.ledger import Ledger

LONGEST_WAIT = 5.0  # seconds; what Retry-After asks for beyond is not waited for, to keep the load up


class Caller:
    """One party's connection pool. Every answer goes into the ledger."""

    def __init__(self, ledger: Ledger, who: str, http: httpx.AsyncClient) -> None:
        self.ledger, self.who, self._http = ledger, who, http

    async def once(self, method: str, url: str, **more: Any) -> httpx.Response | None:
        """The answer, or None when there is none or it asks to come again, after a pause."""
        begun = time.monotonic()
        try:
            answer = await self._http.request(method, url, **more)
        except (httpx.TransportError, ssl.SSLError) as error:  # alerts of TLS 1.3 come as they are
            self.ledger.lost(self.who, error, begun)
            await asyncio.sleep(0.1)
            return None
        self.ledger.answered(self.who, answer, begun)
        if answer.status_code in (429, 503):
            await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), LONGEST_WAIT))
            return None
        return answer

    async def until_answered(self, method: str, url: str, **more: Any) -> httpx.Response:
        """The answer, however often it takes."""
        while True:
            if (answer := await self.once(method, url, **more)) is not None:
                return answer
