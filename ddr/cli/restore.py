"""`ddr restore`: what to do when the database was restored from a backup (docs/backup.md)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import number
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, now_ms, shown_instant
from ddr.durations import HOUR_MS
from ddr.operations.restore import replay
from ddr.settings import Settings
from ddr.store.audit import journal
from ddr.store.authorization import restore as store

HELP = "after a restore: repeat the ends that it lost, and let DiGA continue"
LONGEST_HOURS = 30 * 24  # a refresh token lasts 30 days


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    begin = action(actions, "begin", _begin, "replay the journal, then accept refresh tokens that the database forgot")
    begin.add_argument(
        "--window",
        type=number(1, LONGEST_HOURS),
        required=True,
        metavar="HOURS",
        help="how many hours DiGA have to use such a token, e.g. 72",
    )
    again = action(actions, "replay", _replay, "repeat the ends that the journal holds; harmless at any time")
    for parser in (begin, again):
        parser.add_argument(
            "--journal", type=Path, metavar="DIR", help="directory of the journal (default: the setting journal_dir)"
        )
    action(actions, "end", _end, "stop accepting forgotten refresh tokens early")


def run(args: argparse.Namespace) -> int:
    return act(args)


async def _begin(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    await _replay(args, settings, pool)
    last_ms = max((entry["at_ms"] for entry in journal.entries(args.journal or settings.journal_folder)), default=0)
    if last_ms > now_ms():
        print(
            f"the journal has an entry of {shown_instant(last_ms)}, which is in the future: changes made now"
            " may look older than what DiGA have already seen; check the database's clock",
            file=sys.stderr,
        )
    until_ms = now_ms() + args.window * HOUR_MS
    await store.declare(pool, until_ms, now_ms())
    print(f"until {shown_instant(until_ms)} each DiGA may continue once with a refresh token that this database forgot")


async def _replay(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    folder = args.journal or settings.journal_folder
    if not journal.files(folder):
        raise CommandError(
            f"there is no journal in {folder}; copy the journals of all hosts there, or name their directory"
            " with --journal"
        )
    for path, count in journal.unreadable(folder).items():
        print(
            f"{path}: {count} lines cannot be read; the ends in them are not repeated",
            file=sys.stderr,
        )
    print(lines_of(await replay(pool, journal.entries(folder), now_ms())))


def lines_of(done: Mapping[str, int]) -> str:
    """The results of a replay, a line for each kind."""
    return "\n".join(f"{count} x {event}" for event, count in done.items()) or "nothing had to be repeated"


async def _end(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    if not await store.close_window(pool, now_ms()):
        raise CommandError("the window for forgotten refresh tokens is not open")
    print("the window for forgotten refresh tokens is closed")
