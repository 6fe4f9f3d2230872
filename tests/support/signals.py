"""Signals that processes started by a test must not ignore, even if the parent of the tests ignores them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AS_FROM_A_TERMINAL: dict[signal.Signals, Any] = {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}


@contextmanager
def not_ignored() -> Iterator[None]:
    """SIGHUP, which nohup ignores, and SIGINT, which background jobs of a script ignore: child processes inherit
    both."""
    before = {number: signal.getsignal(number) for number in _AS_FROM_A_TERMINAL}
    ignored = [number for number, handler in before.items() if handler is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, _AS_FROM_A_TERMINAL[number])
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
