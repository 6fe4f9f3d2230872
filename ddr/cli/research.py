"""`ddr research export`: readings of those who agreed, without identifiers, under an approval (docs/research.md).

What cannot be undone is only described unless `--yes` is given. Without the setting `research` there is no such
command.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

from ddr.cli.actions import actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, reading, with_database
from ddr.drafts import alone_in
from ddr.operations.research import Export, Terms, prepare
from ddr.operations.research_files import names, put_in_place, report, take_back, unfinished, withhold, write
from ddr.registries.terminology import current_catalog
from ddr.research.approval import ApprovalError, approval
from ddr.series.days import local_day
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.faults import FAULTS, reason_of
from ddr.store.database.pool import Pool
from ddr.store.database.rights import Moment
from ddr.store.patients import research as store

HELP = "export readings for research, without identifiers"
LONGEST = 200
MISUSED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    export = actions.add_parser(
        "export", help="write what an approval allows; each week of a patient is exported only once"
    )
    export.add_argument("--approval", type=Path, required=True, metavar="FILE", help="the approval (TOML file)")
    export.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a new directory, or one without these files"
    )
    export.add_argument("--by", required=True, metavar="WHO", help="who exports: a team or function, shown to patients")
    export.add_argument(
        "--parquet", action="store_true", help="write the tables as Parquet, too (needs the extra `research`)"
    )
    export.add_argument(
        "--yes", action="store_true", help="really do it; otherwise the command only says what it would do"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the action; status 1 when that failed, 2 when the setting `research` is off."""
    if not load_settings().research:
        print("ddr: there is no command research: the setting research is off", file=sys.stderr)
        return MISUSED
    with_database(lambda settings, pool: _export(args, settings, pool))
    return 0


async def _export(args: argparse.Namespace, settings: Settings, pool: Pool) -> None:
    catalog, zone = await current_catalog(settings, pool), ZoneInfo(settings.time_zone)
    moment = Moment.at(now_ms(), settings)
    known = {miv.name: miv for miv in catalog.mivs}
    try:
        allowed = approval(args.approval.read_bytes(), local_day(moment.now_ms, zone), known)
    except ApprovalError as error:
        raise CommandError(f"{args.approval}: {error}") from None
    if args.parquet and not importlib.util.find_spec("pyarrow"):
        raise CommandError("Parquet needs pyarrow (pip install 'ddr[research]'); CSV needs no extra")
    if len(args.by) > LONGEST or not args.by.isprintable():
        raise CommandError(f"--by must have at most {LONGEST} characters, all printable")
    if args.yes and await _finish_interrupted(args.out, pool, moment):
        print("this completes the export that was interrupted before; no other data was given")
        return
    _check_free(args)
    terms = Terms(allowed, settings.research_least, zone, settings.summary_uncalibrated)
    async with reading(settings, pool) as read:
        export = await prepare(pool, read, [known[kind] for kind in allowed.kinds], terms, moment)
    print(json.dumps(report(export, terms), indent=2, ensure_ascii=False))
    if not export.parts:
        raise CommandError("there is nothing to export; the report says why")
    if not args.yes:
        print("nothing was exported; add --yes to do it. It cannot be undone")
        return
    await _give(args, settings, pool, export, terms)


def _check_free(args: argparse.Namespace) -> None:
    if there := [name for name in names(parquet=args.parquet) if (args.out / name).exists()]:
        raise CommandError(f"{args.out / there[0]} already exists; name another directory")


async def _give(args: argparse.Namespace, settings: Settings, pool: Pool, export: Export, terms: Terms) -> None:
    args.out.mkdir(mode=0o700, parents=True, exist_ok=True)
    export_id = uuid4()
    with alone_in(args.out):
        _check_free(args)
        write(export, terms, args.out, export_id, parquet=args.parquet)
        moment = Moment.at(now_ms(), settings)
        # From here until the response only the database knows whether the export was recorded, so the files stay for
        # `_finish_interrupted` whatever happens. Recorded weeks are given to nobody else.
        try:
            given = await store.note(pool, export_id, terms.approval, args.by.strip(), export.weeks, moment)
        except FAULTS as error:
            raise CommandError(
                f"database: {reason_of(error)}; whether the export was recorded is unknown; run the same"
                " command again, and it completes the export or starts over"
            ) from None
        if not given:
            take_back(args.out, export_id)
            raise CommandError(
                "a patient has withdrawn consent in the meantime, or another export has taken the same"
                " weeks: nothing was exported"
            )
        put_in_place(args.out, export_id)
    for name in names(parquet=args.parquet):
        print(args.out / name)


async def _finish_interrupted(out: Path, pool: Pool, moment: Moment) -> bool:
    """Handle an interrupted export: True when it had been recorded, and its files have their final names now.

    Otherwise its files are deleted, also when somebody has withdrawn since: their data is no longer passed on.
    """
    if not unfinished(out):
        return False
    finished = False
    with alone_in(out):
        for export_id, people in unfinished(out).items():
            if not await store.is_noted(pool, export_id):
                take_back(out, export_id)
                continue
            if not await store.still_agree(pool, export_id, people, moment):
                withhold(out, export_id)
                raise CommandError(
                    "the interrupted export cannot be completed: a patient has withdrawn consent since, and"
                    " its files are deleted; its weeks count as exported"
                )
            finished = True
            for path in put_in_place(out, export_id):
                print(path)
    return finished
