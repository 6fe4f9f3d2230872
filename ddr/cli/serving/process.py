"""One worker process as its supervisor sees it: ready, alive, stuck, leaving, gone.

They exchange lines of JSON. Every BEAT_SECONDS, the heartbeat of its event loop, and whenever a state changes, the
worker sends `{"ready": bool, "leaving": bool, "figures": {name: number or list}}`: it serves; it has been told to end.
On its stdin it gets first its settings and the certificate in force (`ddr.cli.serving.handed`), then the figures of the
others (`ddr.http.fleet`). When its stdin closes, it finishes its requests and ends.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson

from ddr.cli.serving.children import begin
from ddr.cli.serving.handed import handed, handed_pair
from ddr.cli.serving.server import DRAIN_SECONDS
from ddr.cli.serving.sockets import Sockets, to_argument
from ddr.settings import Settings
from ddr.tls.pair import ServerPair

BEAT_SECONDS = 1.0
STUCK_BEATS = 5  # a worker that misses this many is replaced: no request may block an event loop for that long
START_BEATS = 60  # until the first one: the interpreter may start slowly on a busy machine
GRACE_SECONDS = DRAIN_SECONDS + 10
LONGEST_LINE = 16 * 1024 * 1024  # a worker sends about 30 kB, and receives what all of them send

module = "ddr.cli.serving.worker"  # the module that a worker runs; the demonstration has its own

log = logging.getLogger(__name__)


class WorkerProcess:
    """A running worker. `ready`, `leaving` and `ended` are set once each, in this order if at all."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, settings: Settings) -> None:
        self.number, self.pid, self.settings = number, process.pid, settings
        self.figures: Mapping[str, Any] = {}
        self.ready, self.leaving, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._process = process
        self._since = time.monotonic()
        self._beaten = self._heard = False
        self._tasks = (asyncio.create_task(self._listen()), asyncio.create_task(self._watch()))

    @classmethod
    async def spawn(
        cls, number: int, sockets: Sockets, environment: Mapping[str, str], settings: Settings, pair: ServerPair | None
    ) -> WorkerProcess:
        """Start worker `number`. Raises NOT_STARTED when the system provides no further process."""
        process = await begin(
            *(sys.executable, "-m", module, str(number), to_argument(sockets)),
            env=environment,
            pass_fds=[one.fileno() for one in sockets.values()],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        assert process.stdin is not None
        told = {"settings": handed(settings), "pair": handed_pair(pair)}
        process.stdin.write(orjson.dumps(told) + b"\n")
        return cls(number, process, settings)

    @property
    def status(self) -> int | None:
        """Exit status; negative: ended by that signal; None while it runs."""
        return self._process.returncode

    @property
    def gave_up(self) -> bool:
        """True when it ended by itself before it served: its successors would do the same."""
        return self.ended.is_set() and not self.ready.is_set() and (self.status or 0) >= 0

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._since

    async def started(self) -> bool:
        """Wait until it serves: True; or until it has ended before that: False."""
        first = [asyncio.create_task(event.wait()) for event in (self.ready, self.ended)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        for task in first:
            task.cancel()
        return self.ready.is_set() and not self.ended.is_set()

    def tell(self, line: bytes) -> None:
        """Send one line; skipped while the worker has not read the previous ones."""
        assert self._process.stdin is not None
        pipe = self._process.stdin
        if not self.leaving.is_set() and pipe.transport.get_write_buffer_size() == 0:
            pipe.write(line)

    async def end(self) -> None:
        """Close the lifeline and wait; kill the worker when it does not end."""
        assert self._process.stdin is not None
        self.leaving.set()
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self.ended.wait(), GRACE_SECONDS)
        except TimeoutError:
            log.error("serve.worker_killed", extra={"worker": self.number})
            self._kill()
            await self.ended.wait()

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _listen(self) -> None:
        """Receive its messages until it has ended."""
        assert self._process.stdout is not None
        while not self._process.stdout.at_eof():
            try:
                self._take(await self._process.stdout.readline())
            except ValueError:  # longer than any message: output of a library
                self._heard = True
        await self._process.wait()
        self.ended.set()
        self.leaving.set()

    def _take(self, line: bytes) -> None:
        self._heard = True
        try:
            message = orjson.loads(line)
            figures, ready, leaving = message["figures"], message["ready"], message["leaving"]
        except (orjson.JSONDecodeError, TypeError, LookupError):  # output of a library
            return
        self._beaten, self.figures = True, figures
        if ready:
            self.ready.set()
        if leaving:
            self.leaving.set()

    async def _watch(self) -> None:
        """Kill it when its event loop is stuck.

        Rounds of our own event loop are counted: when the whole machine stood still, that was one round for both.
        """
        missed = 0
        while not self.ended.is_set():
            await asyncio.sleep(BEAT_SECONDS)
            missed = 0 if self._heard else missed + 1
            self._heard = False
            if missed >= (STUCK_BEATS if self._beaten else START_BEATS):
                log.error("serve.worker_stuck", extra={"worker": self.number, "seconds": missed * BEAT_SECONDS})
                self._kill()
                return
