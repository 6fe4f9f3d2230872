"""PgBouncer in transaction mode in front of a test's server, or of all databases of a run (make test-pooler)."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from ddr.store.database import pool
from ddr.store.database.account import server_account

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PORT = 6432
WANTED = "TEST_THROUGH_POOLER"  # set to run everything behind a pooler
FOLDER = "TEST_POOLER_FOLDER"  # set for the workers of such a run: the directory of its socket
SECONDS = 60.0


@contextmanager
def pooler(
    server_url: str, connections: int, schemas: Sequence[str] = (), mode: str = "transaction", ignored: str = ""
) -> Iterator[Path]:
    """A pooler in front of the server of `server_url` (a socket); yields the directory of its own socket.

    `connections`: to the server, for all users of the same database. `schemas`: each has a database of its name, which
    is that of `server_url` with this schema. `ignored`: startup parameters of a session that it ignores.
    """
    assert PROGRAM is not None, "needs pgbouncer"
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    account.own(folder)
    (socket,) = parse_qs(urlsplit(server_url).query)["host"]
    config = folder / "pgbouncer.ini"
    settings = "SET plan_cache_mode TO force_generic_plan; SET jit TO off"  # as in docs/database.md
    database, to = urlsplit(server_url).path.removeprefix("/"), f"host={socket} user=ddr"
    lines = (
        f"{one} = {to} dbname={database} connect_query='SET search_path TO {one}; {settings}'\n" for one in schemas
    )
    config.write_text(
        f"[databases]\n{''.join(lines)}* = {to} connect_query='{settings}'\n[pgbouncer]\nunix_socket_dir = {folder}\n"
        f"listen_port = {PORT}\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {connections}\n"
        f"ignore_startup_parameters = {ignored}\n"
        f"max_client_conn = 1000\nserver_idle_timeout = 10\nlogfile = {folder}/log\n"
    )
    user = account.user
    process = subprocess.Popen(
        [PROGRAM, "-q", config],
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + SECONDS
        while not (folder / f".s.PGSQL.{PORT}").exists():
            assert time.monotonic() < until and process.poll() is None, "pgbouncer does not start"
            time.sleep(0.02)
        yield folder
    finally:
        process.terminate()
        process.wait(SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def through(folder: Path | str, url: str) -> str:
    """The same database through the pooler in `folder`."""
    return urlunsplit(urlsplit(url)._replace(query=f"host={folder}&port={PORT}"))


def behind(url: str) -> str:
    """`url`, through the pooler if this run is behind one."""
    return through(folder, url) if (folder := os.environ.get(FOLDER)) else url


def before(url: str, server_url: str) -> str:
    """`url` directly on the server, for what a pooler cannot do: create databases, sessions with locks."""
    return urlunsplit(urlsplit(url)._replace(query=urlsplit(server_url).query)) if FOLDER in os.environ else url


def statement_cache() -> int | None:
    """The value of the setting for a recorder of this run; None: its default."""
    return 0 if FOLDER in os.environ else None


# For tests of a session of our own, or of kept plans.
direct_only = pytest.mark.skipif(
    bool({WANTED, "DDR_TEST_CITUS_URL", "TEST_AS_IF_SPREAD"} & os.environ.keys()),
    reason="this run is behind a pooler, or over servers",
)


def own_connections_fit() -> None:
    """Make connections that tests open themselves cache no statements, which is not allowed behind a pooler."""
    if FOLDER in os.environ:
        os.environ["DDR_DATABASE_STATEMENT_CACHE"] = "0"  # for commands, which read this setting there
        made: Any = asyncpg.connect

        @functools.wraps(made)
        def connect(*arguments: Any, **options: Any) -> Any:
            options.setdefault("statement_cache_size", 0)
            return made(*arguments, **options)

        asyncpg.connect = connect
        limits, _, *others = pool.connect.__defaults__ or ()
        pool.connect.__defaults__ = (limits, 0, *others)
