"""Keeps the worker processes running, and ends them gently."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from ddr.cli.errors import CommandError
from ddr.cli.serving.listeners import DRAIN_SECONDS
from ddr.cli.serving.sockets import Sockets, to_environment

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STEADY_SECONDS = 60  # a worker that ran this long starts again without a pause
GRACE_SECONDS = DRAIN_SECONDS + 10

READY = b"ready\n"  # what a worker writes to its stdout when it serves

T = TypeVar("T")

log = logging.getLogger(__name__)


class Supervisor:
    """Starts one worker per set of sockets and starts it again when it crashes."""

    def __init__(self, workers: list[Sockets], environment: Mapping[str, str]) -> None:
        self._workers, self._environment = workers, environment
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask all workers to finish; `run` returns when they have."""
        self._stopping.set()

    async def run(self) -> None:
        """Run until `stop`. Raises CommandError when a worker cannot even start for the first time."""
        try:
            processes = await self._start_all()
            log.info("serve.ready", extra={"workers": len(processes)})
            async with asyncio.TaskGroup() as group:
                for sockets, process in zip(self._workers, processes, strict=True):
                    group.create_task(self._keep(sockets, process))
        finally:
            self._stopping.set()

    async def _start_all(self) -> list[asyncio.subprocess.Process]:
        processes = [await self._spawn(sockets) for sockets in self._workers]
        ready = await asyncio.gather(*map(self._ready, processes))
        if not all(ready) and not self._stopping.is_set():
            await asyncio.gather(*map(_end, processes))
            raise CommandError("a worker process could not start; see above")
        return processes

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        """True once the worker serves, False when it ended or `stop` was called first."""
        assert process.stdout is not None
        return await self._unless_stopped(process.stdout.readline()) == READY

    async def _spawn(self, sockets: Sockets) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ddr.cli.serving.worker"),
            env={**self._environment, **to_environment(sockets)},
            pass_fds=[one.fileno() for one in sockets.values()],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def _keep(self, sockets: Sockets, process: asyncio.subprocess.Process) -> None:
        """Watch one worker; after a crash start it again, with pauses that grow while it keeps crashing."""
        pause, since = FIRST_PAUSE_SECONDS, time.monotonic()
        while await self._unless_stopped(process.wait()) is not None:
            if time.monotonic() - since > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            log.error("serve.worker_ended", extra={"status": process.returncode, "pause_seconds": pause})
            if await self._unless_stopped(asyncio.sleep(pause, result=True)) is None:
                return
            pause, since = min(2 * pause, LONGEST_PAUSE_SECONDS), time.monotonic()
            process = await self._spawn(sockets)
        await _end(process)

    async def _unless_stopped(self, awaited: Coroutine[Any, Any, T]) -> T | None:
        """The result of `awaited`, or None when `stop` was called first."""
        result, stopped = asyncio.create_task(awaited), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((result, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._stopping.is_set():
            result.cancel()
            return None
        return result.result()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the worker's lifeline and wait; kill it when it does not come to an end."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    except TimeoutError:
        log.error("serve.worker_killed")
        process.kill()
        await process.wait()
