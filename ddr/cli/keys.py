"""`ddr keys`: new keys for signing access tokens and for sealing secrets, while recorders run, or after a loss."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, with_database
from ddr.oauth.keys import LEAD_MS, opening_key, opens_all, replace_lost, reseal_all, rotate
from ddr.settings import Settings
from ddr.store.database.sealing import key_encryption_key

HELP = "look after the keys that sign access tokens, and the key that seals secrets"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`keys` with its own subcommands."""
    actions = subparsers.add_parser("keys", help=HELP, description=__doc__).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    actions.add_parser("rotate", help="publish a new key; it takes over when every worker knows it")
    actions.add_parser("rotate-encryption", help="seal everything under the new key_encryption_key")
    replace = actions.add_parser("replace", help="when key_encryption_key is lost: begin anew; restart recorders then")
    replace.add_argument("--yes", action="store_true", help="destroy the keys that nobody can open any more")


def run(args: argparse.Namespace) -> int:
    """Print what there is now. With `rotate`, tokens that are out stay valid; with `replace` they do not."""
    if args.action == "rotate-encryption":
        keys, secrets = with_database(_reseal)
        print(f"{keys} signing keys and {secrets} secrets are sealed by key_encryption_key alone")
        return 0
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
            "everything that key_encryption_key does not open would be destroyed: signing keys with every access token"
            " that is out, server-wide secrets with every refresh token and resource id; see docs/keys.md and --yes"
        )
    kid, lost = with_database(_begin_anew)
    print(f"{kid} signs now, {lost} secrets are made anew; restart all recorders with this key_encryption_key")
    return 0


async def _reseal(settings: Settings, pool: asyncpg.Pool) -> tuple[int, int]:
    return await reseal_all(pool, await opening_key(pool, settings), now_ms())


async def _begin_anew(settings: Settings, pool: asyncpg.Pool) -> tuple[str, int]:
    ring = key_encryption_key(settings, make=True)
    if await opens_all(pool, ring):
        raise CommandError("key_encryption_key opens everything, nothing is lost; a new signing key: ddr keys rotate")
    return await replace_lost(pool, ring, now_ms())
