"""`ddr serve`: check the settings, provide the database, bind the listeners, run the workers."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Mapping

from ddr.cli.serving import log
from ddr.cli.serving.sockets import Sockets, bind
from ddr.cli.serving.supervisor import Supervisor
from ddr.miv.loader import load_catalog
from ddr.settings import Settings, load_settings, missing_operator
from ddr.store.database.embedded import database
from ddr.store.database.migrate import migrate_database
from ddr.tls import bsi
from ddr.tls.context import public_context

HELP = "run the recorder"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command's arguments; everything else is a setting."""
    subparsers.add_parser("serve", help=HELP, description=__doc__)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then drain and return 0. Problems at start raise errors of one line."""
    log.configure()
    settings = load_settings()
    if missing := missing_operator(settings):
        logging.getLogger(__name__).warning("serve.operator_unnamed", extra={"settings": missing})
    load_catalog(settings.miv_packages, settings.miv)
    public_context(settings.server_cert, settings.server_key)
    workers = bind(settings)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with database(settings, share=False) as settings:
        migrate_database(settings)
        asyncio.run(_supervise(workers, _environment(settings)))
    return 0


def _environment(settings: Settings) -> Mapping[str, str]:
    """What workers inherit: our own environment, the database in use, the TLS profile."""
    return {**os.environ, "DDR_DATABASE_URL": settings.database_url, **bsi.environment(settings.state_dir)}


async def _supervise(workers: list[Sockets], environment: Mapping[str, str]) -> None:
    supervisor = Supervisor(workers, environment)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
    await supervisor.run()
