"""`ddr db`: brings the database schema up to date; spreads patients over servers, and moves them between servers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from ddr.cli.actions import actions_of
from ddr.cli.arguments import number
from ddr.cli.ending import waking
from ddr.cli.operator import database_faults_in_one_line
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.distribute import SHARDS, NoEngine, Step, distribute, plan
from ddr.store.database.embedded import database
from ddr.store.database.limits import BACKGROUND, REQUESTS
from ddr.store.database.migrate import migrate_database
from ddr.store.database.placing import Where
from ddr.store.database.pool import open_pool
from ddr.store.database.rebalance import LONGEST_SECONDS, Move, moves, rebalance

HELP = "look after the database"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    actions.add_parser("migrate", help="apply the missing schema migrations")
    spread = actions.add_parser("distribute", help="spread patients over the servers of Citus (docs/scaling.md)")
    spread.add_argument("--plan", action="store_true", help="only say where each table would be put, and why")
    spread.add_argument(
        "--shards",
        type=number(1),
        default=SHARDS,
        metavar="N",
        help="parts of each table; at least as many as there will ever be servers",
    )
    move = actions.add_parser("rebalance", help="move patients to servers that were added (docs/scaling.md)")
    move.add_argument("--plan", action="store_true", help="only say what would be moved, or what prevents it")


def run(args: argparse.Namespace) -> int:
    """Apply missing migrations and print their names; status 2 where the database cannot spread or move patients.

    With a plan nothing is changed; `rebalance` does not change the schema.
    """
    with database(load_settings()) as settings, database_faults_in_one_line():
        if args.action == "migrate" or (args.action == "distribute" and not args.plan):
            applied = migrate_database(settings)
            print("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
        try:
            if args.action == "distribute":
                waking(_distribute(args, settings))
            elif args.action == "rebalance":
                waking(_rebalance(args, settings))
        except NoEngine as error:
            print(f"ddr: {error}", file=sys.stderr)
            return 2
    return 0


async def _distribute(args: argparse.Namespace, settings: Settings) -> None:
    async with await open_pool(settings, BACKGROUND, size=2) as pool:
        if args.plan:
            for step in await plan(pool):
                print(_shown(step))
            return
        count = await distribute(pool, args.shards, lambda step: print(_shown(step), flush=True))
        print(f"{count} tables were put where they belong; the others were already there")
        print("tried, but not ready for patients: docs/scaling.md says what has not been tested")


def _shown(step: Step) -> str:
    where = f"{step.place.where}: {step.place.by}" if step.place.where is Where.KEY else str(step.place.where)
    return f"{step.table:24}{where:34}{step.place.why}{' (done)' if step.done else ''}"


_BEFOREHAND = f"""\
Patients' data can be read and written while its part is copied. At the end of each copy, writes to that part wait;
a request that waits longer than {REQUESTS.lock:g} seconds gets 503 with Retry-After. This command tries writes, too:
if one waits for {LONGEST_SECONDS:g} seconds, the part stays where it was and this command ends."""


async def _rebalance(args: argparse.Namespace, settings: Settings) -> None:
    async with await open_pool(settings, BACKGROUND, size=2) as pool:
        planned = await moves(pool)
        for parts in _alike(planned):
            print(_moved(parts))
        print(f"{len(planned)} parts to be moved" if planned else "nothing to move: each server has its share")
        if args.plan:
            return
        print(_BEFOREHAND, flush=True)
        done = await rebalance(pool, lambda line: print(line, flush=True))
        print(
            f"{done.steps} steps; of {done.writes} writes to patients of these parts the longest took"
            f" {done.longest_seconds:.1f} seconds, {done.failed} failed"
        )


def _alike(planned: list[Move]) -> Iterable[list[Move]]:
    """Parts of the same tables that move in the same direction, grouped."""
    found: dict[tuple[str, str, str], list[Move]] = {}
    for move in planned:
        found.setdefault((move.tables[0], move.source, move.target), []).append(move)
    return found.values()


def _moved(parts: list[Move]) -> str:
    first = parts[0]
    tables = first.tables[0] + (f" and {len(first.tables) - 1} more" if len(first.tables) > 1 else "")
    size = sum(part.bytes for part in parts) / 1e6
    return f"{tables:24}{len(parts):4} parts{size:12.1f} MB   {first.source} to {first.target}"
