"""Keeps the worker processes running, exchanges them one after another, and ends them gently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from ddr.aside import in_thread
from ddr.cli.errors import CommandError
from ddr.cli.main import OPERATOR_ERRORS
from ddr.cli.serving.children import NOT_STARTED
from ddr.cli.serving.process import BEAT_SECONDS, WorkerProcess
from ddr.cli.serving.sockets import Sockets
from ddr.reasons import kind_of
from ddr.settings import Settings
from ddr.tls.follow import LOOK_SECONDS
from ddr.tls.pair import PairFiles

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0
START_SECONDS = 15.0  # for a worker to serve, before another reload takes precedence
STEADY_SECONDS = 10  # a worker that served this long is restarted without a pause

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass
class Slot:
    """A worker's place, and the process that fills it at present."""

    number: int
    worker: WorkerProcess
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while the process is replaced


class Supervisor:
    """Starts workers on shared sockets, and replaces those that crash, hang, or must be exchanged."""

    def __init__(
        self, sockets: Sockets, settings: Settings, environment: Mapping[str, str], recheck: Callable[[], Settings]
    ) -> None:
        """`settings` are for all workers, however late they are started; `recheck` returns the settings to exchange
        workers for, and the former ones stay when it raises an error for the operator."""
        self._sockets, self._settings, self._environment, self._recheck = sockets, settings, environment, recheck
        self._files = PairFiles(settings.server_cert, settings.server_key)
        self._count = settings.workers
        self._stopping, self._reloading = asyncio.Event(), asyncio.Event()
        self._slots: list[Slot] = []
        self._alive: set[WorkerProcess] = set()
        self._restarts = 0

    def stop(self) -> None:
        """Ask all workers to finish; `run` returns when they have."""
        self._stopping.set()

    def reload(self) -> None:
        """Request new workers in place of all."""
        self._reloading.set()

    async def run(self) -> None:
        """Run until `stop`. Raises CommandError when a worker cannot even start for the first time."""
        try:
            await self._look_at_files()
            for number in range(1, self._count + 1):
                self._slots.append(Slot(number, await self._spawn_first(number)))
            started = await self._unless_stopped(self._all_started())
            if started is False:
                raise CommandError("a worker process could not start; see above")
            if started:
                log.info("serve.ready", extra={"workers": self._count})
            async with asyncio.TaskGroup() as group:
                for slot in self._slots:
                    group.create_task(self._keep(slot))
                group.create_task(self._reload_when_asked())
                group.create_task(self._keep_telling())
                group.create_task(self._follow_files())
        finally:
            await self._end()

    async def _end(self) -> None:
        """First close our own sockets: when the workers have closed theirs, too, new connections are refused."""
        self._stopping.set()
        log.info("serve.stopping")
        for one in self._sockets.values():
            one.close()
        await asyncio.gather(*(worker.end() for worker in set(self._alive)))
        log.info("serve.stopped")

    async def _all_started(self) -> bool:
        """False when a worker gave up by itself; one that was killed during its start is replaced like later ones."""
        await asyncio.gather(*(slot.worker.started() for slot in self._slots))
        return not any(slot.worker.gave_up for slot in self._slots)

    async def _spawn_first(self, number: int) -> WorkerProcess:
        worker = await self._spawn(number)
        if worker is None:
            raise CommandError("the system refuses to start a process for a worker; see above")
        return worker

    async def _spawn(self, number: int) -> WorkerProcess | None:
        """A new process; None, with a log entry, when the system provides none at the moment."""
        try:
            worker = await WorkerProcess.spawn(
                number, self._sockets, self._environment, self._settings, self._files.held
            )
        except NOT_STARTED as error:
            log.error("serve.worker_not_started", extra={"worker": number, "error": kind_of(error)})
            return None
        self._alive = {one for one in self._alive if not one.ended.is_set()} | {worker}
        return worker

    async def _keep(self, slot: Slot) -> None:
        """Replace a worker that leaves or has ended, with pauses while new ones keep crashing."""
        pause = 0.0
        while True:
            worker = slot.worker
            if await self._unless_stopped(worker.leaving.wait()) is None:
                return
            if slot.worker is not worker:  # it has been exchanged on purpose
                continue
            if worker.ended.is_set():
                log.error("serve.worker_ended", extra={"worker": slot.number, "status": worker.status})
            if not worker.ended.is_set() or self._was_steady(worker):
                pause = 0.0  # it was told to leave, or the fault is rare
            while slot.worker is worker:  # repeated where the system provides no process
                if await self._unless_stopped(asyncio.sleep(pause, result=True)) is None:
                    return
                pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
                async with slot.changing:
                    if slot.worker is worker:  # otherwise it was exchanged meanwhile, and there would be two
                        slot.worker = await self._spawn(slot.number) or worker
                        self._restarts += slot.worker is not worker
                        self._tell_all()  # before it serves: a counter of `/metrics` must not go back

    @staticmethod
    def _was_steady(worker: WorkerProcess) -> bool:
        return worker.ready.is_set() and worker.age_seconds > STEADY_SECONDS

    async def _reload_when_asked(self) -> None:
        while await self._unless_stopped(self._reloading.wait()) is not None:
            self._reloading.clear()
            former = self._settings, self._files
            try:
                self._settings = new = await in_thread(self._recheck)
            except OPERATOR_ERRORS as error:
                log.error("serve.reload_refused", extra={"reason": str(error)})
                await self._go_back()  # a request before may have ended its own way back
                continue
            log.info("serve.reloading")
            if (new.server_cert, new.server_key) != (former[0].server_cert, former[0].server_key):
                self._files = PairFiles(new.server_cert, new.server_key)
            await self._look_at_files()
            if await self._unless_stopped(self._exchange_all()):
                log.info("serve.reloaded")
            else:
                self._settings, self._files = former
                await self._go_back()

    async def _go_back(self) -> None:
        """Give the former settings back to workers that were exchanged already, unless another reload is requested."""
        while not self._reloading.is_set() and await self._unless_stopped(self._exchange_all()) is False:
            await self._unless_stopped(asyncio.sleep(LONGEST_PAUSE_SECONDS, result=True))

    async def _exchange_all(self) -> bool:
        """Exchange workers that do not serve with the settings in force, one after another, each after its successor
        serves. False when a new one does not serve; the rest then stay."""
        for slot in self._slots:
            worker = slot.worker
            if worker.settings is self._settings and worker.ready.is_set() and not worker.leaving.is_set():
                continue
            successor = await self._spawn(slot.number)
            self._tell_all()
            if successor is None or not await self._serves(successor):
                if not self._reloading.is_set():
                    log.error("serve.reload_failed", extra={"worker": slot.number})
                return False
            async with slot.changing:
                former, slot.worker = slot.worker, successor
            await former.end()
        return True

    async def _serves(self, successor: WorkerProcess) -> bool:
        """Whether it serves. If it does not within its time and another reload is requested, it is ended: it may be
        waiting for what only other settings bring."""
        started, asked = asyncio.create_task(successor.started()), asyncio.create_task(self._reloading.wait())
        await asyncio.wait((started,), timeout=START_SECONDS)
        await asyncio.wait((started, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not started.done():
            await successor.end()
        return await started

    async def _follow_files(self) -> None:
        """Keep the certificate and key in force: those in the files may be invalid when a worker dies."""
        while await self._unless_stopped(asyncio.sleep(LOOK_SECONDS, result=True)) is not None:
            await self._look_at_files()

    async def _look_at_files(self) -> None:
        with suppress(Exception):  # workers report it, in `/status`, too
            await self._files.step()

    async def _keep_telling(self) -> None:
        while await self._unless_stopped(asyncio.sleep(BEAT_SECONDS, result=True)) is not None:
            self._tell_all()

    def _tell_all(self) -> None:
        """Send the figures of all workers to each of them, so that any can report them."""
        workers = {str(slot.number): slot.worker.figures for slot in self._slots}
        line = orjson.dumps({"workers": workers, "restarts": self._restarts}) + b"\n"
        for worker in self._alive:
            worker.tell(line)

    async def _unless_stopped(self, awaited: Coroutine[Any, Any, T]) -> T | None:
        """The result of `awaited`, or None when `stop` was called first."""
        result, stopped = asyncio.create_task(awaited), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((result, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._stopping.is_set():
            result.cancel()
            return None
        return result.result()
