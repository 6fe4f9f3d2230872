"""`ddr serve`: check the settings, provide the database, bind the listeners, run the workers.

SIGTERM and Ctrl-C end it after the current requests have been answered. SIGHUP reads the settings again and exchanges
the workers one after another, so that nobody is refused meanwhile. With DDR_RECORDERS and without --recorder it runs
all recorders of that directory, and SIGHUP adds, changes and retires them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ddr import __version__
from ddr.cli.errors import CommandError
from ddr.cli.operator import database_faults_in_one_line
from ddr.cli.serving import log as technical_log
from ddr.cli.serving.recorders import Recorders
from ddr.cli.serving.sockets import Sockets, addresses, bind
from ddr.cli.serving.supervisor import Supervisor
from ddr.miv.loader import load_catalog
from ddr.oauth.keys import Keys, opening_key
from ddr.operations.restore import catch_up
from ddr.operations.retention import check_retention
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.settings_checks import missing_operator
from ddr.settings_recorders import several
from ddr.settings_sources import load_settings
from ddr.store.audit.journal import check
from ddr.store.database.clock import DatabaseClock
from ddr.store.database.distribute import check_placed
from ddr.store.database.dsn import shown
from ddr.store.database.embedded import database
from ddr.store.database.errors import DatabaseAway, DatabaseLost
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import open_pool
from ddr.store.database.replica import check_replica
from ddr.store.database.sealing import check_keys
from ddr.store.database.secrets import load_secrets
from ddr.tls import bsi
from ddr.tls.context import check_usable, public_context

HELP = "run the recorder"
# Settings of the process that owns the sockets and the database: new values take effect at the next start.
FIXED = (
    "state_dir",
    "database_url",
    "database_schema",
    "embedded",
    "host",
    "diga_port",
    "public_port",
    "gateway_port",
    "admin_port",
    "workers",
)
LOOK_SECONDS = 0.5  # between two checks of a database that does not answer yet

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: everything is a setting."""


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then drain and return 0. Problems at the start raise errors of one line."""
    technical_log.configure()
    # Until there are workers to exchange, this signal must not end the process; its request is handled when there are.
    early = list[int]()
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))
    if several(os.environ):
        asyncio.run(_keep_several(early))
        return 0
    settings = fit_to_start()
    sockets = bind(settings)
    check_state(settings.state_dir)
    with database(settings, share=False) as provided:
        _tell(provided)
        _migrate(provided)
        with database_faults_in_one_line():
            asyncio.run(prepare(provided))
        asyncio.run(_supervise(sockets, provided, early))
    return 0


def check_state(folder: Path) -> None:
    """Workers store there what must survive them. Raises CommandError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"state directory {folder} cannot be created: {in_words(error)}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"state directory {folder} cannot be written: it belongs to another user, or is read-only")


def fit_to_start(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings, and a currently valid certificate. Raises errors for the operator."""
    settings = checked(environ)
    check_usable(settings.server_cert, datetime.now(UTC))
    return settings


def checked(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of our environment, unless another is given, checked for a start. Raises errors for the operator."""
    settings = load_settings(environ)
    check_keys(settings)
    check_replica(settings)
    check_retention(settings, load_catalog(settings.miv_packages, settings.miv))
    public_context(settings.server_cert, settings.server_key)
    return settings


def _tell(settings: Settings) -> None:
    """The line that says what runs here, with which database."""
    listeners = {name: f"{host}:{port}" for name, (host, port) in addresses(settings).items()}
    facts = {
        "version": __version__,
        "database": shown(settings.database_url),
        "embedded": settings.embedded,
        "listeners": listeners,
        "workers": settings.workers,
    }
    log.info("serve.starting", extra=facts)
    if missing := missing_operator(settings):
        log.warning("serve.operator_unnamed", extra={"settings": missing})


def _migrate(settings: Settings) -> None:
    """Migrate the schema; wait for a database that is starting or restarting."""
    deadline, waits = time.monotonic() + settings.database_wait_seconds, False
    while True:
        try:
            migrate_database(settings)
            return
        except DatabaseAway as error:
            if isinstance(error, DatabaseLost):
                deadline, waits = time.monotonic() + settings.database_wait_seconds, False
            if time.monotonic() >= deadline:
                raise
            if not waits:
                log.warning("serve.waits_for_database", extra={"reason": str(error)})
            waits = True
        time.sleep(LOOK_SECONDS)


async def prepare(settings: Settings) -> None:
    """Ensure what must hold before anything is served. Raises StoreError, SettingsError.

    Where patients are spread, all tables are where this version expects them; the key opens the sealed secrets, and
    none is unsealed; the journal of ends can be written, and the ends that it records have been carried out here, too.
    """
    check(settings.journal_folder)
    async with await open_pool(settings, BACKGROUND, 2) as pool:
        await check_placed(pool)
        clock = DatabaseClock()
        await clock.read(pool)
        ring = await opening_key(pool, settings)
        await Keys.load(pool, ring, clock())
        await load_secrets(pool, ring)
        await catch_up(pool, settings.journal_folder, clock())


def _environment(settings: Settings) -> Mapping[str, str]:
    """The environment of workers: our own and the TLS profile. They get their settings over a pipe.

    Raises CommandError.
    """
    try:
        return {**os.environ, **bsi.environment(settings.state_dir)}
    except OSError as error:
        folder = settings.state_dir
        raise CommandError(f"state directory {folder} cannot be written: {in_words(error)}") from None


def rechecked(settings: Settings) -> Settings:
    """The settings after a reload: the present ones, except for those that are fixed at the start. Raises errors for
    the operator."""
    new = checked()
    # The URL of the embedded database is ours, not the operator's.
    fixed = [name for name in FIXED if name != "database_url" or not settings.embedded]
    if kept := [name for name in fixed if getattr(new, name) != getattr(settings, name)]:
        log.warning("serve.settings_kept", extra={"settings": kept, "reason": "a new start is needed"})
    new = replace(new, **{name: getattr(settings, name) for name in FIXED})
    _fit_to_reload(new)
    return new


def _fit_to_reload(new: Settings) -> None:
    """Check as at a start: the former settings are better than withdrawals that a restore undoes. Raises StoreError."""
    check(new.journal_folder)


async def _supervise(sockets: Sockets, settings: Settings, early: Sequence[int]) -> None:
    supervisor = Supervisor(sockets, settings, _environment(settings), partial(rechecked, settings))
    _on_signals(supervisor.stop, supervisor.reload, early)
    await supervisor.run()


async def _keep_several(early: Sequence[int]) -> None:
    """Run one process per recorder of the directory until SIGTERM; SIGHUP reads the directory again."""
    recorders = Recorders(fit_to_start, FIXED, _fit_to_reload)
    _on_signals(recorders.stop, recorders.read, early)
    await recorders.run()


def _on_signals(stop: Callable[[], None], reload: Callable[[], None], early: Sequence[int]) -> None:
    """`early`: the signals that arrived before."""
    on_terminal = sys.stderr.isatty()

    def hang_up() -> None:
        """A request to reload, or the end of the terminal that started us, which then no longer exists."""
        if on_terminal and not sys.stderr.isatty():
            stop()
        else:
            reload()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if early:
        reload()
