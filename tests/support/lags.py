"""How long the event loop was blocked while something was done."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from types import CoroutineType, FrameType, TracebackType
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")

LOOK_SECONDS = 0.005
OWN_SECONDS = 0.5  # how long a thread computes, to see how much a busy machine delays the loop anyway
# Measured beside a client in the same process on a busy machine. Before the mends, each of these took 0.5 to 43 s.
MOST_SECONDS = 0.25
SOME = 10  # number of lags from which on most must be none


class Lags:
    """How late a task of the recorder's event loop was while something else was done.

    A lag counts only as far as this process was computing meanwhile: time given to other processes is not its fault.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.largest_pass = 0  # objects visited by a full pass of the garbage collector, during which nothing else runs
        self.circles: Counter[str] = Counter()  # objects, by type, that only the garbage collector frees

    async def during(self, work: Awaitable[T]) -> T:
        """The result."""
        gc.collect()
        gc.freeze()  # what hundreds of earlier tests left in this process is not a recorder's garbage
        watching = asyncio.create_task(self._watch())
        gc.callbacks.append(self._pass)
        try:
            with _no_look_into_frames():
                return await work
        finally:
            gc.callbacks.remove(self._pass)
            watching.cancel()
            self.circles = _circles()
            gc.unfreeze()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wanted, computed = loop.time() + LOOK_SECONDS, time.process_time()
            await asyncio.sleep(LOOK_SECONDS)
            self.seconds.append(min(loop.time() - wanted, time.process_time() - computed))

    def _pass(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start" and about["generation"] == 2:
            self.largest_pass = max(self.largest_pass, len(gc.get_objects()))

    @property
    def short(self) -> bool:
        """No single lag was long."""
        return max(self.seconds, default=0) < MOST_SECONDS

    async def check(self) -> None:
        """No single lag was long, and most were none; on a busy machine compared with what a plain thread costs the
        loop."""
        if not self.short:
            own = Lags()
            await own.during(asyncio.to_thread(_compute))
            assert max(self.seconds) < MOST_SECONDS + 3 * max(own.seconds), (max(self.seconds), max(own.seconds))
        if len(self.seconds) >= SOME:  # for shorter work the number of lags proves nothing
            assert statistics.median(self.seconds) < MOST_SECONDS / 5


@contextmanager
def _no_look_into_frames() -> Iterator[None]:
    """slipcover, which records in CI what is executed, before Python 3.12 now and then reads the variables of all
    frames: objects in them are then freed by the garbage collector only."""
    tool: Any = sys.modules.get("slipcover.slipcover")
    if tool is None or sys.version_info >= (3, 12):
        yield
    else:
        with patch.object(tool.Slipcover, "deinstrument_seen", lambda tool: None):
            yield


def _circles() -> Counter[str]:
    """Free what only the garbage collector can; returns its types, and for frames the code: that shows who holds the
    rest."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = Counter(map(_kind, gc.garbage))
    gc.garbage.clear()
    gc.collect()
    return found


def _kind(one: object) -> str:
    match one:
        case FrameType():
            return f"frame of {one.f_code.co_qualname}"
        case TracebackType():
            return f"traceback in {one.tb_frame.f_code.co_qualname}"
        case CoroutineType():
            return f"coroutine {one.cr_code.co_qualname}"
    return type(one).__qualname__


def _compute() -> None:
    until, number = time.monotonic() + OWN_SECONDS, 0
    while time.monotonic() < until:
        number += 1
