"""Commands that end early: signals, and output that nobody takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from ddr.cli.errors import CommandError
from ddr.cli.main import INTERRUPTED as INTERRUPTED_STATUS
from ddr.cli.main import reported
from ddr.demo.recorder import free_ports
from ddr.store.database.pool import Pool
from tests.cli.held_up import ended, export, held_up, own, own_settings
from tests.cli.recorder import command, environment, settings_for
from tests.support.signals import not_ignored

__all__ = ["own", "own_settings"]

INTERRUPTED, LOST = "ddr: interrupted\n", "not all of the output could be written"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_no_half_of_a_copy_outlives_a_signal(
    own: Pool, own_settings: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    with not_ignored():
        async with held_up(own, "chunk", *export(tmp_path / "copy"), settings=own_settings) as process:
            assert [path.suffix for path in (tmp_path / "copy").iterdir()] == [".part"]
            process.send_signal(number)
            status = 130 if number == signal.SIGINT else -number  # who sent it sees that it was that
            assert await ended(process) == (status, "", INTERRUPTED)
    assert list((tmp_path / "copy").iterdir()) == []


async def test_a_signal_ends_what_ignores_ctrl_c(own: Pool, own_settings: dict[str, Any], tmp_path: Path) -> None:
    """The background jobs of a script do."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with held_up(own, "chunk", *export(tmp_path / "copy"), settings=own_settings) as process:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == (-signal.SIGTERM, "", INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, before)
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("serve",), 1, "ddr: no database is set: set database_url"),
        (("--recorder=a", "serve"), 1, "ddr: recorder a: DDR_RECORDERS must name"),
        (("keys", "rotate"), -signal.SIGHUP, INTERRUPTED),
    ],
)
def test_a_reload_that_is_asked_for_while_serve_is_loaded_does_not_end_it(
    tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    """Its settings are not read yet."""
    script = """
import signal, sys
from ddr.cli import main
real = main.commands

def commands(subparsers):
    signal.raise_signal(signal.SIGHUP)
    return real(subparsers)

main.commands = commands
sys.exit(main.main())
"""
    settings = settings_for(tmp_path, embedded=False)
    with not_ignored():
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment(settings), capture_output=True, text=True
        )
    assert done.returncode == status
    assert done.stderr.startswith(told)


@pytest.mark.parametrize("loop", ["waking", "asyncio.run"])
def test_a_signal_is_seen_that_does_not_wake_who_waits(loop: str) -> None:
    """As one that comes just before the wait: here another thread takes it from the one that waits."""
    script = f"""
import asyncio, os, signal, sys, threading, time
from ddr.cli.ending import taking_back, waking

def other():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threading.Thread(target=other, daemon=True).start()
began = time.monotonic()
with taking_back():
    try:
        {loop}(asyncio.sleep(4))
    except KeyboardInterrupt:
        pass
print(time.monotonic() - began < 3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{loop == 'waking'}\n", "")


def test_what_fails_after_a_signal_is_not_why_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise CommandError("database: canceling statement due to lock timeout")

    assert reported(action, [signal.SIGTERM]) == INTERRUPTED_STATUS
    assert capsys.readouterr().err == INTERRUPTED
    assert reported(action) == 1


def test_a_lack_of_threads_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a command, or of a worker, whose last step takes one, too."""

    def action() -> int:
        raise RuntimeError("can't start new thread")

    assert reported(action) == 1
    assert capsys.readouterr().err.startswith(
        "ddr: the system refuses to start a thread; check the limits on processes (ulimit"
    )

    def broken() -> int:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        reported(broken)


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(("settings",), ""), (("settings",), "1"), (("registry-sandbox", "--data", "/absent/file", "show"), "")],
)
def test_what_nobody_could_take_is_not_done(arguments: tuple[str, ...], unbuffered: str) -> None:
    """Whether it shows when it is printed, or at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    env = environment({}) | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full, open(writer, "wb") as gone:
        for out, reason in ((full, "No space left on device"), (gone, "Broken pipe")):
            done = subprocess.run(command(*arguments), env=env, stdout=out, stderr=PIPE, text=True)
            assert (done.returncode, done.stderr) == (1, f"ddr: {LOST}: {reason}\n")


@pytest.mark.parametrize("closed", ["<&- >&-", ">&-"])
def test_a_standard_output_that_is_closed(closed: str) -> None:
    script = ["sh", "-c", f'exec "$@" {closed}', "sh", *command("settings")]
    done = subprocess.run(script, env=environment({}), stderr=PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, f"ddr: {LOST}: Bad file descriptor\n")


def test_a_password_that_is_no_text(own_settings: dict[str, Any]) -> None:
    add = command("patient", "add", "--username", "x", "--password-stdin")
    done = subprocess.run(
        add, env=environment(own_settings) | {"PYTHONIOENCODING": "utf-8:strict"}, input=b"p\xe4ssword\n", stderr=PIPE
    )
    assert (done.returncode, done.stderr) == (1, b"ddr: the password is not UTF-8 text\n")


def test_a_terminal_without_the_character_shows_its_number() -> None:
    done = subprocess.run(
        command("settings"), env=environment({}) | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and "\\xa7" in done.stdout


@pytest.mark.parametrize("more", [("--plan",), ("--only", "TLS-002")])
def test_a_run_of_the_kit_that_nobody_reads(tmp_path: Path, more: tuple[str, ...]) -> None:
    base, report = f"https://127.0.0.1:{free_ports(1)[0]}", tmp_path / "report.json"
    reader, writer = os.pipe()
    os.close(reader)
    words = command("conform", f"{base}/fhir", "--issuer", base, "--json", str(report), *more)
    with open(writer, "wb") as gone:
        done = subprocess.run(words, env=environment({}), stdout=gone, stderr=PIPE, text=True)
    status = 1 if "--plan" in more else 130
    assert (done.returncode, done.stderr) == (status, f"ddr: {LOST}: Broken pipe\n")
    assert report.exists() is (status == 130)
