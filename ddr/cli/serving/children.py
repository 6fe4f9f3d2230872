"""Starts child processes, and leaves none behind whose end nobody would hear of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")

NOT_STARTED = (OSError, RuntimeError)  # no process; no thread, of which Python 3.11 needs one to wait for its end


async def begin(*command: str, **how: Any) -> asyncio.subprocess.Process:
    """As `asyncio.create_subprocess_exec`. Raises NOT_STARTED; then there is no such process."""
    if sys.version_info < (3, 12) and not isinstance(asyncio.get_child_watcher(), _Watcher):
        asyncio.set_child_watcher(_Watcher())
    return await asyncio.create_subprocess_exec(*command, **how)


if sys.version_info < (3, 12):  # later ones are told by the system (Linux 5.3)

    class _Watcher(asyncio.ThreadedChildWatcher):
        """Python's own leaves a process for which it has no thread: one more with each try, in the room of the next."""

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *Ts], object], *args: *Ts) -> None:
            """Raises RuntimeError when the system gives no thread."""
            try:
                super().add_child_handler(pid, callback, *args)
            except RuntimeError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
