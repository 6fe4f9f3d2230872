"""Migrations expand first: the previous version continues under load on this schema, and beside this version."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.store.database.migrate import migrations
from tests.cli.recorder import Recorder, ddr, settings_for
from tests.cli.test_recovery import Life
from tests.packaging.previous import checked_out, previous_commit
from tests.support.database import fresh_database

pytestmark = pytest.mark.packaging
KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
async def empty_url(database_url: str) -> AsyncIterator[str]:
    """A database that no version has touched."""
    async with fresh_database(database_url) as url:
        yield url


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files of the version before."""
    with checked_out(previous_commit(), tmp_path_factory.mktemp("previous") / "checkout") as folder:
        yield folder


class Load(threading.Thread):
    """An app that sends measurements one after another; what is not answered is sent again."""

    def __init__(self, life: Life) -> None:
        super().__init__(daemon=True)
        self.life, self.sent, self.refused, self.cut = life, list[str](), list[str](), 0
        self._over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            key = f"m-{self.life.settings['gateway_port']}-{number}"
            try:
                answer = self.life.put(key)
                seen = self.life.ask("GET", "devices")
            except httpx.TransportError:
                self.cut += 1
                continue
            number += 1
            self.sent.append(key)
            self.refused += [f"{one.status_code} {one.text}" for one in (answer, seen) if not one.is_success]

    def goes_on(self, count: int = 20) -> None:
        """Wait until so many more were answered."""
        wanted = len(self.sent) + count
        until(lambda: len(self.sent) >= wanted)

    def end(self) -> list[str]:
        """What was answered."""
        self._over.set()
        self.join(30)
        return self.sent


@contextmanager
def load(life: Life) -> Iterator[Load]:
    running = Load(life)
    running.start()
    try:
        yield running
    finally:
        running.end()


@contextmanager
def serving(settings: dict[str, Any], checkout: Path | None = None) -> Iterator[Recorder]:
    recorder = Recorder(settings, checkout=checkout)
    try:
        yield recorder
    finally:
        recorder.stop()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def configured(folder: Path, url: str, **more: Any) -> dict[str, Any]:
    folder.mkdir()
    return settings_for(folder, embedded=False, database_url=url, key_encryption_key=KEY, **more)


async def applied(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["name"] for row in await connection.fetch("SELECT name FROM schema_migration")}
    finally:
        await connection.close()


async def test_hosts_are_upgraded_one_after_another(former: Path, empty_url: str, tmp_path: Path) -> None:
    life = Life(configured(tmp_path / "old", empty_url, workers=2), former)
    with serving(life.settings, former) as old:
        assert await applied(empty_url) < {one.name for one in migrations()}, "there is something to migrate"
        life.register()
        with load(life) as before:
            before.goes_on()
            migrated = ddr("db", "migrate", settings={**life.settings, "workers": 1})
            assert migrated.returncode == 0 and "applied" in migrated.stdout, migrated.stderr
            before.goes_on()
            workers = old.workers()
            os.kill(workers[0], signal.SIGKILL)  # its successor begins on the new schema
            until(lambda: len(old.workers()) == 2 and workers[0] not in old.workers())
            before.goes_on()

            beside = Life(configured(tmp_path / "new", empty_url))
            beside.token = life.token
            with serving(beside.settings), load(beside) as after:
                before.goes_on()
                after.goes_on()
                assert beside.has(before.sent[-1]) and life.has(after.sent[-1])
                sent = before.end()
                assert old.stop()[0] == 0
                after.goes_on()
                assert all(beside.has(key) for key in sent)
                assert after.end() and (after.refused, after.cut) == ([], 0)
        assert before.refused == []
    assert await applied(empty_url) == {one.name for one in migrations()}
    assert not [event for event in old.events() if event.get("level") == "error" and not expected(event)]


def expected(event: dict[str, Any]) -> bool:
    """A worker was killed. And the version before deletes old entries of the audit trail row by row, which is refused
    once days are packed and dropped (0075), and cannot seal what is deflated (0132): nothing is lost, and whoever
    serves on does it in its way.
    """
    jobs = ("housekeeping-audit-purge", "housekeeping-request-log-seal")
    return "worker_ended" in event["event"] or event.get("job") in jobs
