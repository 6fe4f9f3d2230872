"""`ddr credentials`: machine credentials: who is responsible for each, when it expires, when it was last used."""

from __future__ import annotations

import argparse

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, instant_argument, now_ms, shown_instant
from ddr.settings import Settings
from ddr.store.credentials import register
from ddr.store.credentials.register import SOON_MS, Assigned, Credential, Kind
from ddr.store.gateways import tokens

HELP = "list machines' credentials and their last use, record their owners and ends"
LONGEST = 250
SHOWN = 16  # characters of a digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    action(actions, "list", _list, "list all credentials; missing owners, purposes and ends are marked")
    assign = action(actions, "assign", _assign, "record who is responsible for a credential, and what it is for")
    assign.add_argument("kind", choices=[kind.value for kind in Kind])
    assign.add_argument("which", metavar="WHICH", help="as `list` shows it: the role, or the start of the SHA-256")
    assign.add_argument("--owner", required=True, help="a person or a team")
    assign.add_argument("--purpose", required=True, help="what the credential is for")
    assign.add_argument("--name", help="the name of a role or token; its successor gets the same name")
    assign.add_argument(
        "--until",
        dest="until_ms",
        type=instant_argument,
        metavar="TIME",
        help="when the credential ends, if it does not say so itself",
    )


def run(args: argparse.Namespace) -> int:
    return act(args)


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for one in await register.every(pool):
        print(_shown(one))
    count, ending = await tokens.count_good(pool, now_ms(), SOON_MS)
    print(f"apps: {count} tokens of patients (ddr gateway token list ACCOUNT); {ending} end within 21 days")


def _shown(one: Credential) -> str:
    mark = one.mark if one.kind is Kind.DATABASE else f"{one.name} {one.mark[:SHOWN]}"
    until = f"until {shown_instant(one.until_ms)}" if one.until_ms else "NO KNOWN END"
    told = [
        f"owner {one.owner}" if one.owner else "NO OWNER",
        one.purpose or "NO PURPOSE",
        f"since {shown_instant(one.since_ms)}",
        until if one.ended_ms is None else f"ended {shown_instant(one.ended_ms)}",
        f"last used {shown_instant(one.used_ms)}" if one.used_ms else "never used",
    ]
    return f"{one.kind} {mark}: {', '.join(told)}"


async def _assign(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for text in (args.owner, args.purpose, *([] if args.name is None else [args.name])):
        if len(text) > LONGEST or not text.isprintable():
            raise CommandError(f"owner, purpose and name must each have at most {LONGEST} characters, all printable")
    one = await _which(pool, Kind(args.kind), args.which)
    if one.kind is Kind.BRIDGE and (args.until_ms, args.name) != (None, None):
        raise CommandError("a certificate contains its end, and gets its name with `ddr gateway add-certificate`")
    if one.kind is Kind.DATABASE and args.until_ms is not None:
        raise CommandError(
            "the end of a role is set with ALTER ROLE … VALID UNTIL; `ddr credentials list` reads it there"
        )
    if args.until_ms is not None and args.until_ms <= now_ms():
        raise CommandError("the end must be in the future")
    said = Assigned(args.owner.strip(), args.purpose.strip(), args.name, args.until_ms)
    if not await register.assign(pool, one, said, now_ms()):
        raise CommandError("the credential has ended in the meantime")


async def _which(pool: asyncpg.Pool, kind: Kind, which: str) -> Credential:
    """The one credential in use that the arguments select. Raises CommandError."""
    alive = [one for one in await register.every(pool) if one.kind is kind and one.ended_ms is None]
    found = [one for one in alive if one.mark == which] or [
        one for one in alive if kind is not Kind.DATABASE and one.mark.startswith(which.lower())
    ]
    if len(found) != 1:
        raise CommandError(f"{'no' if not found else 'more than one'} {kind} credential in use is {which!r}")
    return found[0]
