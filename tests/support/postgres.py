"""A test's own PostgreSQL, which can be killed, paused, made a standby, promoted."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddr.store.database.embedded import _Server
from tests.support.processes import alive, children, send


class Server(_Server):
    """An embedded server below `folder`; reached through its socket only."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)

    @property
    def url(self) -> str:
        """Its database."""
        return f"postgresql://ddr@/postgres?host={self.run_dir}"

    def copy(self, primary: Server) -> None:
        """Become a standby of `primary`, without starting yet."""
        how = ("-R", "-c", "fast", "-X", "stream")
        self._run("pg_basebackup", "-h", primary.run_dir, "-U", "ddr", "-D", self.data, *how)

    def follow(self, primary: Server) -> None:
        """Start as the standby of `primary`, which follows this one as primary after it was stopped in order."""
        where = f"host={primary.run_dir} user=ddr"
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"primary_conninfo = '{where}'\n")
        (self.data / "standby.signal").touch()
        self.account.own_all(self.data)
        self.start()

    def promote(self) -> None:
        """Become the primary."""
        self._run("pg_ctl", "promote", "-D", self.data, "-w", "-t", 60)

    def pause(self) -> None:
        """Hang, like a machine with its cable pulled: connections stay, nobody answers."""
        first, *_ = self._pids()
        send(first, signal.SIGSTOP)  # from then on it starts no other process
        for pid in children(first):
            send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._pids():
            send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End at once, without notice; and wait until it has ended."""
        pids = self._pids()
        send(pids[0], signal.SIGQUIT)
        until = time.monotonic() + 30
        while any(alive(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pids(self) -> list[int]:
        first = int((self.data / "postmaster.pid").read_text().split()[0])
        return [first, *children(first)]

    def dispose(self) -> None:
        """Stop, whatever the state, and leave nothing behind."""
        with suppress(OSError, ValueError, IndexError):
            self.resume()
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)


@contextmanager
def own_server(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.dispose()
