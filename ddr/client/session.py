"""The access token of one pairing: renewed in time, by one process at a time, and never lost on the way to the disk.

A recorder rotates refresh tokens: its response uses the old one up. When the response is lost, the same request gets
the same successor for some seconds (docs/diga-guide.md, Tokens); later it looks like theft and ends the pairing. So an
unanswered refresh is repeated at once, with short timeouts. A cancelled caller waits for the refresh that it has begun:
leaving at once would close the connections and lose the response. The store is tested before the old token is used up.
If it then fails all the same, the new grant stays in memory until it is stored: recorders need not repeat a response.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from typing import Any

import httpx

from ddr.client import oauth
from ddr.client.beside import over
from ddr.client.diga import Diga
from ddr.client.errors import PairingEnded, Throttled, Unanswered, Unreachable
from ddr.client.tokens import Grant, TokenStore

EARLY_SECONDS = 30  # a token that expires within this time is renewed before use
REPEAT_SECONDS = 8.0  # since the first try; recorders repeat a response for ten
UNSAID_SECONDS = 60.0  # assumed lifetime of a token whose response gives none
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)
LONGEST_PAUSE = 2.0  # before another process repeats an unanswered refresh
ANSWER = httpx.Timeout(4, connect=2)  # two tries fit into REPEAT_SECONDS even when nothing answers
ANSWER_SECONDS = 6.0  # for all of a response: a body may trickle in

_running: set[asyncio.Task[Grant]] = set()  # kept from the garbage collector
_begun: set[asyncio.Task[Any] | None] = set()  # those of them that can no longer be given up
# Successors that their store has not taken, by issuer and the refresh token that they replace.
_unsaved: dict[tuple[str, str], Grant] = {}


class Session:
    """The tokens of one pairing, for its requests."""

    def __init__(self, diga: Diga, http: httpx.AsyncClient, store: TokenStore, pairing_id: str) -> None:
        self._diga, self._http, self._store, self._pairing_id = diga, http, store, pairing_id

    async def token(self, refused: str | None = None) -> str:
        """An access token that stays valid for a while, other than `refused`, which the recorder rejected.

        Raises PairingEnded, Throttled, Refused, Unreachable, and the store's errors.
        """
        grant = await self._stored()
        if self._good(grant, refused):
            return grant.access_token
        task = asyncio.create_task(self._renew(refused))
        _running.add(task)
        task.add_done_callback(_finished)
        try:
            return (await asyncio.shield(task)).access_token
        except asyncio.CancelledError:
            if task not in _begun:
                task.cancel()
            await over(task)
            raise

    async def scope(self) -> str:
        """The granted scope, "" if unknown. Raises PairingEnded."""
        return (await self._stored()).scope

    async def _renew(self, refused: str | None) -> Grant:
        async with self._store.alone(self._pairing_id):
            grant = await self._saved(await self._stored())
            if self._good(grant, refused):  # another task or process was faster
                return grant
            server = await oauth.metadata(self._http, self._diga.issuer)
            form = {
                "grant_type": "refresh_token",
                "client_id": self._diga.client_id,
                "refresh_token": grant.refresh_token,
            }
            _begun.add(asyncio.current_task())
            await self._store.save(grant)  # a full disk shows while the token is still valid
            began = time.time()
            try:
                fresh = grant_of(await self._answer(oauth.member(server, "token_endpoint"), form), began, grant)
            except PairingEnded:
                await self._store.save(replace(grant, ended=True))
                raise
            try:
                await self._store.save(fresh)
            except BaseException:
                _unsaved[self._diga.issuer, grant.refresh_token] = fresh
                raise
            return fresh

    async def _saved(self, grant: Grant) -> Grant:
        """`grant`, or its successor if the store has not taken that yet: it is stored now. Raises the store's
        errors."""
        used = (self._diga.issuer, grant.refresh_token)
        fresh = _unsaved.get(used)
        if fresh is None:
            return grant
        await self._store.save(fresh)
        _unsaved.pop(used, None)
        return fresh

    async def _answer(self, url: str, form: dict[str, str]) -> oauth.Json:
        """The response to a refresh, repeated for as long as the recorder would repeat it. Raises Unanswered when a
        refresh was sent that may have been carried out."""
        until, sent = time.monotonic() + REPEAT_SECONDS, False
        for pause in (*PAUSES, REPEAT_SECONDS):
            try:
                answer = await oauth.post(self._http, url, form, timeout=ANSWER, longest=ANSWER_SECONDS)
                oauth.member(answer, "access_token")
                return answer
            except Unreachable:
                sent, wait = True, pause
            except Throttled as error:
                if not sent:
                    raise
                wait = max(pause, error.retry_seconds)
            if time.monotonic() + wait + 1 > until:
                raise Unanswered(min(wait, LONGEST_PAUSE))
            await asyncio.sleep(wait)
        raise AssertionError("the last pause is longer than all that is waited")

    @staticmethod
    def _good(grant: Grant, refused: str | None) -> bool:
        return grant.access_token != refused and grant.expires_at - EARLY_SECONDS > time.time()

    async def _stored(self) -> Grant:
        grant = await self._store.load(self._pairing_id)
        if grant is None:
            raise PairingEnded("no tokens are stored for this pairing")
        if grant.ended:
            raise PairingEnded("the recorder has ended this pairing")
        return grant


def grant_of(answer: oauth.Json, began: float, former: Grant | None = None) -> Grant:
    """The grant in a response of the token endpoint to a request sent at `began`, seconds since 1970; what the response
    to a refresh leaves out is taken from `former`. Raises Unreachable when a required member is missing."""
    return Grant(
        pairing_id=former.pairing_id if former else oauth.member(answer, "sub"),
        scope=_text(answer, "scope") or (former.scope if former else ""),
        refresh_token=_text(answer, "refresh_token") or (former.refresh_token if former else ""),
        access_token=oauth.member(answer, "access_token"),
        expires_at=began + _lifetime(answer.get("expires_in")),
    )


def _text(answer: oauth.Json, name: str) -> str:
    """A member of a response; empty if it is missing or not text."""
    found = answer.get(name)
    return found if isinstance(found, str) else ""


def _lifetime(expires_in: Any) -> float:
    """Lifetime of an access token in seconds (RFC 6749 section 5.1); a minute when the response gives none."""
    try:
        seconds = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return UNSAID_SECONDS
    return seconds if math.isfinite(seconds) else UNSAID_SECONDS


def _finished(task: asyncio.Task[Grant]) -> None:
    _running.discard(task)
    _begun.discard(task)
    if not task.cancelled():
        task.exception()  # its caller may have gone; then nobody else retrieves it
