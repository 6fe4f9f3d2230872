"""Keeps the recorders of one installation running, each a `ddr serve` of its own, and follows their settings files.

A fault in one file or one recorder affects only that one: it is logged, and checked again at the next reading. A
running recorder keeps its settings while its file is broken.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import fields
from typing import Any

from ddr.aside import in_thread
from ddr.cli.main import OPERATOR_ERRORS
from ddr.cli.serving.apart import conflict
from ddr.cli.serving.children import NOT_STARTED, begin
from ddr.cli.serving.process import GRACE_SECONDS
from ddr.reasons import kind_of
from ddr.settings import Settings
from ddr.settings_recorders import choosing, names

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
STEADY_SECONDS = 60  # a recorder that ran this long is restarted without a pause
END_SECONDS = GRACE_SECONDS + 5  # the time of its workers, and of what surrounds them

log = logging.getLogger(__name__)


class Kept:
    """One recorder: the settings it was started with, and its process, if there is one at present."""

    def __init__(self, name: str, admitted: Callable[[str], Awaitable[Settings | None]]) -> None:
        """`admitted` returns its settings; None, with a log entry, when it must not start with what its file says."""
        self.name = name
        self.settings: Settings | None = None  # while it should run with them: nobody else gets its ports and names
        self._admitted = admitted
        self._process: asyncio.subprocess.Process | None = None
        self._leaving, self._again, self._ending = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    @property
    def runs(self) -> bool:
        """True while it has a process."""
        return self._process is not None

    def look_again(self) -> None:
        """Try again: its file may be correct now."""
        self._again.set()

    def reload(self) -> None:
        """Let it read its settings again and exchange its workers."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"\n")

    def restart(self) -> None:
        """Let it end and start again."""
        self._ending.set()

    async def end(self) -> None:
        """Let it finish its requests, and wait until it has ended."""
        for event in (self._leaving, self._ending, self._again):
            event.set()
        await asyncio.shield(self._task)

    async def _keep(self) -> None:
        pause = 0.0
        while not self._leaving.is_set():
            self._again.clear()
            self.settings = await self._admitted(self.name)
            if self.settings is None:
                await self._again.wait()
                continue
            begun, status = time.monotonic(), await self._run()
            if self._ending.is_set():
                self._ending.clear()
                pause = 0.0
                continue
            log.error("recorders.ended", extra={"recorder": self.name, "status": status})
            steady = time.monotonic() - begun > STEADY_SECONDS
            pause = 0.0 if steady else min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            await self._wait(pause)

    async def _wait(self, seconds: float) -> None:
        """Wait for this long, or until its file was read again."""
        try:
            await asyncio.wait_for(self._again.wait(), seconds)
        except TimeoutError:
            return

    async def _run(self) -> int | None:
        """Start it and wait for its end; returns its exit status, or None when the system provides no process."""
        try:
            process = await begin(
                *(sys.executable, "-m", "ddr.cli.serving.recorder"),
                env=choosing(os.environ, self.name),
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us, and we tell each
            )
        except NOT_STARTED as error:
            log.error("recorders.not_started", extra={"recorder": self.name, "error": kind_of(error)})
            return None
        self._process = process
        log.info("recorders.started", extra={"recorder": self.name, "pid": process.pid})
        ended, ending = asyncio.create_task(process.wait()), asyncio.create_task(self._ending.wait())
        await asyncio.wait((ended, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        self._process = None
        if not ended.done():
            await self._finish(process)
        return await ended

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            log.error("recorders.killed", extra={"recorder": self.name})
            process.kill()


class Recorders:
    """All recorders. `checked` returns the settings of an environment, checked for a start; `fixed`: names of settings
    that need a restart. `fit` raises for any other reason for which a running recorder would refuse a reload. The
    recorder would not report its refusal, and would not be asked again after a repair that no settings file shows."""

    def __init__(
        self,
        checked: Callable[[Mapping[str, str]], Settings],
        fixed: tuple[str, ...],
        fit: Callable[[Settings], None],
    ) -> None:
        self._checked, self._fixed, self._fit = checked, fixed, fit
        self._kept: dict[str, Kept] = {}
        self._one_by_one = asyncio.Lock()  # if two want the same, the alphabetically first gets it
        self._stopping, self._reading = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Ask all to finish; `run` returns when they have."""
        self._stopping.set()
        self._reading.set()

    def read(self) -> None:
        """Ask for the directory to be read again."""
        self._reading.set()

    async def run(self) -> None:
        """Run until `stop`. Raises SettingsError when the directory cannot be read at the start."""
        names(os.environ)
        settings = {"DDR_SETTINGS", *(f"DDR_{field.name.upper()}" for field in fields(Settings))}
        if ignored := sorted(settings & os.environ.keys()):
            log.warning("recorders.variables_ignored", extra={"variables": ignored})
        self._reading.set()
        while True:
            await self._reading.wait()
            self._reading.clear()
            if self._stopping.is_set():
                break
            await self._unless_stopped(self._read())
        await asyncio.gather(*(one.end() for one in self._kept.values()))

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
        task.cancel()

    async def _read(self) -> None:
        try:
            found = await in_thread(names, os.environ)
        except OPERATOR_ERRORS as error:
            log.error("recorders.unreadable", extra={"reason": str(error)})
            return
        log.info("recorders.read", extra={"recorders": found})
        gone = [name for name in self._kept if name not in found]
        await asyncio.gather(*(self._retire(name) for name in gone))  # so that others can have their ports and names
        for name in found:
            if name in self._kept:
                await self._follow(self._kept[name])
            else:
                self._kept[name] = Kept(name, self._admitted)

    async def _retire(self, name: str) -> None:
        await self._kept[name].end()
        del self._kept[name]
        log.info("recorders.retired", extra={"recorder": name})

    async def _follow(self, one: Kept) -> None:
        """Apply its file if its settings have changed."""
        if not one.runs or one.settings is None:
            one.look_again()
            return
        before = one.settings
        now = await self._admitted(one.name, runs=True)
        if now is None or now == before:
            return
        if changed := [name for name in self._fixed if getattr(now, name) != getattr(before, name)]:
            log.info("recorders.restarting", extra={"recorder": one.name, "settings": changed})
            one.restart()
        else:
            one.reload()

    async def _admitted(self, name: str, runs: bool = False) -> Settings | None:
        """The settings of this recorder; None, with a log entry, when they are invalid or conflict with another's."""
        async with self._one_by_one:
            try:
                settings = await in_thread(self._checked, choosing(os.environ, name))
                if runs:
                    await in_thread(self._fit, settings)
                others = {each.name: each.settings for each in self._kept.values() if each.settings is not None}
                others.pop(name, None)
                reason = conflict(settings, others)
            except OPERATOR_ERRORS as error:
                reason = str(error)
            else:
                if reason is None:
                    self._kept[name].settings = settings
                    return settings
        log.error("recorders.refused", extra={"recorder": name, "reason": reason})
        return None
