"""`ddr keys rotate`: a new key for signing access tokens, while recorders run."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.operator import with_database
from ddr.http.clock import now_ms
from ddr.oauth.keys import LEAD_MS, rotate
from ddr.oauth.sealing import key_encryption_key
from ddr.settings import Settings

HELP = "look after the keys that sign access tokens"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`keys` with its own subcommands."""
    actions = subparsers.add_parser("keys", help=HELP, description=__doc__).add_subparsers(
        required=True, metavar="ACTION"
    )
    actions.add_parser("rotate", help="publish a new key; it takes over when every worker knows it")


def run(args: argparse.Namespace) -> int:
    """Rotate and print the new key's name. Tokens that are out stay valid."""
    kid = with_database(_rotate)
    print(f"{kid} signs in {LEAD_MS // 60_000} minutes")
    return 0


async def _rotate(settings: Settings, pool: asyncpg.Pool) -> str:
    return await rotate(pool, key_encryption_key(settings), settings.access_token_seconds, now_ms())
