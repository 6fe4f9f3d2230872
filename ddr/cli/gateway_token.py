"""`ddr gateway token`: the tokens of gateway apps, for operators; changes are recorded and the patient sees them."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.account import ACCOUNT, the_patient
from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import number
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, shown_instant
from ddr.patient_pages.texts.representation import somebody
from ddr.settings import Settings
from ddr.store.audit.trail import Event
from ddr.store.gateways import apps, tokens

LONGEST_NAME = 80
LONGEST_DAYS = 36_500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    shown = "list a patient's apps that may send data, when they last did, and who connected them"
    action(actions, "list", _list, shown)
    add = action(actions, "add", _add, "issue a token for a new app, and print it this once")
    renew = action(
        actions, "renew", _renew, "issue the next token of an app; the previous one stays valid for the overlap"
    )
    revoke = action(
        actions, "revoke", _revoke, "disconnect an app, or all apps of a patient; their next request is refused"
    )
    for one in actions.choices.values():
        one.add_argument("account", metavar="ACCOUNT", help=ACCOUNT)
    add.add_argument("--name", default="", help="what the patient calls the app")
    add.add_argument(
        "--days",
        type=number(1, LONGEST_DAYS),
        help="how many days the token is valid (default: the setting gateway_token_days)",
    )
    renew.add_argument("app", metavar="APP", help="the app's id, as `list` shows it")
    renew.add_argument(
        "--overlap-seconds",
        type=number(0),
        help="how long the previous token stays valid (default: the setting gateway_token_overlap_seconds)",
    )
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("app", nargs="?", metavar="APP", help="the app's id, as `list` shows it")
    which.add_argument("--all", action="store_true", help="every app of this patient")


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for row in await tokens.apps(pool, await the_patient(pool, settings, args.account), now_ms()):
        used = f"last used {shown_instant(row['used_ms'])}" if row["used_ms"] is not None else "never used"
        connected = f", connected by {somebody('en', row['role'])}" if row["role"] else ""
        print(
            f"{row['app']}: {row['name'] or '(no name)'}, since {shown_instant(row['since_ms'])},"
            f" until {shown_instant(row['until_ms'])}, {used}{connected}"
        )


async def _add(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    days = settings.gateway_token_days if args.days is None else args.days
    if len(args.name) > LONGEST_NAME or not args.name.isprintable():
        raise CommandError(f"--name must have at most {LONGEST_NAME} characters, all printable")
    patient_id = await the_patient(pool, settings, args.account)
    try:
        print(await apps.issue(pool, patient_id, args.name, days, now_ms()))
    except tokens.TooManyTokens:
        raise _too_many() from None


async def _renew(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    seconds = settings.gateway_token_overlap_seconds if args.overlap_seconds is None else args.overlap_seconds
    patient_id = await the_patient(pool, settings, args.account)
    newest = await tokens.newest(pool, patient_id, args.app, now_ms())
    if newest is None:
        raise _no_such_app(args.app)
    try:
        renewed = await apps.renew(
            pool, newest, settings.gateway_token_days, seconds * 1000, now_ms(), Event.GATEWAY_TOKEN_RENEWED
        )
    except tokens.TooManyTokens:
        raise _too_many() from None
    if renewed is None:
        raise CommandError("the account is disabled, or the app has been disconnected in the meantime")
    print(renewed.token)


async def _revoke(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    patient_id = await the_patient(pool, settings, args.account)
    count = await apps.disconnect(
        pool, patient_id, None if args.all else args.app, Event.GATEWAY_TOKEN_REVOKED, now_ms()
    )
    if not count and not args.all:
        raise _no_such_app(args.app)
    print(f"{count} apps disconnected")


def _no_such_app(app: str) -> CommandError:
    return CommandError(f"this patient has no connected app {app!r}")


def _too_many() -> CommandError:
    return CommandError(f"the patient already has {tokens.MOST} tokens; revoke unused ones")
