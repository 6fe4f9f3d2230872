"""A progress line on stderr; where stderr is not a terminal, only the last one."""

from __future__ import annotations

import sys

WIDTH = 24


class Progress:
    """`total` None: there is no end."""

    def __init__(self, verb: str, total: int | None) -> None:
        self._verb, self._total, self._shown = verb, total, sys.stderr.isatty()

    def show(self, done: int, text: str) -> None:
        if self._shown:
            bar = ""
            if self._total:
                filled = WIDTH * done // self._total
                bar = f"[{'#' * filled}{'.' * (WIDTH - filled)}] "
            of = f"/{self._total}" if self._total else ""
            print(f"\r\x1b[K{self._verb} {bar}{done}{of}, {text}", end="", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self.clear()
        print(text, file=sys.stderr)

    def end(self, text: str) -> None:
        self.say(text)

    def clear(self) -> None:
        """Remove an unfinished line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr)
