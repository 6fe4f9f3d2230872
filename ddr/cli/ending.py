"""How a command ends that does not come to its own end: by a signal, or because nobody can take what it prints."""

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
ENDING = (signal.SIGTERM, signal.SIGHUP)  # of a service manager; of a terminal that is gone


@contextmanager
def taking_back() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end what is done in the block as Ctrl-C does: half of a file is deleted, a private database
    stops. Yields those that came; `die` is for after the block.

    What ignores them (nohup), or handles them itself, goes on doing so.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if not callable(signal.getsignal(signal.SIGINT)):  # a script's background jobs ignore Ctrl-C, and only that
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # an event loop has its own way with it

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
    """As asyncio.run, but a signal ends it at whatever moment it comes.

    One that comes just before the event loop begins to wait would only be seen when something else wakes it, which may
    be at the end of a statement: a loop that has a handler of its own, for whichever signal, is woken by each of them.
    """

    async def woken() -> T:
        asyncio.get_running_loop().add_signal_handler(signal.SIGURG, lambda: None)
        return await main

    return asyncio.run(woken() if threading.current_thread() is threading.main_thread() else main)


def die(number: int) -> None:
    """End this process by a signal, so that whoever sent it sees that it was that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def open_streams() -> None:
    """Let there be a standard input, output and error, which can take each character.

    Where one is closed Python prints nothing without a word, and the next file that is opened gets its number. What is
    printed to a closed output is an error here.
    """
    for name, mode, flags in (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))
    if isinstance(sys.stdout, io.TextIOWrapper):  # of a terminal that is not UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")


def printed() -> str | None:
    """None when all that was printed has been taken, else one line, and nothing more is printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # else the interpreter tries again at its end, and complains in its own way
            out = sys.stdout.fileno()
            os.dup2(os.open(os.devnull, os.O_WRONLY), out)
        return f"{LOST}: {in_words(error)}"
    return None
