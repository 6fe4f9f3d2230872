"""`ddr keys`: new keys for signing access tokens and for sealing secrets, while recorders run, or after a loss."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, now_ms
from ddr.oauth.keys import LEAD_MS, opening_key, opens_all, replace_lost, reseal_all, rotate
from ddr.settings import Settings
from ddr.store.database.sealing import key_encryption_key

HELP = "manage the keys that sign access tokens, and the key that seals secrets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    action(actions, "rotate", _rotate, "publish a new signing key; it takes over as soon as every worker knows it")
    action(actions, "rotate-encryption", _reseal, "seal everything with the new key_encryption_key")
    lost = "start over with new keys because key_encryption_key is lost; then restart all recorders"
    replace = action(actions, "replace", _begin_anew, lost)
    replace.add_argument("--yes", action="store_true", help="destroy the keys that nobody can open any more")


def run(args: argparse.Namespace) -> int:
    """Print the present keys. After `rotate`, issued tokens stay valid; after `replace` they do not."""
    if args.does is _begin_anew and not args.yes:
        raise CommandError(
            "this would destroy everything that key_encryption_key does not open: the signing keys, and with them all"
            " access tokens; the server-wide secrets, and with them all refresh tokens and resource ids."
            " Read docs/keys.md, then use --yes"
        )
    return act(args)


async def _rotate(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    kid = await rotate(pool, await opening_key(pool, settings), settings.access_token_seconds, now_ms())
    print(f"{kid} signs in {LEAD_MS // 60_000} minutes")


async def _reseal(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    keys, secrets = await reseal_all(pool, await opening_key(pool, settings), now_ms())
    print(f"{keys} signing keys and {secrets} secrets are sealed by key_encryption_key alone")


async def _begin_anew(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    ring = key_encryption_key(settings, make=True)
    if await opens_all(pool, ring):
        raise CommandError(
            "key_encryption_key opens everything, so nothing is lost; for a new signing key, use ddr keys rotate"
        )
    kid, lost = await replace_lost(pool, ring, now_ms())
    print(
        f"{kid} signs now, {lost} secrets are replaced by new ones; restart all recorders with this key_encryption_key"
    )
