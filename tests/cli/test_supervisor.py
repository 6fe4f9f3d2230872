"""A worker replaced after its death and exchanged for new settings at the same time: one worker takes its place.

And one that cannot be replaced, because the system provides no process or no thread.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from ddr.cli.serving import lifeline, supervisor
from ddr.cli.serving.children import begin
from ddr.cli.serving.lifeline import Lifeline
from ddr.cli.serving.process import BEAT_SECONDS, WorkerProcess
from ddr.cli.serving.sockets import Sockets
from ddr.cli.serving.supervisor import Supervisor
from ddr.settings import Settings, SettingsError
from ddr.tls.follow import LOOK_SECONDS


class Worker:
    """A process as the supervisor sees it; `pid` counts them. It serves when it is told so."""

    age_seconds, figures, gave_up, status = 1.0, dict[str, Any](), False, -9
    every: list[Worker]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.told = list[Any]()
        self.every.append(self)
        self.ready, self.leaving, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @classmethod
    async def spawn(cls, number: int, sockets: Sockets, environment: object, settings: Settings, _: object) -> Worker:
        return cls(settings)

    async def started(self) -> bool:
        for event in asyncio.as_completed([self.ready.wait(), self.ended.wait()]):
            await event
            break
        return not self.ended.is_set()

    def tell(self, line: bytes) -> None:
        self.told.append(orjson.loads(line))

    def die(self) -> None:
        self.ended.set()
        self.leaving.set()

    async def end(self) -> None:
        self.die()


class Pauses:
    """Pauses of the supervisor that end when the test says so."""

    def __init__(self) -> None:
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    async def sleep(self, seconds: float, result: Any = None) -> Any:
        if seconds in (0.0, BEAT_SECONDS, LOOK_SECONDS):
            await asyncio.sleep(0.01)
        else:
            self.begun.set()
            await self.over.wait()
        return result


@asynccontextmanager
async def supervised(settings: Settings, pauses: Pauses, patch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    patch.setattr(Worker, "every", [], raising=False)
    patch.setattr(supervisor, "WorkerProcess", Worker)
    patch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.7)  # none of the others
    own = Supervisor({}, settings, {}, lambda: replace(settings))

    class Asyncio:
        """The module, but for its pauses."""

        sleep = staticmethod(pauses.sleep)

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

    patch.setattr(supervisor, "asyncio", Asyncio())
    running = asyncio.create_task(own.run())
    try:
        yield own
    finally:
        pauses.over.set()
        own.stop()
        await running


async def spawned(count: int) -> Worker:
    """The newest of so many workers."""
    async with asyncio.timeout(60):
        while len(Worker.every) < count:  # noqa: ASYNC110 - the supervisor does it
            await asyncio.sleep(0.01)
    return Worker.every[-1]


@asynccontextmanager
async def reloading(
    folder: Path, pauses: Pauses, patch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Supervisor, Settings]]:
    """A supervisor of two workers that serve, whose settings are read again now, and its former settings."""
    settings = Settings(server_cert=folder / "no", server_key=folder / "no", workers=2)
    async with supervised(settings, pauses, patch) as own:
        await spawned(2)
        for worker in Worker.every:
            worker.ready.set()
        own.reload()
        yield own, settings


async def test_a_new_worker_knows_of_restarts_before_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a counter of `/metrics` goes back for a beat, which Prometheus takes for that many new restarts."""

    class NoBeats(Pauses):
        async def sleep(self, seconds: float, result: Any = None) -> Any:
            await (self.over.wait() if seconds == BEAT_SECONDS else super().sleep(seconds))
            return result

    settings = Settings(server_cert=tmp_path / "no", server_key=tmp_path / "no", workers=2)
    async with supervised(settings, NoBeats(), monkeypatch) as own:
        await spawned(2)
        for worker in Worker.every:
            worker.ready.set()
        Worker.every[0].die()
        in_its_place = await spawned(3)
        assert [one["restarts"] for one in in_its_place.told] == [1]
        in_its_place.ready.set()
        own.reload()
        assert [one["restarts"] for one in (await spawned(4)).told] == [1]


