"""`ddr patient add`: a patient with a built-in account, for demonstration and tests."""

from __future__ import annotations

import argparse
import sys

import asyncpg

from ddr.cli.errors import CommandError
from ddr.cli.operator import with_database
from ddr.http.clock import now_ms
from ddr.settings import load_settings
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients.accounts import AccountError, create_patient

HELP = "look after the built-in accounts"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`patient` with its own subcommands."""
    actions = subparsers.add_parser("patient", help=HELP, description=__doc__).add_subparsers(
        required=True, metavar="ACTION"
    )
    add = actions.add_parser("add", help="create a patient and print the bearer token for the patient's gateway")
    add.add_argument("--username", required=True)
    add.add_argument(
        "--password-stdin",
        action="store_true",
        required=True,
        help="read the password from standard input, so that it shows in no list of processes",
    )


def run(args: argparse.Namespace) -> int:
    """Create the account; the token is printed once and cannot be shown again."""
    if not load_settings().allow_builtin_accounts:
        raise CommandError("built-in accounts are for demonstration only; set allow_builtin_accounts")
    password = sys.stdin.readline().rstrip("\r\n")
    print(with_database(lambda _, pool: _add(pool, args.username, password)))
    return 0


async def _add(pool: asyncpg.Pool, username: str, password: str) -> str:
    try:
        patient_id = await create_patient(pool, username, password, now_ms())
    except AccountError as error:
        raise CommandError(f"patient {username!r}: {error}") from None
    return await gateway_tokens.create(pool, patient_id, now_ms())
