"""Shared by `ddr maintenance` and `ddr notice`: a notice is built from arguments, found, listed, and shown as a
line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import asyncpg

from ddr.cli.arguments import words
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, shown_instant, with_database
from ddr.store.outages import notices as store
from ddr.store.outages.notices import Notice


def act_and_print(args: argparse.Namespace) -> int:
    """Carry out the action in `args` and print its lines. Raises CommandError."""
    lines: Sequence[str] = with_database(lambda settings, pool: args.does(args, settings, pool))
    for text in lines:
        print(text)
    return 0


def words_in_german_and_contact(parser: argparse.ArgumentParser) -> None:
    """The optional arguments of every notice."""
    parser.add_argument("--cause-de", type=words, default="", help="the cause in German, for the status page")
    parser.add_argument("--impact-de", type=words, default="", help="the impact in German, for the status page")
    parser.add_argument(
        "--contact", type=words, default="", help="contact for questions (default: the setting operator_contact)"
    )


def new_notice(
    args: argparse.Namespace,
    functions: Sequence[str],
    *,
    planned: bool,
    state: str,
    from_ms: int,
    now: int,
    contact: str,
    urgent_reason: str | None = None,
) -> Notice:
    """A new notice announced at `now`, with the end and texts in the arguments; instants in milliseconds."""
    return Notice(
        notice=store.new_name(),
        planned=planned,
        state=state,
        functions=list(dict.fromkeys(functions)),
        from_ms=from_ms,
        until_ms=args.until_ms,
        cause=args.cause,
        cause_de=args.cause_de,
        impact=args.impact,
        impact_de=args.impact_de,
        contact=contact,
        urgent_reason=urgent_reason,
        announced_ms=now,
        changed_ms=now,
    )


async def lines_of(pool: asyncpg.Pool, planned: bool) -> list[str]:
    """A line for each stored notice of that kind."""
    now = now_ms()
    return [line_of(one, now) for one in await store.recent(pool, now - store.KEPT_MS) if one.planned == planned]


async def notice_named(pool: asyncpg.Pool, name: str) -> Notice:
    """The notice with this name. Raises CommandError."""
    notice = await store.find(pool, name)
    if notice is None:
        raise CommandError(f"there is no notice {name}; see ddr notice list and ddr maintenance list")
    return notice


def line_of(notice: Notice, now: int) -> str:
    """A notice for the terminal."""
    if notice.cancelled_ms is not None:
        word = "cancelled"
    elif notice.in_force(now):
        word = "ongoing"
    else:
        word = "announced" if notice.to_come(now) else "over"
    urgent = f", urgent: {notice.urgent_reason}" if notice.urgent_reason else ""
    span = f"{shown_instant(notice.from_ms)} to {shown_instant(notice.end_ms)}"
    return f"{notice.notice}  {word}  {span}  {notice.state}: {' '.join(notice.functions)}  {notice.cause}{urgent}"
