"""One of several recorders whose new settings are valid, but could not be applied: the reload is repeated."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.cli.serving import recorders
from ddr.cli.serving.recorders import Kept, Recorders
from ddr.settings import Settings
from ddr.store.database.errors import StoreError

WAIT_SECONDS = 60


class Process:
    """That of a recorder, as whoever started it sees it; `told` counts what it was told."""

    def __init__(self) -> None:
        self.stdin, self.told = self, asyncio.Semaphore(0)

    def write(self, line: bytes) -> None:
        self.told.release()


async def test_what_was_refused_at_a_reload_is_asked_for_again_when_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The files are the same then: only the directory of the journal has become one that can be written."""
    process, runs = Process(), asyncio.Event()
    there = Settings(state_dir=tmp_path)
    is_fit = True

    async def run(one: Kept) -> int:
        one._process = process  # type: ignore[assignment]
        runs.set()
        await one._ending.wait()
        return 0

    def fit(settings: Settings) -> None:
        if not is_fit:
            raise StoreError("journal_dir: cannot be written")

    monkeypatch.setattr(Kept, "_run", run)
    monkeypatch.setattr(recorders, "names", lambda environ: ["glucose"])
    monkeypatch.setattr(recorders, "choosing", lambda environ, name: {})
    several = Recorders(lambda environ: there, ("state_dir",), fit)
    running = asyncio.create_task(several.run())
    async with asyncio.timeout(WAIT_SECONDS):
        await runs.wait()
        is_fit, there = False, replace(there, maintenance="until noon")
        several.read()
        while "recorders.refused" not in caplog.messages:  # noqa: ASYNC110 - nothing else tells it
            await asyncio.sleep(0.01)
        assert process.told.locked()
        is_fit = True
        several.read()
        await process.told.acquire()
        several.stop()
        await running
