"""`ddr db`: the schema of the database brought up to date, and an installation spread over several servers."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.authorization import admit_there
from ddr.store.database.distribute import SHARDS, NoEngine, Step, distribute, plan
from ddr.store.database.embedded import database
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.migrate import migrate_database
from ddr.store.database.placing import Where
from ddr.store.database.pool import open_pool

FUNCTIONS = {admit_there.SIGNATURE: admit_there.FUNCTION}
HELP = "look after the database"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`db` with its own subcommands."""
    actions = subparsers.add_parser("db", help=HELP, description=__doc__).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    actions.add_parser("migrate", help="apply the schema migrations that are missing")
    spread = actions.add_parser("distribute", help="spread patients over the servers of Citus (docs/scaling.md)")
    spread.add_argument("--plan", action="store_true", help="only say what becomes of each table, and why")
    spread.add_argument(
        "--shards", type=int, default=SHARDS, metavar="N", help="parts of each table; more than servers ever"
    )


def run(args: argparse.Namespace) -> int:
    """Apply what is missing and print the names; status 2 for `distribute` where there is no engine for it.

    A plan changes nothing.
    """
    with database(load_settings()) as settings:
        if args.action == "migrate" or not args.plan:
            applied = migrate_database(settings)
            print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
        if args.action == "distribute":
            try:
                asyncio.run(_distribute(args, settings))
            except NoEngine as error:
                print(f"ddr: {error}", file=sys.stderr)
                return 2
    return 0


async def _distribute(args: argparse.Namespace, settings: Settings) -> None:
    async with await open_pool(settings, BACKGROUND, size=1) as pool:
        if args.plan:
            for step in await plan(pool):
                print(_shown(step))
            return
        count = await distribute(pool, FUNCTIONS, args.shards, lambda step: print(_shown(step), flush=True))
        print(f"{count} tables were put where they belong; the others were there")
        print("tried, not for patients yet: docs/scaling.md says what was not run")


def _shown(step: Step) -> str:
    where = f"{step.place.where}: {step.place.by}" if step.place.where is Where.KEY else str(step.place.where)
    return f"{step.table:24}{where:34}{step.place.why}{' (done)' if step.done else ''}"
