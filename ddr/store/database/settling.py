"""Whether a transaction was committed when the database went away before it confirmed that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ddr.store.database.faults import FAULTS, UNAVAILABLE, fault_of

SETTLE_SECONDS = 5.0  # a server that crashed is usually back by then
AGAIN_SECONDS = 0.2


async def was_committed(error: BaseException, ask: Callable[[], Awaitable[bool]]) -> bool:
    """What `ask()` finds out once the database answers again; False when it does not within SETTLE_SECONDS, or when
    `error` itself says that nothing was committed.

    For what can only be done once and only the caller would not know about: told 503, it would retry in vain.
    """
    if fault_of(error) != UNAVAILABLE:
        return False
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                try:
                    return await ask()
                except FAULTS:
                    await asyncio.sleep(AGAIN_SECONDS)
    except TimeoutError:
        return False
