"""`ddr patient proxy`: who represents whom (docs/representatives.md); the patient's trail records each change."""

from __future__ import annotations

import argparse
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from ddr.cli import typed
from ddr.cli.account import ACCOUNT, the_patient
from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import day
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, shown_instant
from ddr.settings import Settings
from ddr.store.authorization import representations
from ddr.store.authorization.representations import UNTIL_MAJORITY, End, Relation, SetBy
from ddr.store.database.rights import Moment
from ddr.store.patients import administration, identities


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    add = action(actions, "add", _add, "allow an account to act for a patient, from the account's next login on")
    end = action(
        actions,
        "end",
        _end,
        "end a representation and its sessions at once; connected DiGA and apps stay until the patient decides",
    )
    shown = action(actions, "list", _list, "show whom an account represents, and who represents it")
    shown.add_argument("account", metavar="ACCOUNT", help=ACCOUNT)
    for one in (add, end):
        one.add_argument("representative", metavar="REPRESENTATIVE", help=f"who acts for the patient: {ACCOUNT}")
        one.add_argument("patient", metavar="PATIENT", help=f"the patient: {ACCOUNT}")
    add.add_argument("--relation", choices=[one.value for one in Relation], required=True)
    add.add_argument(
        "--name",
        help="the patient's name on the representative's pages; no DiGA sees it (default: a line of standard input)",
    )
    add.add_argument(
        "--born",
        type=day,
        metavar="DATE",
        help="the patient's birthday; needed for parent and guardian (default: the next line of standard input)",
    )
    add.add_argument("--since", type=day, metavar="DATE", help="first day (default: at once)")
    add.add_argument("--until", type=day, metavar="DATE", help="last day (default: none, or the patient's majority)")
    add.add_argument(
        "--new",
        action="store_true",
        help="PATIENT is a subject of the OpenID provider that has never logged in here: create the account",
    )


def complete(args: argparse.Namespace) -> None:
    """Read what the arguments of `add` do not say about the patient's person. Raises CommandError."""
    if args.does is not _add:
        return
    if args.name is None:
        args.name = typed.line("the name")
    if args.born is None and args.relation in UNTIL_MAJORITY:
        try:
            args.born = day(typed.line("the birthday"))
        except argparse.ArgumentTypeError:
            raise CommandError("the birthday is not a date like 2015-03-01") from None


async def _add(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    moment, zone = Moment.at(now_ms(), settings), ZoneInfo(settings.time_zone)
    days = {"born": args.born, "since": args.since, "until": args.until}
    try:
        terms = representations.stated_terms(args.relation, args.name, **days, moment=moment, zone=zone)
    except ValueError as error:
        raise CommandError(str(error)) from None
    representative = await the_patient(pool, settings, args.representative)
    patient = await _represented(args, settings, pool)
    if representative == patient:
        raise CommandError("an account cannot represent itself")
    async with pool.acquire() as conn, conn.transaction():
        if await representations.begin(conn, representative, patient, terms, SetBy.OPERATOR, moment.now_ms) is None:
            raise CommandError("the account already represents this patient; end that representation first")
    print(f"{args.representative} represents {args.patient} as {terms.relation} from the account's next login on")


async def _represented(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> UUID:
    """The patient; an unknown one is created if that was requested. Raises CommandError."""
    if args.new and settings.patient_login == "oidc":
        patient_id = await identities.patient_of(pool, settings.oidc_issuer, args.patient, now_ms())
        if patient_id is not None:  # otherwise the account is disabled
            return patient_id
    elif args.new and not await administration.by_account(pool, args.patient):
        raise CommandError("--new is only for subjects of an OpenID provider; otherwise use ddr patient add")
    return await the_patient(pool, settings, args.patient)


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    for one in await representations.open_of(pool, patient_id):
        terms, born = one.terms, f", born {one.terms.born}" if one.terms.born else ""
        until = f"until {shown_instant(terms.until_ms)}" if terms.until_ms else "without end"
        print(
            f"represents {await _accounts(pool, one.patient_id)} as {terms.relation}, called {terms.name!r}{born},"
            f" since {shown_instant(terms.since_ms)}, {until}, set by {one.set_by}"
        )
    for row in await representations.of_patient(pool, patient_id):
        ended = f"ended {shown_instant(row['ended_ms'])}: {row['end_reason']}" if row["ended_ms"] else "in force"
        print(
            f"represented by {await _accounts(pool, row['representative_id'])} as {row['relation']},"
            f" since {shown_instant(row['since_ms'])}, set by {row['set_by']}, {ended}"
        )


async def _accounts(pool: asyncpg.Pool, patient_id: UUID) -> str:
    """The accounts of a patient, who may have been deleted."""
    rows = await administration.described(pool, [patient_id], now_ms())
    return ", ".join(account for row in rows for account in row["accounts"]) or "(no account)"


async def _end(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    representative, patient = (
        await the_patient(pool, settings, args.representative),
        await the_patient(pool, settings, args.patient),
    )
    async with pool.acquire() as conn, conn.transaction():
        for one in await representations.open_of(conn, representative):
            if one.patient_id == patient and await representations.end(
                conn, patient, one.representation_id, SetBy.OPERATOR, End.RELATION, now_ms()
            ):
                print("ended, with all its sessions; connected DiGA and apps stay until the patient decides")
                return
    raise CommandError("the account does not represent this patient")
