"""PgBouncer in transaction mode before a server of a test, or before all databases of a run (make test-pooler)."""

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
WANTED = "TEST_THROUGH_POOLER"  # set by whoever wants the whole run behind a pooler
FOLDER = "TEST_POOLER_FOLDER"  # set for the workers of such a run: where its socket is
SECONDS = 60.0


@contextmanager
def pooler(
    server_url: str, connections: int, schemas: Sequence[str] = (), mode: str = "transaction", ignored: str = ""
) -> Iterator[Path]:
    """A pooler before the server of `server_url` (a socket); the directory of its own socket.

    `connections`: to the server, for everybody who uses the same database. `schemas`: each has a database of its name,
    which is that of `server_url` with this schema. `ignored`: parameters of a session's start that it passes over.
    """
    assert PROGRAM is not None, "needs pgbouncer"
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    account.own(folder)
    (socket,) = parse_qs(urlsplit(server_url).query)["host"]
    config = folder / "pgbouncer.ini"
    settings = "SET plan_cache_mode TO force_generic_plan; SET jit TO off"  # as docs/database.md has it
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
    """The same database by way of the pooler in `folder`."""
    return urlunsplit(urlsplit(url)._replace(query=f"host={folder}&port={PORT}"))


def behind(url: str) -> str:
    """`url`, by way of the pooler if this run is behind one."""
    return through(folder, url) if (folder := os.environ.get(FOLDER)) else url


def before(url: str, server_url: str) -> str:
    """`url` on the server itself, for what no pooler does: databases are made, sessions hold locks."""
    return urlunsplit(urlsplit(url)._replace(query=urlsplit(server_url).query)) if FOLDER in os.environ else url


def statement_cache() -> int | None:
    """The setting for a recorder of this run; None: its default."""
    return 0 if FOLDER in os.environ else None


# For what tests of a session that is ours alone, or of plans that are kept.
direct_only = pytest.mark.skipif(
    bool({WANTED, "DDR_TEST_CITUS_URL", "TEST_AS_IF_SPREAD"} & os.environ.keys()),
    reason="this run is behind a pooler, or over servers",
)


def own_connections_fit() -> None:
    """Let connections that a test makes by itself keep no statements, as behind a pooler nobody may."""
    if FOLDER in os.environ:
        os.environ["DDR_DATABASE_STATEMENT_CACHE"] = "0"  # for commands, which read their settings there
        made: Any = asyncpg.connect

        @functools.wraps(made)
        def connect(*arguments: Any, **options: Any) -> Any:
            options.setdefault("statement_cache_size", 0)
            return made(*arguments, **options)

        asyncpg.connect = connect
        limits, _, *others = pool.connect.__defaults__ or ()
        pool.connect.__defaults__ = (limits, 0, *others)
