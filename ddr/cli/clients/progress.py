"""A line on stderr that says how far it is; only on a terminal, elsewhere the last one alone."""

from __future__ import annotations

import sys

WIDTH = 24


class Progress:
    """`total` None: it has no end."""

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
        """A line of its own."""
        self.clear()
        print(text, file=sys.stderr)

    def end(self, text: str) -> None:
        self.say(text)

    def clear(self) -> None:
        """Nothing half-written stays."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr)
