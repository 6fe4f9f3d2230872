"""Work that runs to its end even when its caller is cancelled, because it needs the locks that the caller holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    """The result of `work`, run in a thread. A thread cannot be stopped, so a cancelled caller leaves when it has
    finished."""
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await over(done)
        raise


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work` that cannot be requested twice. A cancelled caller leaves when it has finished."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await over(task)
        if not task.cancelled():
            task.exception()  # the caller has gone; nobody else retrieves it
        raise


async def over(done: asyncio.Future[Any]) -> None:
    """Return when `done` has finished, however often the caller is cancelled."""
    while not done.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({done})
