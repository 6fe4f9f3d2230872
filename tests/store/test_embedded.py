"""The embedded server: starts anywhere, keeps its data, is shared, and reports clearly what is wrong."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import asyncpg
import pytest

from ddr.store.database import binaries
from ddr.store.database.account import Account
from ddr.store.database.embedded import _keep, complaint, embedded
from ddr.store.database.errors import StoreError
from tests.support.reached import fetchval


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory; for root below a 0700 directory of pytest, so that the server's account cannot reach it."""
    yield tmp_path
    shutil.rmtree((tmp_path / "postgres").resolve(), ignore_errors=True)


async def test_data_survives_a_restart(state: Path) -> None:
    with embedded(state) as url:
        await fetchval(url, "CREATE TABLE kept AS SELECT 42 AS x")
    with embedded(state) as url:
        assert await fetchval(url, "SELECT x FROM kept") == 42
    with pytest.raises(OSError):
        await fetchval(url, "SELECT 1")


def mode(directory: object) -> int:
    return Path(str(directory)).stat().st_mode & 0o777


async def test_it_is_reachable_by_a_private_socket_only(state: Path) -> None:
    with embedded(state) as url:
        assert await fetchval(url, "SHOW listen_addresses") == ""
        assert mode(await fetchval(url, "SHOW unix_socket_directories")) == 0o700
    assert mode(state / "postgres") == 0o700


async def test_a_second_command_shares_it_and_a_second_recorder_is_refused(state: Path) -> None:
    with embedded(state) as url:
        with embedded(state) as other:
            assert other == url
        assert await fetchval(url, "SELECT 1") == 1
        with pytest.raises(StoreError, match="in use by another recorder"), embedded(state, share=False):
            pass


def start_and_kill_a_recorder(state: Path) -> None:
    program = (
        "import sys, time, pathlib\nfrom ddr.store.database.embedded import embedded\n"
        "with embedded(pathlib.Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen([sys.executable, "-c", program, str(state)], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"ready\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()


async def test_a_killed_recorder_leaves_nothing_in_the_way(state: Path) -> None:
    start_and_kill_a_recorder(state)
    with embedded(state, share=False) as url:
        assert await fetchval(url, "SELECT 1") == 1


def pid(state: Path) -> int:
    """The process id of the server."""
    return int(((state / "postgres").resolve() / "data" / "postmaster.pid").read_text().split()[0])


async def patiently(url: str, statement: str) -> object:
    """The answer, once the server is there."""
    for _ in range(600):
        try:
            return await fetchval(url, statement)
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.1)
    return await fetchval(url, statement)


