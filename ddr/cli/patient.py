"""`ddr patient`: built-in accounts for demonstration and tests, and what operators do when patients write to them.

Every change, and the copy, is recorded in the audit trail, where the patient sees it; viewing is not recorded. What
cannot be undone is only described unless `--yes` is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import asyncpg

from ddr.cli import patient_proxy, typed
from ddr.cli.account import ACCOUNT, the_patient
from ddr.cli.actions import Actions, Does, action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, now_ms, shown_instant
from ddr.cli.patient_copy import write_copy
from ddr.settings import Settings
from ddr.store.authorization import pairings
from ddr.store.authorization.unpairing import Party, unpair
from ddr.store.database.pool import Row
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import administration
from ddr.store.patients.accounts import AccountError, create_patient
from ddr.store.patients.erasure import contents, delete_patient

HELP = "manage patients' accounts"
REASON = "operator-request"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    add = action(actions, "add", _add, "create a patient and print the bearer token for the patient's gateway")
    add.add_argument("--username", required=True)
    add.add_argument(
        "--password-stdin",
        action="store_true",
        required=True,
        help="read the password from standard input, so that no process list shows it",
    )
    find = action(actions, "find", _find, "find the patient of an account, device or pairing")
    by = find.add_mutually_exclusive_group(required=True)
    by.add_argument("account", nargs="?", metavar="ACCOUNT", help=ACCOUNT)
    by.add_argument("--serial", help="serial number of a device")
    by.add_argument("--pairing-id", help="the Pairing ID by which a DiGA knows the patient")
    _on_account(actions, "pairings", _pairings, "list the DiGA that may read the patient's data, and which data")
    end = _on_account(
        actions, "unpair", _unpair, "end the pairing with a DiGA, with its consents and tokens", final=True
    )
    which = end.add_mutually_exclusive_group(required=True)
    which.add_argument("--client-id", help="end the pairing with this DiGA")
    which.add_argument("--all", action="store_true", help="end the pairings with all DiGA")
    _on_account(
        actions,
        "disable",
        _disable,
        "refuse the patient's logins and gateways, and end sessions and pairings",
        final=True,
    )
    _on_account(actions, "enable", _enable, "allow logins and gateways again; ended pairings stay ended")
    copy = _on_account(
        actions, "export", _export, "write the patient's data as files, to answer a letter (GDPR Article 15)"
    )
    copy.add_argument(
        "--to", type=Path, required=True, metavar="DIRECTORY", help="a new directory, or one without these files"
    )
    copy.add_argument("--language", choices=("de", "en"), default="de")
    proxy = actions.add_parser("proxy", help="manage who represents whom: parents, guardians, carers")
    patient_proxy.add_arguments(proxy)
    for name in ("erase", "delete"):  # the second is the older name
        _on_account(actions, name, _delete, "delete all data that is stored about the patient", final=True)


def _on_account(
    actions: Actions[argparse.ArgumentParser], name: str, does: Does, text: str, *, final: bool = False
) -> argparse.ArgumentParser:
    parser = action(actions, name, does, text)
    parser.add_argument("account", metavar="ACCOUNT", help=ACCOUNT)
    if final:
        parser.add_argument(
            "--yes", action="store_true", help="really do it; otherwise the command only says what it would do"
        )
    return parser


def run(args: argparse.Namespace) -> int:
    if args.does is _add:
        args.password = typed.line("the password")
    patient_proxy.complete(args)
    return act(args)


async def _add(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    """The token is printed once and cannot be shown again."""
    if not settings.allow_builtin_accounts:
        raise CommandError("built-in accounts are for demonstration only; set allow_builtin_accounts")
    try:
        patient_id = await create_patient(pool, args.username, args.password, now_ms())
    except AccountError as error:
        raise CommandError(f"patient {args.username!r}: {error}") from None
    print(await gateway_tokens.create(pool, patient_id, now_ms(), days=settings.gateway_token_days))


async def _find(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    if args.serial is not None:
        found = await administration.by_serial(pool, args.serial)
    elif args.pairing_id is not None:
        found = await administration.by_pairing_id(pool, args.pairing_id)
    else:
        found = await administration.by_account(pool, args.account)
    if not found:
        raise CommandError("no patient was found")
    for row in await administration.described(pool, found, now_ms()):
        print(_shown(row))


def _shown(row: Row) -> str:
    state = f"disabled since {shown_instant(row['disabled_ms'])}" if row["disabled_ms"] else "active"
    return (
        f"{', '.join(row['accounts']) or '(no account)'}: {state}, known since {shown_instant(row['created_ms'])};"
        f" {row['devices']} devices, {row['apps']} connected apps, {row['pairings']} pairings"
    )


async def _pairings(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for pairing in await pairings.alive(pool, await the_patient(pool, settings, args.account), now_ms()):
        print(f"{pairing.client_id}: Pairing ID {pairing.pairing_id}, since {shown_instant(pairing.created_ms)}")
        for consent in pairing.consents:
            print(f"  {consent.valueset} until {shown_instant(consent.until_ms)}")


async def _unpair(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    wanted = [
        pairing
        for pairing in await pairings.alive(pool, patient_id, now_ms())
        if args.all or pairing.client_id == args.client_id
    ]
    if not wanted:
        raise CommandError("there is no such pairing")
    for pairing in wanted:
        if not args.yes:
            print(f"would end the pairing with {pairing.client_id} for good")
        elif await unpair(pool, patient_id, pairing.pairing_no, Party.OPERATOR, REASON, now_ms()):
            print(f"ended the pairing with {pairing.client_id}")
        else:
            print(f"the pairing with {pairing.client_id} has been ended by somebody else in the meantime")
    _print_hint(args)


async def _disable(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    (row,) = await administration.described(pool, [patient_id], now_ms())
    if row["disabled_ms"]:
        raise CommandError(f"the account has been disabled since {shown_instant(row['disabled_ms'])}")
    what = f"end all sessions and {row['pairings']} pairings for good, and refuse {row['apps']} apps"
    if args.yes and not await administration.disable(pool, patient_id, now_ms()):
        raise CommandError("the account has been disabled or deleted in the meantime")
    print(f"disabled: {what}" if args.yes else f"would disable the account, {what}")
    _print_hint(args)


async def _enable(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    if not await administration.enable(pool, await the_patient(pool, settings, args.account)):
        raise CommandError("the account is not disabled")
    print("enabled; the patient must connect DiGA again")


async def _export(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    async for name, size in write_copy(settings, pool, patient_id, args.to, args.language):
        print(f"{args.to / name}: {size} bytes")


async def _delete(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    (row,) = await administration.described(pool, [patient_id], now_ms())
    if not args.yes:
        print(f"would delete all readings and every other row of {_shown(row)}")
        for table, rows in (await contents(pool, patient_id)).items():
            _print_rows(table, rows)
    elif await delete_patient(pool, patient_id, now_ms(), Party.OPERATOR, _print_rows):
        print("deleted; if the OpenID provider still has this user, their next login creates a new patient")
    else:
        raise CommandError("somebody else has deleted the account in the meantime")
    _print_hint(args)


def _print_rows(table: str, rows: int) -> None:
    """The progress of a deletion, or what it would delete."""
    if rows:
        print(f"  {table}: {rows} rows", flush=True)


def _print_hint(args: argparse.Namespace) -> None:
    if not args.yes:
        print("nothing was done; add --yes to do it. It cannot be undone")
