"""Tokens that never left: the database was lost just then and the DiGA was told 503, or it had disconnected.

Tokens that nobody received do not count as a use of a code (RFC 6749 section 4.1.2). So the worker that made them takes
the redemption back as soon as the database is available again, and the code is valid again for the rest of its time.
Neither do they count as a use of a refresh token: it gets the same successor again until somebody has used that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass

from starlette.responses import Response

from ddr.durations import HOUR_MS
from ddr.http.asgi import Receive, Scope, Send, client_gone
from ddr.http.core import Core
from ddr.store.authorization import rotations, tokens
from ddr.store.authorization.tokens import Family
from ddr.store.database.faults import FAULTS

AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 2.0  # for a worker with a working database to take back what it must
REPEAT_MS, REPEAT_SECONDS = HOUR_MS, 5.0  # for how long, and how often, it tries to make a refresh repeatable
LOOKS = 3  # at a database that answers: a lost rotation may take that long to end
MOST = 200  # at once; those under way when the database was lost come first
UNDER_WAY_MS = 10_000  # since a code was redeemed, during which its answer may not have left
SOON_SECONDS, LOOK_SECONDS = 0.3, 0.05  # within which that shows; nobody else gets this one's turn meanwhile

log = logging.getLogger(__name__)
_running: set[asyncio.Task[None]] = set()


@dataclass(frozen=True)
class Redemption:
    """What one request tried: to redeem this code for this refresh token, both as hashes."""

    code_sha256: bytes
    family: Family
    refresh_sha256: bytes
    until_ms: int  # when the code expires


def take_back(core: Core, redemption: Redemption) -> None:
    """In the background: take it back, if it was made. Its tokens must not be sent any more."""
    family, hashes = redemption.family, (redemption.code_sha256, redemption.refresh_sha256)

    async def step() -> bool:
        taken = await tokens.take_back(core.pool, *hashes, family.patient_id, family.grant_no)
        if taken:
            log.info("code.good_again", extra={"client_id": family.client_id})
        return taken is not None

    _beside(step, redemption.until_ms - core.clock(), AGAIN_SECONDS)


def let_repeat(core: Core, pairing_id: str, grant_no: int, successor_sha256: bytes) -> None:
    """In the background: let the previous refresh token be repeated, because the client did not get the answer; does
    nothing if the rotation was not made."""
    looks = 0

    async def step() -> bool:
        nonlocal looks
        pairing = await tokens.find_pairing(core.pool, pairing_id)
        if pairing is None or await rotations.let_repeat(core.pool, pairing.patient_id, grant_no, successor_sha256):
            return True
        looks += 1
        return looks == LOOKS

    if len(_running) < MOST:
        _beside(step, REPEAT_MS, REPEAT_SECONDS)


def _beside(step: Callable[[], Awaitable[bool]], patience_ms: int, pause: float) -> None:
    task = asyncio.get_running_loop().create_task(_settle(step, patience_ms, pause), context=Context())
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _settle(step: Callable[[], Awaitable[bool]], patience_ms: int, pause: float) -> None:
    """Repeat `step` until it is settled, or too late: a lost transaction may end late."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_ms / 1000):
            while True:
                with suppress(*FAULTS):
                    if await step():
                        return
                await asyncio.sleep(pause)


class Tokens(Response):
    """A response with tokens; `not_given` is called when the client disconnected before they left.

    It first waits for `rounds` of the event loop, so that whatever has arrived meanwhile is noticed, through TLS, too.
    """

    def __init__(self, answer: Response, not_given: Callable[[], None], rounds: int = 0) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer, self._not_given, self._rounds = answer, not_given, rounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        sent = False
        try:
            for _ in range(self._rounds):
                await asyncio.sleep(0)
            if not client_gone(scope):
                await self._answer(scope, receive, send)
                sent = not client_gone(scope)
        finally:
            if not sent:
                self._not_given()


async def good_again(core: Core, code_sha256: bytes, redeemed_ms: int, now_ms: int) -> bool:
    """Whether a code that was redeemed at this time is valid again, now or in a moment.

    This only takes time after the database was away, and while the answer to the redemption may be under way.
    """
    since_ms = now_ms - redeemed_ms
    away = core.presence.there_ms(redeemed_ms, now_ms) < since_ms
    under_way = SOON_SECONDS if since_ms < UNDER_WAY_MS else 0.0
    patience, pause = (PATIENCE_SECONDS, AGAIN_SECONDS) if away else (under_way, LOOK_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while True:
                found = await tokens.load_code(core.pool, code_sha256)
                if found is None or found.redeemed_ms != redeemed_ms:
                    return found is not None and found.redeemed_ms is None
                await asyncio.sleep(pause)
    return False
