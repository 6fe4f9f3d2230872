"""Work that a caller waits for to its end, even when cancelled: the locks that the caller holds are for the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread. Nothing stops a thread: a caller who is cancelled leaves when it is done."""
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await over(done)
        raise


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, for what cannot be asked for again: a caller who is cancelled leaves when it is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await over(task)
        if not task.cancelled():
            task.exception()  # its caller has gone; nobody else asks
        raise


async def over(done: asyncio.Future[Any]) -> None:
    """Returns when `done` is, however often the caller is cancelled."""
    while not done.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({done})
