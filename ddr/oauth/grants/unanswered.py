"""A code that was redeemed and whose tokens never left: the database was lost in that moment, the DiGA was told 503.

What nobody got is no use of the code (RFC 6749 section 4.1.2). So the worker that made the tokens takes the redemption
back as soon as the database is there again, and the code is good once more for the rest of its time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass

from ddr.http.core import Core
from ddr.store.authorization import tokens
from ddr.store.authorization.tokens import Code, Family
from ddr.store.database.faults import FAULTS

AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 2.0  # in which a worker that has the database again takes back what it has to

log = logging.getLogger(__name__)
_running: set[asyncio.Task[None]] = set()


@dataclass(frozen=True)
class Redemption:
    """What one request tried: to redeem this code for this refresh token, both as hashes."""

    code_sha256: bytes
    family: Family
    refresh_sha256: bytes
    until_ms: int  # the end of the code


def take_back(core: Core, redemption: Redemption) -> None:
    """Take it back beside the requests, if it was made. Its tokens must not be answered any more."""
    task = asyncio.get_running_loop().create_task(_take_back(core, redemption), context=Context())
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _take_back(core: Core, redemption: Redemption) -> None:
    """Until it is settled, or the code is too old: the end of a lost transaction may come late."""
    family, hashes = redemption.family, (redemption.code_sha256, redemption.refresh_sha256)
    with suppress(TimeoutError):
        async with asyncio.timeout((redemption.until_ms - core.clock()) / 1000):
            while True:
                with suppress(*FAULTS):
                    taken = await tokens.take_back(core.pool, *hashes, family.patient_id, family.grant_no)
                    if taken:
                        log.info("code.good_again", extra={"client_id": family.client_id})
                    if taken is not None:
                        return
                await asyncio.sleep(AGAIN_SECONDS)


async def good_again(core: Core, code_sha256: bytes, code: Code, now_ms: int) -> bool:
    """Whether a redeemed `code` is good again, now or in a moment. Only after the database was away this takes time."""
    assert code.redeemed_ms is not None
    since_ms = now_ms - code.redeemed_ms
    if core.presence.there_ms(code.redeemed_ms, now_ms) >= since_ms:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = await tokens.load_code(core.pool, code_sha256)
                if found is None or found.redeemed_ms != code.redeemed_ms:
                    return found is not None and found.redeemed_ms is None
                await asyncio.sleep(AGAIN_SECONDS)
    return False
