"""Starts child processes, and leaves none behind whose end would go unnoticed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")

NOT_STARTED = (OSError, RuntimeError)  # no process; no thread, which Python 3.11 needs to wait for the end of one


async def begin(*command: str, **how: Any) -> asyncio.subprocess.Process:
    """Like `asyncio.create_subprocess_exec`. Raises NOT_STARTED; then no process exists."""
    if sys.version_info < (3, 12) and not isinstance(asyncio.get_child_watcher(), _Watcher):
        asyncio.set_child_watcher(_Watcher())
    return await asyncio.create_subprocess_exec(*command, **how)


if sys.version_info < (3, 12):  # from 3.12 on the system reports the end (Linux 5.3)

    class _Watcher(asyncio.ThreadedChildWatcher):
        """When Python's own watcher gets no thread it leaves the process behind: one more with each try."""

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *Ts], object], *args: *Ts) -> None:
            """Raises RuntimeError when the system provides no thread."""
            try:
                super().add_child_handler(pid, callback, *args)
            except RuntimeError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
