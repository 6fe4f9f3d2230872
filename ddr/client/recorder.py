"""A recorder as one paired DiGA sees it: requests that renew their token, wait when told to, and follow pages."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from ddr.client import oauth
from ddr.client.diga import Diga
from ddr.client.errors import PairingEnded, Refused, Throttled, Unreachable
from ddr.client.pairing import grant_of
from ddr.client.pull import Change, Cursor, changes
from ddr.client.tokens import Grant, TokenStore

Json = dict[str, Any]
EARLY_SECONDS = 30  # a token that ends within this time is renewed before it is used
TRIES = 4


class Recorder:
    """The data of one pairing. `patience` is the longest time in seconds that a request waits for Retry-After."""

    def __init__(
        self, diga: Diga, http: httpx.AsyncClient, store: TokenStore, pairing_id: str, patience: float = 120.0
    ) -> None:
        self._diga, self._http, self._store, self._pairing_id = diga, http, store, pairing_id
        self._patience = patience

    async def pull(self, since: Cursor | None = None) -> AsyncIterator[Change]:
        """Everything new or changed since `since`, oldest news last; the last Change has the cursor to go on from.

        Give the cursor of the last Change that was taken durably to the next pull: what comes twice after a crash has
        an id and a version that are known. Raises Throttled (the Grace-Period still runs), PairingEnded, Unreachable.
        """
        async for change in changes(self.pages, since or Cursor()):
            yield change

    async def pages(self, kind: str, parameters: Mapping[str, str]) -> AsyncIterator[Json]:
        """The Bundles of a search, page after page. Raises as `get`."""
        url: str | None = f"{self._diga.fhir_base}/{kind}?{urlencode(parameters)}"
        while url:
            bundle = await self.get(url)
            yield bundle
            found = next((link["url"] for link in bundle.get("link", ()) if link.get("relation") == "next"), None)
            url = self._ours(url, found) if found else None

    async def get(self, url: str) -> Json:
        """The JSON of a FHIR request. Raises Throttled, PairingEnded, Refused, Unreachable."""
        waited, renewed = 0.0, False
        for attempt in range(TRIES):
            grant = await self._grant(renewed)
            headers = {"authorization": f"Bearer {grant.access_token}", "accept": "application/fhir+json"}
            try:
                answer = await oauth.ask(self._http, "GET", url, headers=headers)
            except Unreachable:
                if attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(random.uniform(0.5, 1) * 2**attempt)  # noqa: S311
                continue
            if answer.is_success:
                content: Json = answer.json()
                return content
            if answer.status_code == 401:
                if renewed:
                    raise PairingEnded(_text(answer))
                renewed = True
            elif answer.status_code in (429, 503):
                pause = oauth.retry_seconds(answer) + random.uniform(0, 1)  # noqa: S311 - so that not all come at once
                if waited + pause > self._patience:
                    raise Throttled(pause)
                waited += pause
                await asyncio.sleep(pause)
            elif answer.status_code < 500:
                raise Refused(answer.status_code, _code(answer), _text(answer))
        raise Unreachable("the recorder does not answer")

    async def _grant(self, renew: bool) -> Grant:
        """Tokens that are good for a while; refreshed by one process at a time."""
        grant = await self._stored()
        if not renew and grant.expires_at - EARLY_SECONDS > time.time():
            return grant
        async with self._store.alone(self._pairing_id):
            now = await self._stored()
            if now.access_token != grant.access_token:  # somebody else was faster
                return now
            server = await oauth.metadata(self._http, self._diga.issuer)
            form = {
                "grant_type": "refresh_token",
                "client_id": self._diga.client_id,
                "refresh_token": now.refresh_token,
            }
            began = time.time()
            fresh = grant_of(await oauth.post(self._http, server["token_endpoint"], form), began, now)
            await self._store.save(fresh)
            return fresh

    async def _stored(self) -> Grant:
        grant = await self._store.load(self._pairing_id)
        if grant is None:
            raise PairingEnded("no tokens are stored for this pairing")
        return grant

    def _ours(self, url: str, link: str) -> str:
        """A link to a further page, absolute or relative; never to another server, which would get our token."""
        absolute = urljoin(url, link)
        here, there = urlsplit(self._diga.fhir_base), urlsplit(absolute)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise Refused(200, "link", "a page's link leads to another server")
        return absolute


def _outcome(answer: httpx.Response) -> Json:
    try:
        issues = answer.json().get("issue", [])
        return issues[0] if issues else {}
    except (ValueError, AttributeError, LookupError):
        return {}


def _code(answer: httpx.Response) -> str:
    return str(_outcome(answer).get("code", "error"))


def _text(answer: httpx.Response) -> str:
    issue = _outcome(answer)
    return str((issue.get("details") or {}).get("text") or issue.get("diagnostics") or answer.reason_phrase)
