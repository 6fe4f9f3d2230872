"""`ddr notice`: report a disruption that no check sees, or that is about to begin (OPS-007)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import words
from ddr.cli.errors import CommandError
from ddr.cli.notices import act_and_print, line_of, lines_of, new_notice, notice_named, words_in_german_and_contact
from ddr.cli.operator import instant_argument, now_ms
from ddr.miv.loader import load_catalog
from ddr.operations.status.functions import NAMES, all_functions
from ddr.settings import Settings
from ddr.store.outages import events, retractions
from ddr.store.outages import notices as store
from ddr.store.outages.retractions import Retraction

HELP = "report disruptions in the status feed"
_EVENT = re.compile(rf"{events.NAMED}[0-9]{{1,18}}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    report = action(actions, "report", _report, "report a disruption, from now on unless --from is given")
    report.add_argument("--state", choices=("demoted", "unavailable"), required=True)
    report.add_argument(
        "--functions",
        nargs="+",
        required=True,
        metavar="FUNCTION",
        help="the functions concerned; data:MIV is possible, too",
    )
    report.add_argument("--cause", type=words, required=True, help="the cause; shown in public")
    report.add_argument("--impact", type=words, default="", help="what users notice")
    words_in_german_and_contact(report)
    report.add_argument(
        "--from",
        dest="from_ms",
        type=instant_argument,
        metavar="TIME",
        help="begin, in the past or future (default: now)",
    )
    report.add_argument(
        "--until", dest="until_ms", type=instant_argument, metavar="TIME", help="end, if it is known; it can be past"
    )
    resolve = action(actions, "resolve", _resolve, "end a disruption")
    resolve.add_argument("notice", metavar="NAME")
    retract = action(
        actions,
        "retract",
        _retract,
        "retract a past disruption that never happened: it no longer counts against the availability",
    )
    retract.add_argument(
        "name", metavar="NAME", help="name of a disruption, or event-NUMBER of a finding of the checks"
    )
    retract.add_argument("--by", type=words, required=True, metavar="WHO", help="who retracts it: a team or function")
    retract.add_argument("--reason", type=words, required=True, metavar="TEXT", help="why; shown by ddr availability")
    retract.add_argument("--undo", action="store_true", help="undo the retraction: the disruption counts again")
    action(actions, "list", _list, "list ongoing, future and past disruptions (thirty days)")


def run(args: argparse.Namespace) -> int:
    """Print what is now shown."""
    return act_and_print(args)


async def _report(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    now = now_ms()
    known = [*NAMES, *all_functions(load_catalog(settings.miv_packages, settings.miv))]
    if unknown := [name for name in args.functions if name not in known]:
        raise CommandError(f"there is no function {unknown[0]}; the functions are {', '.join(dict.fromkeys(known))}")
    from_ms = now if args.from_ms is None else args.from_ms
    if args.until_ms is not None and args.until_ms <= from_ms:
        raise CommandError("--until must be after the start")
    contact = args.contact or settings.operator_contact
    notice = new_notice(
        args, args.functions, planned=False, state=args.state, from_ms=from_ms, now=now, contact=contact
    )
    return [line_of(await store.add_once(pool, notice), now)]


async def _resolve(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    notice = await notice_named(pool, args.notice)
    if notice.planned:
        raise CommandError(f"{args.notice} is maintenance: use ddr maintenance end or cancel")
    now = now_ms()
    if not (await store.end(pool, args.notice, now) or await store.cancel(pool, args.notice, now)):
        raise CommandError(f"{args.notice} is not an ongoing disruption")
    return [f"{args.notice} is over"]


async def _retract(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> list[str]:
    now = now_ms()
    name = await _over(pool, args.name, now)
    if not await retractions.note(pool, Retraction(name, not args.undo, args.by, args.reason, now)):
        raise CommandError(f"{name} counts already" if args.undo else f"{name} is already retracted")
    return [f"{name} {'counts again' if args.undo else 'is retracted'}; see ddr availability"]


async def _over(pool: asyncpg.Pool, name: str, now: int) -> str:
    """The name of a past disruption or event. Raises CommandError."""
    is_event = _EVENT.fullmatch(name)
    if is_event:
        event = await events.find(pool, name)
        if event is None:
            raise CommandError(f"there is no {name}; see ddr availability")
        name, end_ms = event.name, event.until_ms
    else:
        notice = await notice_named(pool, name)
        if notice.planned:
            raise CommandError(f"{name} is maintenance and cannot be retracted: what it closed was closed")
        end_ms = now if notice.cancelled_ms is not None else notice.end_ms
    if end_ms is None or end_ms > now:
        raise CommandError(f"{name} is not over yet" + ("" if is_event else ": ddr notice resolve"))
    return name


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> Sequence[str]:
    return await lines_of(pool, planned=False) or ["no disruption is reported"]
