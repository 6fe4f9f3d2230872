"""How a command ends early: by a signal, or because its output cannot be written."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

from ddr.reasons import in_words

T = TypeVar("T")

LOST = "not all of the output could be written"
ENDING = (signal.SIGTERM, signal.SIGHUP)  # from a service manager; from a terminal that has closed


@contextmanager
def taking_back() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end the work in the block as Ctrl-C does: an unfinished file is deleted, a private database
    stops. Yields the signals received; call `die` after the block.

    Where they are ignored (nohup) or have other handlers, nothing changes.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if not callable(signal.getsignal(signal.SIGINT)):  # background jobs of a script ignore Ctrl-C only
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # an event loop handles it in its own way

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number in taken:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


def waking(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, but a signal ends it whenever it arrives.

    A signal that arrives just before the event loop begins to wait would be noticed only when something else wakes the
    loop, perhaps at the end of a statement. A loop with a handler of its own, for any signal, is woken by all of them.
    """

    async def woken() -> T:
        asyncio.get_running_loop().add_signal_handler(signal.SIGURG, lambda: None)
        return await main

    return asyncio.run(woken() if threading.current_thread() is threading.main_thread() else main)


def die(number: int) -> None:
    """End this process by a signal, so that its sender sees that it worked."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def open_streams() -> None:
    """Ensure that standard input, output and error exist and accept every character.

    If one is closed, Python silently discards output, and the next opened file gets its number. Here, printing to a
    closed output is an error.
    """
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):  # for terminals that do not use UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")


def printed() -> str | None:
    """None when all output was written, else one line; after that nothing more is printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # otherwise the interpreter tries again at exit, and prints its own error
            out = sys.stdout.fileno()
            os.dup2(os.open(os.devnull, os.O_WRONLY), out)
        return f"{LOST}: {in_words(error)}"
    return None
