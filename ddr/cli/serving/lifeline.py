"""A worker's side of the dialogue with its supervisor (`ddr.cli.serving.process`): heartbeat, messages, end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from ddr.cli.serving.process import BEAT_SECONDS, LONGEST_LINE
from ddr.reasons import kind_of

log = logging.getLogger(__name__)

Told = Callable[[Mapping[str, Any]], None]


class Lifeline:
    """Cancels the task that opened it, once, when the worker should end: its stdin has closed, or SIGTERM arrived."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.figures: Callable[[], Mapping[str, Any]] = dict
        self._known: Mapping[str, Any] = {}  # of the last heartbeat, or the one before
        self._ready = self._leaving = False
        self._unsaid = b""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Start the heartbeat and listen. Ctrl-C and a closed terminal reach the whole process group: the supervisor
        decides."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop, worker = asyncio.get_running_loop(), asyncio.current_task()
        assert worker is not None
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        os.set_blocking(sys.stdout.fileno(), False)  # a supervisor that hangs must not block us

        def end() -> None:
            if not self._leaving:
                self._leaving = True
                self._say()
                worker.cancel()

        loop.add_signal_handler(signal.SIGTERM, end)
        self._tasks = [
            asyncio.create_task(self._beat()),
            asyncio.create_task(self._count()),
            asyncio.create_task(self._listen(reader, end)),
        ]

    def ready(self) -> None:
        """Report that this worker serves."""
        self._ready = True
        self._say()

    def _say(self) -> None:
        """Send a message. What nobody reads is lost; the next heartbeat repeats it."""
        message = {"ready": self._ready, "leaving": self._leaving, "figures": self._known}
        try:
            if self._unsaid:  # the pipe took only a part of the last message
                self._unsaid = self._unsaid[os.write(sys.stdout.fileno(), self._unsaid) :]
            if not self._unsaid:
                line = orjson.dumps(message) + b"\n"
                self._unsaid = line[os.write(sys.stdout.fileno(), line) :]
        except OSError:
            log.debug("worker.not_heard")

    def _figures(self) -> Mapping[str, Any]:
        try:
            return self.figures()
        except Exception as error:  # must not make this worker look dead
            log.error("worker.no_figures", exc_info=error)
            return {}

    async def _beat(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(BEAT_SECONDS)

    async def _count(self) -> None:
        """Collect the figures in a thread. The heartbeat does not wait for them: threads may be busy while we are
        alive."""
        while True:
            with suppress(RuntimeError):  # the system provides no thread at the moment
                self._known = await asyncio.to_thread(self._figures)
            await asyncio.sleep(BEAT_SECONDS)

    async def _listen(self, reader: asyncio.StreamReader, end: Callable[[], None]) -> None:
        try:
            while line := await reader.readline():
                self._told(orjson.loads(line))
        except (OSError, ValueError) as error:
            log.error("worker.lifeline_broken", extra={"error": kind_of(error)})
        end()
