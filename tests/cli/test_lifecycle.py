"""`ddr serve` while its workers are killed, stopped, told to leave and exchanged: any live worker answers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.cli.serving.server import DRAIN_SECONDS
from ddr.store.database.embedded import embedded
from ddr.store.database.locks import Lock
from ddr.store.database.migrate import migrations
from tests.cli.recorder import Recorder, settings_for
from tests.cli.requests import PATH, load
from tests.support.database import fresh_database

pytestmark = pytest.mark.slow

BACK_SECONDS = 180  # for a replacement to serve on a busy machine
PROMPT_SECONDS = 20  # for one answer there


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[str]:
    async with fresh_database(database_url) as url:
        yield url


@pytest.fixture(scope="module")
def recorder(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """Two workers, with a settings file that tests may change."""
    folder = tmp_path_factory.mktemp("recorder")
    (folder / "ddr.toml").write_text('maintenance = ""\n')
    recorder = Recorder(settings_for(folder, workers=2, database_url=database, settings=folder / "ddr.toml"))
    yield recorder
    if recorder.process.poll() is None:
        recorder.stop()


@pytest.fixture
def workers(recorder: Recorder) -> list[int]:
    """The ids of the two workers, both of which serve."""
    until(lambda: len(recorder.workers()) == 2 and len(figures_of(recorder)) == 2)
    return recorder.workers()


def until(holds: Callable[[], bool], seconds: float = BACK_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def figures_of(recorder: Recorder) -> set[str]:
    """The workers that tell their figures."""
    return {name for name in recorder.figures() if name.startswith("ddr_worker_peak_memory_bytes")}


def restarts(recorder: Recorder) -> float:
    return recorder.figures()["ddr_worker_restarts_total"]


def settled(recorder: Recorder) -> float:
    """The restarts when all have been told: those of the tests before."""
    told = -1.0
    while told != (told := restarts(recorder)):
        time.sleep(1.5)
    return told


def exchanged(recorder: Recorder, *former: int) -> Callable[[], bool]:
    """True when two workers other than `former` serve."""

    def holds() -> bool:
        now = recorder.workers()
        return len(now) == 2 and not {*former} & {*now} and len(figures_of(recorder)) == 2

    return holds


def test_connections_reach_both_workers_and_each_says_which_it_is(recorder: Recorder, workers: list[int]) -> None:
    seen: dict[int, int] = {}
    until(lambda: bool(seen.update([tuple(recorder.admin("/healthz").json().values())[1:]]) or len(seen) == 2))
    assert {*seen} == {1, 2}
    assert {*seen.values()} == {*workers}


def test_nobody_waits_behind_a_worker_that_was_killed(recorder: Recorder, workers: list[int]) -> None:
    before = restarts(recorder)
    with load(recorder) as outcomes:
        time.sleep(0.3)
        os.kill(workers[0], signal.SIGKILL)
        until(exchanged(recorder, workers[0]))
    assert len(outcomes.lost) <= 5, "more than what it had in hand"
    assert outcomes.slowest < PROMPT_SECONDS
    until(lambda: restarts(recorder) == before + 1)


def test_a_worker_that_is_stuck_is_replaced_and_nobody_waits_for_it(recorder: Recorder, workers: list[int]) -> None:
    with load(recorder, kept=0) as outcomes:
        time.sleep(0.3)
        os.kill(workers[0], signal.SIGSTOP)
        until(exchanged(recorder, workers[0]))
    assert len(outcomes.lost) <= 2, "more than what it had in hand"
    assert len(outcomes.answered) > 10
    assert sorted(outcomes.answered)[-3] < PROMPT_SECONDS
    assert recorder.events()[-1]["event"] != "serve.worker_killed"
    assert any(event["event"] == "serve.worker_stuck" for event in recorder.events())


def test_a_worker_that_is_told_to_leave_loses_no_request(recorder: Recorder, workers: list[int]) -> None:
    with load(recorder) as outcomes:
        time.sleep(0.3)
        os.kill(workers[1], signal.SIGTERM)
        until(exchanged(recorder, workers[1]))
    assert (outcomes.lost, outcomes.refused) == ([], [])
    assert outcomes.slowest < PROMPT_SECONDS


def test_a_reload_takes_new_settings_and_neither_loses_nor_refuses_a_request(
    recorder: Recorder, workers: list[int]
) -> None:
    file = Path(recorder.settings["settings"])
    file.write_text('maintenance = "until noon"\nworkers = 3\n')
    before = settled(recorder)
    with load(recorder) as outcomes:
        time.sleep(0.3)
        recorder.process.send_signal(signal.SIGHUP)
        until(exchanged(recorder, *workers), 2 * BACK_SECONDS)
    assert (outcomes.lost, outcomes.refused) == ([], [])
    assert outcomes.slowest < PROMPT_SECONDS
    assert "until noon" in status(recorder)
    assert restarts(recorder) == before, "none has crashed"
    until(lambda: served(recorder)[-1] == "serve.reloaded")


def test_who_was_killed_is_known_as_lost_and_who_was_exchanged_is_not(
    database: str, recorder: Recorder, workers: list[int]
) -> None:
    """What was in hand with the former may not have been answered (ddr.store.outages.reports)."""

    lost_runs = "jsonb_path_query(losses, '$[*].run') #>> '{}'"

    def told(column: str) -> set[Any]:
        async def ask() -> set[Any]:
            conn = await asyncpg.connect(database)
            try:
                rows = await conn.fetch(f"SELECT {column} FROM worker_report")
            finally:
                await conn.close()
            return {row[0] for row in rows} - {None}

        return asyncio.run(ask())

    served_ms = time.time() * 1000
    until(lambda: min(told("seen_ms"), default=0) > served_ms)  # both, and not only those before them
    runs, lost = told("run::text"), told(lost_runs)
    recorder.process.send_signal(signal.SIGHUP)
    until(exchanged(recorder, *workers), 2 * BACK_SECONDS)
    until(lambda: len(told("run::text") - runs) == 2)
    until(lambda: told(lost_runs) <= lost)
    exchanged_runs, now = told("run::text"), recorder.workers()
    os.kill(now[0], signal.SIGKILL)
    until(exchanged(recorder, now[0]))
    until(lambda: bool(told(lost_runs) & exchanged_runs))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("mantenance = 1\n", "did you mean maintenance?"),
        ('database_replica_url = "postgresql://ddr@a,b/x"\n', "database_replica_url: must name exactly one server"),
        ('journal_dir = "/dev/null/ends"\n', "journal_dir /dev/null/ends: Not a directory"),  # as at a start
    ],
)
def test_a_reload_with_wrong_settings_changes_nothing(
    recorder: Recorder, workers: list[int], content: str, reason: str
) -> None:
    def refusals() -> list[str]:
        return [event["reason"] for event in recorder.events() if event["event"] == "serve.reload_refused"]

    file, before = Path(recorder.settings["settings"]), refusals()
    file.write_text(content)
    recorder.process.send_signal(signal.SIGHUP)
    until(lambda: len(refusals()) > len(before))
    assert reason in refusals()[-1]
    assert recorder.workers() == workers
    file.write_text('maintenance = ""\n')


def test_a_reload_that_fails_half_way_leaves_no_worker_with_its_settings(
    recorder: Recorder, workers: list[int]
) -> None:
    def new() -> list[int]:
        return [pid for pid in recorder.workers() if pid not in workers]

    file = Path(recorder.settings["settings"])
    file.write_text('maintenance = "until midnight"\n')
    recorder.process.send_signal(signal.SIGHUP)
    until(lambda: len(new()) == 1)
    (first,) = new()
    until(lambda: len(new()) == 2)
    os.kill(next(pid for pid in new() if pid != first), signal.SIGKILL)  # before it serves
    until(exchanged(recorder, first))
    assert "serve.reload_failed" in served(recorder)
    assert "until midnight" not in status(recorder)
    file.write_text('maintenance = ""\n')


def test_a_worker_that_goes_while_the_file_is_wrong_has_a_successor_with_what_is_in_force(
    recorder: Recorder, workers: list[int]
) -> None:
    file = Path(recorder.settings["settings"])
    file.write_text("mantenance = 1\n")
    before = status(recorder)
    for gone, worker in enumerate(workers, 1):
        os.kill(worker, signal.SIGTERM)
        until(exchanged(recorder, *workers[:gone]))
    assert "until noon" in before and "until noon" in status(recorder), "what the last good reload took over"
    file.write_text('maintenance = ""\n')


def served(recorder: Recorder) -> list[str]:
    """What the recorder has told of its own life; others tell of other things between, where a machine is slow."""
    return [event["event"] for event in recorder.events() if event["event"].startswith("serve.")]


def status(recorder: Recorder) -> str:
    context = ssl.create_default_context(cafile=Path(recorder.settings["state_dir"]) / "authority.pem")
    url = f"https://localhost:{recorder.settings['public_port']}/status"
    return httpx.get(url, verify=context, trust_env=False).text


def test_the_end_answers_what_was_asked_and_waits_for_no_idle_connection(
    recorder: Recorder, workers: list[int]
) -> None:
    context = ssl.create_default_context(cafile=Path(recorder.settings["state_dir"]) / "authority.pem")
    address = ("localhost", recorder.settings["gateway_port"])
    silent = socket.create_connection(address)  # not even a handshake
    idle = context.wrap_socket(socket.create_connection(address), server_hostname="localhost")
    idle.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    idle.recv(1)  # and from now on reads nothing, as a pool of connections does
    with load(recorder) as outcomes:
        time.sleep(0.3)
        begun = time.monotonic()
        code, log = recorder.stop()
        lasted = time.monotonic() - begun
    assert code == 0
    assert outcomes.lost == []
    assert len(outcomes.refused) > 0, "who comes later is told at once"
    assert lasted < DRAIN_SECONDS
    assert "serve.requests_cut" not in log and "serve.worker_killed" not in log
    assert served(recorder)[-2:] == ["serve.stopping", "serve.stopped"]
    silent.close()
    idle.close()


def test_a_reload_that_is_asked_for_before_there_are_workers_is_done_when_there_are(tmp_path: Path) -> None:
    """The settings were read before that: else what was changed meanwhile is in force for nobody."""
    with embedded(tmp_path / "database") as url:
        pass
    file = tmp_path / "ddr.toml"
    file.write_text('maintenance = ""\n')
    settings = settings_for(tmp_path, workers=1, database_url=url, database_wait_seconds=60, settings=file)
    recorder = Recorder(settings, healthy=False)
    until(lambda: "serve.waits_for_database" in recorder.log())
    file.write_text('maintenance = "until noon"\n')
    recorder.process.send_signal(signal.SIGHUP)
    with embedded(tmp_path / "database"):
        until(lambda: "serve.reloaded" in recorder.log())
        assert "until noon" in status(recorder)
        assert recorder.stop()[0] == 0


def test_a_database_that_starts_late_is_waited_for_and_is_no_crash(tmp_path: Path) -> None:
    with embedded(tmp_path / "database") as url:
        pass
    recorder = Recorder(settings_for(tmp_path, workers=1, database_url=url, database_wait_seconds=60), healthy=False)
    until(lambda: "serve.waits_for_database" in recorder.log())
    with embedded(tmp_path / "database"):
        recorder.wait()
        assert recorder.admin("/readyz").status_code == 200
    (worker,) = recorder.workers()
    os.kill(worker, signal.SIGKILL)
    until(lambda: "worker.waits_for_database" in recorder.log())
    time.sleep(3)  # of waiting: what used to be several crashes
    with embedded(tmp_path / "database"):
        recorder.wait()
        assert recorder.admin("/readyz").status_code == 200
    status, log = recorder.stop()
    assert status == 0
    assert log.count("serve.worker_ended") == 1, "the kill"
    assert log.count("worker.waits_for_database") == 1, "one line"


async def test_a_database_that_starts_anew_while_its_schema_is_brought_up_to_date_is_waited_for(tmp_path: Path) -> None:
    with embedded(tmp_path / "database") as url:
        other = await asyncpg.connect(url)
        await other.execute("SELECT pg_advisory_lock($1)", Lock.MIGRATION)
        recorder = Recorder(
            settings_for(tmp_path, workers=1, database_url=url, database_wait_seconds=60), healthy=False
        )
        while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert recorder.process.poll() is None, recorder.log()
            await asyncio.sleep(0.05)
    until(lambda: "connection to the database was lost" in recorder.log() or recorder.process.poll() is not None)
    with embedded(tmp_path / "database"):
        recorder.wait()
        assert recorder.stop()[0] == 0


async def test_a_worker_of_a_version_whose_migrations_are_missing_waits_for_them(tmp_path: Path) -> None:
    """Its files were exchanged under a service that runs; those who serve go on, also when it is reloaded meanwhile."""
    newest = migrations()[-1]
    with embedded(tmp_path / "database") as url:
        recorder = Recorder(settings_for(tmp_path, workers=2, database_url=url))
        until(lambda: len(recorder.workers()) == 2 and len(figures_of(recorder)) == 2)
        workers = recorder.workers()
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("DELETE FROM schema_migration WHERE name = $1", newest.name)
            recorder.process.send_signal(signal.SIGHUP)
            until(lambda: "worker.waits_for_database" in recorder.log())
            os.kill(workers[1], signal.SIGKILL)
            until(lambda: recorder.log().count("worker.waits_for_database") == 2)
            assert workers[0] in recorder.workers() and recorder.admin("/readyz").status_code == 200
            assert served(recorder)[-1] == "serve.worker_ended", "nothing was reloaded"
            await connection.execute(
                "INSERT INTO schema_migration (name, checksum, applied_ms) VALUES ($1, $2, 0)",
                newest.name,
                newest.checksum,
            )
        finally:
            await connection.close()
        until(lambda: served(recorder)[-1] == "serve.reloaded")
        assert recorder.stop()[0] == 0
    waits = [one["reason"] for one in recorder.events() if one["event"] == "worker.waits_for_database"]
    assert waits == 2 * [
        f"the schema of the database is older than this version: it lacks migration {newest.name}; run ddr db migrate"
    ]


def test_a_worker_that_dies_while_the_key_is_another_one_has_a_successor(tmp_path: Path) -> None:
    """When all have, nothing would serve until the files are mended."""
    with embedded(tmp_path / "database") as url:
        recorder = Recorder(settings_for(tmp_path, workers=2, database_url=url))
        until(lambda: len(recorder.workers()) == 2 and len(figures_of(recorder)) == 2)
        key, workers = Path(recorder.settings["server_key"]), recorder.workers()
        key.write_bytes((Path(recorder.settings["state_dir"]) / "authority.key").read_bytes())
        for gone, worker in enumerate(workers, 1):
            os.kill(worker, signal.SIGKILL)
            until(exchanged(recorder, *workers[:gone]))
        assert status(recorder), "with the certificate that was in force"
        until(lambda: "tls.context_kept" in recorder.log())
        assert recorder.stop()[0] == 0
