"""Whatever a fixture stops must end in time; otherwise this reports what waits for what."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SECONDS = 60.0


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Raises TimeoutError when the block takes longer than SECONDS, after printing the position of each task to
    stderr."""
    told = asyncio.get_running_loop().call_later(SECONDS - 1, _tell)
    try:
        async with asyncio.timeout(SECONDS):
            yield
    finally:
        told.cancel()


def _tell() -> None:
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
