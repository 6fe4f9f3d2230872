"""`ddr keys`: a new key for signing access tokens, while recorders run, or after the key that seals them was lost."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.errors import CommandError
from ddr.cli.operator import with_database
from ddr.http.clock import now_ms
from ddr.oauth.keys import LEAD_MS, opening_key, replace_lost, rotate
from ddr.oauth.sealing import key_encryption_key
from ddr.settings import Settings

HELP = "look after the keys that sign access tokens"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`keys` with its own subcommands."""
    actions = subparsers.add_parser("keys", help=HELP, description=__doc__).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    actions.add_parser("rotate", help="publish a new key; it takes over when every worker knows it")
    replace = actions.add_parser("replace", help="when key_encryption_key is lost: begin anew; restart recorders then")
    replace.add_argument("--yes", action="store_true", help="destroy the keys that nobody can open any more")


def run(args: argparse.Namespace) -> int:
    """Print the new key's name. With `rotate`, tokens that are out stay valid; with `replace` they do not."""
    if args.action == "replace":
        return _replace(args)
    kid = with_database(_rotate)
    print(f"{kid} signs in {LEAD_MS // 60_000} minutes")
    return 0


async def _rotate(settings: Settings, pool: asyncpg.Pool) -> str:
    return await rotate(pool, await opening_key(pool, settings), settings.access_token_seconds, now_ms())


def _replace(args: argparse.Namespace) -> int:
    if not args.yes:
        raise CommandError(
            "all signing keys would be destroyed, and every access token that is out with them; see --yes"
        )
    print(f"{with_database(_begin_anew)} signs now; restart all recorders with this key_encryption_key")
    return 0


async def _begin_anew(settings: Settings, pool: asyncpg.Pool) -> str:
    return await replace_lost(pool, key_encryption_key(settings, make=True), now_ms())
