"""Processes that a test watches and ends by their ids: any of them may have ended just before."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def children(process: int) -> list[int]:
    """Its child processes; none when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def alive(process: int) -> bool:
    """False also when it has ended and only waits for its parent to notice, which an orphan's parent may never do."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def send(process: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal, if the process still exists."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