async def test_a_reload_while_a_dead_worker_is_not_replaced_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that of the reload is forgotten: it would serve for ever, with settings that no later reload changes."""
    settings, pauses = Settings(server_cert=tmp_path / "no", server_key=tmp_path / "no", workers=1), Pauses()
    async with supervised(settings, pauses, monkeypatch) as own:
        (await spawned(1)).ready.set()
        Worker.every[0].die()
        (await spawned(2)).die()  # at once, so that the next one has to wait
        async with asyncio.timeout(60):
            await pauses.begun.wait()
        own.reload()
        (await spawned(3)).ready.set()
        async with asyncio.timeout(60):
            while own._slots[0].worker.ready is not Worker.every[2].ready:  # noqa: ASYNC110 - the supervisor does it
                await asyncio.sleep(0.01)
        pauses.over.set()
        own.reload()
        (await spawned(4)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[2].ended.wait()
        assert [worker.ended.is_set() for worker in Worker.every] == [True, True, True, False]


async def test_a_reload_that_fails_half_way_leaves_no_worker_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back is tried again while the system gives no process, and ends where another reload is asked for."""
    pauses = Pauses()
    async with reloading(tmp_path, pauses, monkeypatch) as (own, settings):
        (await spawned(3)).ready.set()
        failed = await spawned(4)
        failed.die()
        failed.ready.set()
        (await spawned(5)).die()  # on the way back, too
        Worker.every[4].ready.set()
        async with asyncio.timeout(60):
            await pauses.begun.wait()
        assert [slot.worker.settings is settings for slot in own._slots] == [False, True]
        pauses.over.set()
        (await spawned(6)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[2].ended.wait()
        assert all(slot.worker.settings is settings for slot in own._slots)
        assert len(Worker.every) == 6, "who kept them is left alone"


async def test_a_reload_that_is_refused_leaves_no_worker_with_settings_of_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had ended the way back of that one, and has none of its own."""

    def refuse() -> Settings:
        raise SettingsError("no")

    async with reloading(tmp_path, Pauses(), monkeypatch) as (own, settings):
        (await spawned(3)).ready.set()
        failed = await spawned(4)
        monkeypatch.setattr(own, "_recheck", refuse)
        own.reload()
        failed.die()
        (await spawned(5)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[2].ended.wait()
        assert all(slot.worker.settings is settings for slot in own._slots)


async def test_a_reload_is_done_when_who_took_the_place_of_a_dead_worker_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the new settings already, with which it may never serve."""
    async with reloading(tmp_path, Pauses(), monkeypatch) as (own, settings):
        first = await spawned(3)
        Worker.every[1].die()
        await spawned(4)  # in its place
        first.ready.set()
        (await spawned(5)).die()
        (await spawned(6)).ready.set()
        (await spawned(7)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[3].ended.wait()
        assert all(slot.worker.settings is settings for slot in own._slots)
    assert "serve.reloaded" not in caplog.messages


async def test_a_reload_whose_worker_only_waits_gives_way_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before: settings with which nobody ever serves could only be mended by a new start."""
    monkeypatch.setattr(supervisor, "START_SECONDS", 0.1)
    settings, pauses = Settings(server_cert=tmp_path / "no", server_key=tmp_path / "no", workers=1), Pauses()
    async with supervised(settings, pauses, monkeypatch) as own:
        (await spawned(1)).ready.set()
        own.reload()
        waiting = await spawned(2)
        own.reload()
        (await spawned(3)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[0].ended.wait()
        assert waiting.ended.is_set() and own._slots[0].worker.ready is Worker.every[2].ready
    assert "serve.reload_failed" not in caplog.messages


@pytest.mark.parametrize("dies", [True, False])
@pytest.mark.parametrize("fault", [OSError(), RuntimeError("can't start new thread")])
async def test_a_system_that_gives_no_process_is_asked_again_with_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: bool, fault: Exception
) -> None:
    """A worker that had served for long has a successor at once; without one the supervisor would try without end."""
    settings, pauses = Settings(server_cert=tmp_path / "no", server_key=tmp_path / "no", workers=1), Pauses()
    asked = 0

    async def refuse(*of: object) -> Worker:
        nonlocal asked
        asked += 1
        raise fault

    async with supervised(settings, pauses, monkeypatch) as own:
        worker = await spawned(1)
        worker.age_seconds = supervisor.STEADY_SECONDS + 1.0
        worker.ready.set()
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "spawn", refuse)
            (worker.die if dies else worker.leaving.set)()
            async with asyncio.timeout(60):
                while not pauses.begun.is_set():
                    assert asked <= 1
                    await asyncio.sleep(0.01)
            assert asked == 1
            assert own._restarts == 0, "nobody has taken its place"
        pauses.over.set()
        (await spawned(2)).ready.set()
        async with asyncio.timeout(60):
            while not own._restarts:  # noqa: ASYNC110 - the supervisor does it
                await asyncio.sleep(0.01)


async def test_a_process_that_nobody_could_wait_for_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: it stayed where nobody knew of it, one more with each try, and took the room of the next one."""
    started = list[int]()

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *of: Any, **more: Any) -> None:
            super().__init__(*of, **more)
            started.append(self.pid)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    try:
        child = await begin(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    except RuntimeError:
        (pid,) = started
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    else:  # a later Python needs no thread
        child.kill()
        await child.wait()


async def no_thread(*of: object) -> None:
    """In place of `asyncio.to_thread`, at the limit of an account or a container."""
    raise RuntimeError("can't start new thread")


async def test_a_reload_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: it ended the recorder."""
    settings, pauses = Settings(server_cert=tmp_path / "no", server_key=tmp_path / "no", workers=1), Pauses()
    async with supervised(settings, pauses, monkeypatch) as own:
        (await spawned(1)).ready.set()
        monkeypatch.setattr(asyncio, "to_thread", no_thread)
        own.reload()
        (await spawned(2)).ready.set()
        async with asyncio.timeout(60):
            await Worker.every[0].ended.wait()
        assert not Worker.every[1].ended.is_set()


async def test_figures_are_told_again_when_there_are_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: those of the last moment before, for as long as the worker lived."""
    monkeypatch.setattr(lifeline, "BEAT_SECONDS", 0.01)
    own, asked = Lifeline(lambda _: None), asyncio.Event()
    own.figures = lambda: {"ddr_requests_waiting": 1}

    async def asking(*of: object) -> None:
        asked.set()
        await no_thread()

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", asking)
        counting = asyncio.create_task(own._count())
        await asked.wait()
    async with asyncio.timeout(60):
        while not own._known and not counting.done():  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)
    assert own._known == {"ddr_requests_waiting": 1}
    counting.cancel()


@pytest.mark.parametrize("printed", ["5", "[1]", '"text"', '{"figures": {}}', "no JSON", "x" * 5000])
async def test_what_a_library_prints_is_no_message_of_the_worker(printed: str) -> None:
    """Nor does it keep anybody from hearing that the worker serves, and that it has ended."""
    told = '{"figures": {"one": 1}, "ready": true, "leaving": false}'
    process = await begin(
        *(sys.executable, "-c", f"print({printed!r}); print({told!r})"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1000,
    )
    worker = WorkerProcess(1, process, Settings())
    async with asyncio.timeout(60):
        await worker.ended.wait()
    assert worker.ready.is_set()
    assert worker.figures == {"one": 1}
