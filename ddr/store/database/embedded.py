"""The embedded PostgreSQL: a private server in the state directory, for demonstrations, tests and small installations.

It listens only on a unix socket in a directory of mode 0700. The process that starts it holds a lock on the state
directory and stops it when it ends; other commands on the same state directory use the running server. A recorder
restarts it when it is gone, because nobody else looks after it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from ddr.drafts import draft
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.store.database.account import server_account
from ddr.store.database.binaries import Installation, copied, find_installation
from ddr.store.database.errors import StoreError

SOCKET = ".s.PGSQL.5432"
TELLING = ("FATAL", "PANIC", "error:", "terminated by signal"), ("could not",)  # printed by PostgreSQL's programs
LONGEST_SOCKET_PATH = 107  # bytes; sun_path of the kernel
TO_CLIENTS = "FATAL:  the database system is "  # what clients are told while it starts up or recovers
WAIT_SECONDS = 60
START_SECONDS = 3600  # for the first start: after a crash it may have much to do, and would begin that anew
BEGUN_SECONDS = 10.0  # until a started server listens at its socket, on a slow machine
LOOK_SECONDS = 1.0  # between two checks whether the server still runs
SERVER_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",  # statements are short, and /dev/shm is small in containers
    "log_statement": "none",
    "log_min_error_statement": "panic",  # statements may contain patient data
    "log_parameter_max_length_on_error": "0",
}

log = logging.getLogger(__name__)


@contextmanager
def embedded(state_dir: Path, share: bool = True) -> Iterator[str]:
    """Run the server of `state_dir` during the block and yield its URL; create it on first use (about 1 s).

    If another process runs it already, yields that server's URL when `share`, else raises StoreError. Without `share`
    the server is for a recorder, and is restarted when it was killed. Raises StoreError with one line for everything
    that goes wrong.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "postgres.lock").open("a+")
    except OSError as error:
        raise StoreError(f"state directory {state_dir}: {error.strerror}") from None
    with lock:
        if not _locked(lock.fileno()):
            yield _shared_url(state_dir, share)
            return
        server, published = _Server(state_dir), state_dir / "postgres.url"
        try:
            url = server.start(START_SECONDS)
            _publish(published, url)
            with nullcontext() if share else _kept(server):
                yield url
        finally:
            with suppress(OSError):  # in case nothing can be written any more
                published.unlink(missing_ok=True)
            server.stop()


@contextmanager
def database(settings: Settings, share: bool = True) -> Iterator[Settings]:
    """`settings` with a database that exists during the block: the configured one, or the embedded one if that is
    switched on. Nobody should find out later that data went to a private database. Raises StoreError."""
    if settings.database_url:
        yield settings
        return
    if not settings.embedded:
        raise StoreError(
            "no database is set: set database_url (DDR_DATABASE_URL=postgresql://…), or, to try things out,"
            " embedded (DDR_EMBEDDED=true)"
        )
    with embedded(settings.state_dir, share) as url:
        yield replace(settings, database_url=url)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _publish(file: Path, url: str) -> None:
    """Publish its URL for others, atomically. Raises StoreError."""
    try:
        with draft(file) as out:
            out.write(url.encode())
    except OSError as error:
        raise StoreError(f"state directory {file.parent}: {in_words(error)}") from None


def _shared_url(state_dir: Path, share: bool) -> str:
    if not share:
        raise StoreError(f"state directory {state_dir} is in use by another recorder")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            return (state_dir / "postgres.url").read_text("utf-8")
        except FileNotFoundError:
            time.sleep(0.1)
    raise StoreError(f"state directory {state_dir}: is in use by another recorder whose database does not run yet")


@contextmanager
def _kept(server: _Server) -> Iterator[None]:
    """During the block, restart `server` whenever it is gone (killed for lack of memory, for instance)."""
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(server, over), name="embedded", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep(server: _Server, over: threading.Event) -> None:
    told = ""
    while not over.wait(LOOK_SECONDS):
        try:
            if not server.runs():
                server.bury()
                server.start()
                log.warning("database.started_again")
            told = ""
        except (StoreError, OSError) as error:  # former processes still run, or the system cannot start new ones
            reason = in_words(error)
            if (kind := re.sub(r"\d", "", reason)) != told:  # times and process ids differ each time
                log.warning("database.not_started", extra={"reason": reason})
            told = kind