@pytest.fixture(params=["usual", "adopting"])
def parent(request: pytest.FixtureRequest) -> Iterator[None]:
    """Adopting: we become the parent of processes that lose theirs, like process 1 of a container."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    prctl(set_child_subreaper, int(request.param == "adopting"), 0, 0, 0)
    yield
    prctl(set_child_subreaper, 0, 0, 0, 0)


@pytest.mark.usefixtures("parent")
async def test_a_recorder_starts_a_killed_server_again(state: Path) -> None:
    """kill -9, as the kernel does when memory runs out."""
    with embedded(state, share=False) as url:
        await fetchval(url, "CREATE TABLE kept AS SELECT 42 AS x")
        for _ in range(2):
            os.kill(killed := pid(state), signal.SIGKILL)
            assert await patiently(url, "SELECT x FROM kept") == 42
            assert pid(state) != killed


@pytest.mark.parametrize("left", ["", "12\n"])
async def test_what_a_start_that_was_killed_has_left_is_in_nobodys_way(state: Path, left: str) -> None:
    with embedded(state):
        pass
    ((state / "postgres").resolve() / "data" / "postmaster.pid").write_text(left)
    with embedded(state) as url:
        assert await fetchval(url, "SELECT 1") == 1


async def test_a_recorder_that_had_no_descriptor_to_start_the_server_again_starts_it_later(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks after the server gave up for good, or told the first reason only."""

    def reasons() -> str:
        return " ".join(getattr(one, "reason", one.message) for one in caplog.records)

    async def told(words: str) -> None:
        async with asyncio.timeout(120):
            while words not in reasons():  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.05)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with embedded(state, share=False) as url:
        killed, settings = pid(state), (state / "postgres").resolve() / "data" / "postgresql.auto.conf"
        settings.write_text("nonsense = 1\n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # of which all are taken
        try:
            os.kill(killed, signal.SIGKILL)
            await told("Too many open files")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await told("contains errors")
        settings.write_text("")
        await told("database.started_again")
        assert await fetchval(url, "SELECT 1") == 1


def test_each_time_that_the_server_cannot_be_looked_after_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Of one that ran all the while nothing else says that the first time is over."""
    lacking = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    full = [StoreError(f"xlogtemp.{number}: No space left on device") for number in (12, 13)]
    looks = [lacking, lacking, True, lacking, *full]
    _keep(Mock(runs=Mock(side_effect=looks)), Mock(wait=Mock(side_effect=[*(False for _ in looks), True])))
    reasons = [vars(one)["reason"] for one in caplog.records]
    assert reasons == ["Too many open files", "Too many open files", "xlogtemp.12: No space left on device"]


async def test_the_end_of_a_server_that_was_killed_before_is_no_fault(state: Path) -> None:
    with embedded(state) as url:
        os.kill(pid(state), signal.SIGKILL)
        for _ in range(600):
            try:
                await fetchval(url, "SELECT 1")
            except (ConnectionRefusedError, FileNotFoundError):
                break
            except (OSError, asyncpg.PostgresError):
                pass
            await asyncio.sleep(0.1)
    assert not (state / "postgres.url").exists()


@pytest.mark.parametrize("waiting", ["-w", "-W"])
def test_a_start_that_is_broken_off_leaves_no_server(
    state: Path, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    """By Ctrl-C or SIGTERM, when it serves already, or before it does."""
    true_run, begun = Account.run, state / "postgres" / "data" / "postmaster.pid"

    def broken_off(account: Account, command: list[str], cwd: Path | None = None) -> object:
        begins = command[1] == "start"
        done = true_run(account, [waiting if begins and word == "-w" else word for word in command], cwd)
        if begins:
            while not begun.exists():
                time.sleep(0.02)
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Account, "run", broken_off)
        with pytest.raises(KeyboardInterrupt), embedded(state):
            pass
    assert not begun.exists()
    assert not (state / "postgres.url").exists()


def test_where_its_address_cannot_be_told_no_server_is_left(state: Path) -> None:
    with embedded(state):
        pass
    (state / "postgres.url").mkdir()  # what cannot be written
    with pytest.raises(StoreError, match=f"state directory {state}: Is a directory"), embedded(state):
        pass
    assert not (state / "postgres" / "data" / "postmaster.pid").exists()


def test_a_server_that_has_much_to_do_after_a_crash_is_waited_for(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gave up would begin it anew with the next try, without end."""
    with embedded(state):
        pass
    data = (state / "postgres" / "data").resolve()
    with (data / "postgresql.conf").open("a") as conf:
        conf.write("restore_command = 'until test -e enough; do sleep 0.1; done; false'\n")
    (data / "recovery.signal").touch()
    later = threading.Timer(3, (data / "enough").touch)
    with ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setattr("ddr.store.database.embedded.WAIT_SECONDS", 1)  # for all else
            later.start()
            stack.enter_context(embedded(state))
        assert (data / "enough").exists()
    later.join()


async def test_a_long_path_gets_a_short_socket(state: Path) -> None:
    deep = state / ("d" * 110)
    with embedded(deep) as url:
        assert await fetchval(url, "SELECT 1") == 1
    shutil.rmtree((deep / "postgres").resolve())


async def test_programs_that_the_account_cannot_reach_are_copied(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = [folder for folder in binaries._candidates() if binaries.WHEEL in str(folder)]
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(wheel))
    monkeypatch.setattr(Account, "may_run", lambda self, program: False)
    with embedded(state) as url:
        assert await fetchval(url, "SELECT 1") == 1
    assert (state / "postgres" / "pgsql").is_dir()


def test_data_of_another_major_version_is_named(state: Path) -> None:
    with embedded(state):
        pass
    (state / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreError, match=r"belongs to PostgreSQL 9, but only .* install PostgreSQL 9"), embedded(state):
        pass


def test_no_postgresql_at_all_says_what_to_do(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    with pytest.raises(StoreError, match=r"no PostgreSQL found .* DDR_DATABASE_URL"), embedded(state):
        pass


def test_a_broken_data_directory_is_reported_in_one_line(state: Path) -> None:
    with embedded(state):
        pass
    (state / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StoreError) as caught, embedded(state):
        pass
    # as PostgreSQL 15 and 18 say it
    assert "could not find the database system" in str(caught.value) or "global/pg_control" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_all_that_a_program_says_the_complaint_is_told() -> None:
    about = 'The files belonging to this database system will be owned by user "postgres".\n'
    killed = "child process was terminated by signal 9: Killed"
    assert complaint("initdb", 1, f"{about}running bootstrap script ... {killed}\nremoving it\n").endswith(killed)
    assert complaint("initdb", -9, about) == "initdb was ended by SIGKILL"
    to_a_worker = "FATAL:  the database system is not yet accepting connections\n"
    full = 'FATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device'
    assert complaint("pg_ctl", 1, f"{to_a_worker}{full}\npg_ctl: could not start server\n") == full
    assert complaint("pg_ctl", 1, "waiting ...\nno luck\n") == "no luck"
    assert complaint("pg_ctl", 1, "\n") == "pg_ctl failed"


def test_a_state_directory_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="state directory"), embedded(tmp_path / "file"):
        pass
