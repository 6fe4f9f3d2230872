"""`ddr db migrate`: bring the schema of the database up to date."""

from __future__ import annotations

import argparse

from ddr.settings_sources import load_settings
from ddr.store.database.embedded import database
from ddr.store.database.migrate import migrate_database

HELP = "look after the database"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`db` with its own subcommands."""
    actions = subparsers.add_parser("db", help=HELP, description=__doc__).add_subparsers(
        required=True, metavar="ACTION"
    )
    actions.add_parser("migrate", help="apply the schema migrations that are missing")


def run(args: argparse.Namespace) -> int:
    """Apply what is missing and print the names."""
    with database(load_settings()) as settings:
        applied = migrate_database(settings)
    print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
    return 0