class _Server:
    """One data directory, the programs to run it, and the account under which they run."""

    def __init__(self, state_dir: Path) -> None:
        self.account = server_account()
        self.home = self.account.home(state_dir / "postgres")
        self.data = self.home / "data"
        self.installation = self._reachable(find_installation(self.data))
        self.run_dir = self._run_dir()

    def start(self, seconds: int = WAIT_SECONDS) -> str:
        """Start the server, creating the data directory first if needed. Returns its URL once it answers."""
        if not self.data.exists():
            self._initialise()
        self._stop_leftover()
        options = {**SERVER_OPTIONS, "unix_socket_directories": str(self.run_dir)}
        arguments = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        log = self.home / "log"
        log.unlink(missing_ok=True)
        start = ("start", "-D", self.data, "-l", log, "-w", "-t", seconds, "-s", "-o", arguments)
        try:
            self._run("pg_ctl", *start)
        except BaseException as broken_off:
            if not isinstance(broken_off, StoreError):
                self._await()
            raise
        return f"postgresql://ddr@/postgres?host={quote(str(self.run_dir))}"

    def _await(self) -> None:
        """Make sure that it can be stopped when we are told to end while it starts: it does not end with the program
        that starts it."""
        until = time.monotonic() + BEGUN_SECONDS
        while not self.runs() and time.monotonic() < until:
            time.sleep(0.02)

    def runs(self) -> bool:
        """Whether a server listens at its socket."""
        return _answers(self.run_dir / SOCKET)

    def bury(self) -> None:
        """Reap the process of a killed server if we are its parent (process 1 of a container): else it seems to run."""
        with suppress(OSError, ValueError, IndexError):
            os.waitpid(int((self.data / "postmaster.pid").read_text("utf-8").split()[0]), os.WNOHANG)

    def stop(self) -> None:
        """Stop the server if it runs; open sessions are ended."""
        if self.runs():
            self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", WAIT_SECONDS, "-s")
        if self.run_dir.parent != self.home:
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def _initialise(self) -> None:
        """Create the data directory, under another name first, because an interrupted initdb leaves nothing usable."""
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        access = ("-U", "ddr", "--auth-local=trust", "--auth-host=reject")
        self._run("initdb", "-D", fresh, *access, "-E", "UTF8", "--no-locale", "--data-checksums")
        fresh.rename(self.data)

    def _stop_leftover(self) -> None:
        """Stop the server of a recorder that was killed: the lock is ours, so nobody else uses it."""
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists():
            return
        lines = pid_file.read_text("utf-8").splitlines()
        if not lines:  # the server or the machine was killed as it started: no second one starts beside it
            pid_file.unlink()
        if len(lines) > 4 and _answers(Path(lines[4]) / SOCKET):
            self._run("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", WAIT_SECONDS, "-s")

    def _reachable(self, installation: Installation) -> Installation:
        """`installation`, or a copy of it when the account has no access to it (a virtual environment below /root)."""
        if self.account.may_run(installation.bin / "postgres"):
            return installation
        copies = self.home / "pgsql"
        shutil.rmtree(copies, ignore_errors=True)
        copy = copied(installation, copies)
        self.account.own_all(copies)
        return copy

    def _run_dir(self) -> Path:
        """The directory of the socket: in the home, or a short temporary one if the path would be too long."""
        run_dir = self.home / "run"
        if len(os.fsencode(run_dir / SOCKET)) > LONGEST_SOCKET_PATH:
            run_dir = Path(tempfile.mkdtemp(prefix="ddr-", dir="/tmp"))
        run_dir.mkdir(mode=0o700, exist_ok=True)
        self.account.own(run_dir)
        return run_dir

    def _run(self, program: str, *arguments: str | Path | int) -> None:
        """Run one of the programs to its end; if it fails, what it printed becomes the StoreError."""
        command = [str(self.installation.bin / program), *(str(argument) for argument in arguments)]
        done = self.account.run(command, cwd=self.home)
        if done.returncode != 0:
            log = self.home / "log"
            text = (log.read_text("utf-8", "replace") if log.exists() else "") + done.stdout
            raise StoreError(f"embedded PostgreSQL in {self.home}: {complaint(program, done.returncode, text)}")


def complaint(program: str, status: int, text: str) -> str:
    """The line that says what was wrong, from all that a program printed before it ended with this exit status.

    A program that was killed, as for lack of memory, says only what it was about to do.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and TO_CLIENTS not in line]
    telling = [line for words in TELLING for line in lines if any(word in line for word in words)]
    if not telling and status < 0:
        return f"{program} was ended by {signal.Signals(-status).name}"
    return (telling or lines[-1:] or [f"{program} failed"])[0]


def _answers(path: Path) -> bool:
    """Whether a server listens at the socket, however busy."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(LOOK_SECONDS)
        try:
            probe.connect(str(path))
        except (BlockingIOError, TimeoutError):
            return True
        except OSError:
            return False
    return True
