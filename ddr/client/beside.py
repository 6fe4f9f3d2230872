"""Work in a thread that is waited for by whoever has begun it: the locks that he holds are for it, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    """What `work` gives. Nothing stops a thread: who is cancelled meanwhile is so when it is done."""
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await over(done)
        raise


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Who is cancelled meanwhile is so when it is done: for what cannot be asked for again."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await over(task)
        if not task.cancelled():
            task.exception()  # its caller has gone; nobody else asks
        raise


async def over(done: asyncio.Future[Any]) -> None:
    """Wait until it is, however often the caller is cancelled."""
    while not done.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({done})
