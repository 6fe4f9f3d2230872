"""`ddr maintenance`: announce maintenance, begin and end it; every worker knows within seconds (OPS-002 to 006)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import words
from ddr.cli.errors import CommandError
from ddr.cli.notices import act_and_print, line_of, lines_of, new_notice, notice_named, words_in_german_and_contact
from ddr.cli.operator import instant_argument, now_ms
from ddr.durations import DAY_MS
from ddr.operations.business_days import AHEAD, ZONE, earliest
from ddr.operations.status.functions import NAMES, TOWARDS_DIGA
from ddr.settings import Settings
from ddr.store.outages import notices as store
from ddr.store.outages.notices import Notice

HELP = "announce, begin and end planned maintenance"
LONGEST_MS = 7 * DAY_MS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    schedule = action(
        actions, "schedule", _schedule, f"announce a maintenance window, at least {AHEAD} business days ahead"
    )
    schedule.add_argument("--from", dest="from_ms", type=instant_argument, required=True, metavar="TIME")
    start = action(actions, "start", _start, "begin now without announcement, or begin an announced window early")
    start.add_argument("notice", nargs="?", metavar="NAME", help="the name of an announced window")
    for parser in (schedule, start):
        parser.add_argument(
            "--until", dest="until_ms", type=instant_argument, metavar="TIME", help="end of the window: FHIR dateTime"
        )
        parser.add_argument("--cause", type=words, help="why there is maintenance; shown in public")
        parser.add_argument("--impact", type=words, help="what does not work meanwhile; shown in public")
        words_in_german_and_contact(parser)
        parser.add_argument(
            "--functions", nargs="+", choices=NAMES, metavar="FUNCTION",
            help=f"which of {', '.join(NAMES)} (default: all except ingestion)",
        )  # fmt: skip
        parser.add_argument(
            "--demoted", action="store_true", help="the functions keep working, but not as well: nothing is closed"
        )
        parser.add_argument("--urgent", action="store_true", help="the maintenance concerns security and cannot wait")
        parser.add_argument("--reason", type=words, help="why the maintenance is urgent; shown in public")
    end = action(actions, "end", _end, "end ongoing maintenance early")
    cancel = action(actions, "cancel", _cancel, "take back an announcement")
    for parser in (end, cancel):
        parser.add_argument("notice", metavar="NAME")
    action(actions, "list", _list, "list ongoing, announced and past maintenance (thirty days)")


def run(args: argparse.Namespace) -> int:
    """Print what is now in force."""
    return act_and_print(args)


async def _schedule(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    return [await _add(pool, args, _new(args, settings, args.from_ms))]


async def _start(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    if args.notice is None:
        return [await _add(pool, args, _new(args, settings, now_ms()))]
    if kept := [option for option, value in _words(args).items() if value]:
        raise CommandError(
            f"{args.notice} begins as it was announced: {', '.join(kept)} can be given only for new"
            " maintenance, without NAME"
        )
    _urgent(args)
    former = await notice_named(pool, args.notice)
    now = now_ms()
    if not former.planned or not former.to_come(now):
        raise CommandError(f"{args.notice} is not announced maintenance")
    assert former.until_ms is not None
    earlier = replace(
        former,
        notice=store.new_name(),
        from_ms=now,
        until_ms=args.until_ms or now + former.until_ms - former.from_ms,  # keeps its duration
        urgent_reason=args.reason,
        announced_ms=now,
        changed_ms=now,
    )
    _check_span(earlier)
    async with pool.acquire() as conn, conn.transaction():
        if not await store.cancel(conn, former.notice, now):
            raise CommandError(f"{args.notice} has already begun or is cancelled; see ddr maintenance list")
        await store.add(conn, earlier)
    return [f"{former.notice} is cancelled", line_of(earlier, now)]


async def _add(pool: asyncpg.Pool, args: argparse.Namespace, notice: Notice) -> str:
    """Store a notice that meets the rules, once. Raises CommandError."""
    _check_span(notice)

    def check() -> None:
        first = earliest(datetime.fromtimestamp(notice.announced_ms / 1000, ZONE))
        if notice.from_ms < int(first.timestamp() * 1000):
            if not args.urgent:
                raise CommandError(
                    f"maintenance must be announced {AHEAD} business days ahead: it can begin from"
                    f" {first.isoformat(timespec='minutes')}"
                    " on; if security cannot wait, use --urgent --reason TEXT"
                )
            _urgent(args)

    return line_of(await store.add_once(pool, notice, check), notice.announced_ms)


def _words(args: argparse.Namespace) -> dict[str, object]:
    """The texts of a new window, by option; starting an announced one does not change them."""
    names = ("cause", "impact", "cause_de", "impact_de", "contact", "functions", "demoted")
    return {f"--{name.replace('_', '-')}": getattr(args, name) for name in names}


def _new(args: argparse.Namespace, settings: Settings, from_ms: int) -> Notice:
    """The notice from the arguments. Raises CommandError: an announcement needs start, end, impact and contact."""
    contact = args.contact or settings.operator_contact
    given = {"--until": args.until_ms, "--cause": args.cause, "--impact": args.impact, "--contact": contact}
    if missing := [name for name, value in given.items() if not value]:
        raise CommandError(f"an announcement needs {', '.join(missing)}")
    now = now_ms()
    if from_ms < now - 60_000:
        raise CommandError("--from is past")
    return new_notice(
        args,
        args.functions or TOWARDS_DIGA,
        planned=True,
        state="demoted" if args.demoted else "unavailable",
        from_ms=from_ms,
        now=now,
        contact=contact,
        urgent_reason=args.reason if args.urgent else None,
    )


def _urgent(args: argparse.Namespace) -> None:
    if not (args.urgent and args.reason):
        raise CommandError("maintenance that was not announced in time needs --urgent and --reason TEXT")


def _check_span(notice: Notice) -> None:
    assert notice.until_ms is not None
    if not notice.from_ms < notice.until_ms <= notice.from_ms + LONGEST_MS:
        raise CommandError("--until must be after the start, by at most seven days")
    if notice.until_ms <= notice.announced_ms:
        raise CommandError("--until is past")


async def _end(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    await notice_named(pool, args.notice)
    if not await store.end(pool, args.notice, now_ms()):
        raise CommandError(f"{args.notice} is not ongoing maintenance")
    return [f"{args.notice} is over"]


async def _cancel(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    await notice_named(pool, args.notice)
    if not await store.cancel(pool, args.notice, now_ms()):
        raise CommandError(
            f"{args.notice} has already begun or is cancelled; use ddr maintenance end for ongoing maintenance"
        )
    return [f"{args.notice} is cancelled"]


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> Sequence[str]:
    return await lines_of(pool, planned=True) or ["no maintenance is announced"]
