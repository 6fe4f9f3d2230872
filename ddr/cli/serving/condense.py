"""Condenses repeated lines of the technical log: the first is written, then a count once a minute, then the end.

During an outage every request may fail in the same way, on every worker; a flooded log helps nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

EVERY_SECONDS = 60.0  # between two counts; after this long without a repetition the episode is over
TICK_SECONDS = 5.0
MOST = 1000  # kinds of lines counted at the same time

REPEATED, OVER = "log.repeated", "log.repeated_no_more"


class Episode:
    """A line that occurred at least once. Its record is not kept: an exception would keep all objects of its frames
    alive."""

    def __init__(self, name: str, level: int, line: dict[str, Any], now: float) -> None:
        self.name, self.level, self.line = name, level, line
        self.begun = self.told = self.last = now
        self.untold = self.total = 0


class Condensed(logging.Handler):
    """Passes records on to `target`, warnings and errors only when they are new; `fields` gives the content of a
    line."""

    def __init__(
        self,
        target: logging.Handler,
        fields: Callable[[logging.LogRecord], dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._target, self._fields, self._clock = target, fields, clock
        self._episodes: dict[str, Episode] = {}
        self._to_tick = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it. Records below a warning are individual events and always written."""
        if self._to_tick:
            self.keep_ticking()
        if record.levelno < logging.WARNING:
            self._target.handle(record)
            return
        line, now = self._fields(record), self._clock()
        key = f"{record.levelno} {line}"
        episode = self._episodes.get(key)
        if episode is not None:
            episode.last = now
            episode.untold += 1
            episode.total += 1
            return
        if len(self._episodes) < MOST:
            self._episodes[key] = Episode(record.name, record.levelno, line, now)
        self._target.handle(record)

    def tick(self) -> None:
        """Write the counts that are due."""
        with self.lock or threading.RLock():
            now = self._clock()
            for key, episode in list(self._episodes.items()):
                over = now - episode.last >= EVERY_SECONDS
                if over or now - episode.told >= EVERY_SECONDS:
                    self._tell(episode, now, over)
                if over:
                    del self._episodes[key]

    def close(self) -> None:
        """Write all pending counts."""
        with self.lock or threading.RLock():
            for episode in self._episodes.values():
                self._tell(episode, self._clock(), over=False)
            self._episodes.clear()
        super().close()

    def keep_ticking(self) -> None:
        """Start a thread that does so as long as the process lives. Where the system provides none, a later record
        tries again: late counts are no reason to stop."""
        self._to_tick = True
        try:
            threading.Thread(target=self._ticking, name="log", daemon=True).start()
        except RuntimeError:
            return
        self._to_tick = False

    def _ticking(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            self.tick()

    def _tell(self, episode: Episode, now: float, over: bool) -> None:
        if episode.untold or (over and episode.total):
            level = logging.INFO if over else episode.level
            line = logging.makeLogRecord(
                {
                    "name": episode.name,
                    "levelno": level,
                    "levelname": logging.getLevelName(level),
                    "msg": OVER if over else REPEATED,
                    "line": episode.line,
                    "count": episode.total if over else episode.untold,
                    "seconds": round((episode.last if over else now) - episode.begun),
                }
            )
            self._target.handle(line)
        episode.told, episode.untold = now, 0
