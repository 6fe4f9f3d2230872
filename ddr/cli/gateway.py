"""`ddr gateway`: tokens of gateway apps, and the certificates with which cloud bridges send for many patients."""

from __future__ import annotations

import argparse
from pathlib import Path

import asyncpg

from ddr.cli import gateway_token
from ddr.cli.actions import action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, now_ms, shown_instant
from ddr.reasons import in_words
from ddr.registries.certificates import BadCertificate, decode, expires_ms, fingerprint
from ddr.settings import Settings
from ddr.store.credentials.register import MOST, Enough
from ddr.store.gateways import certificates as store

HELP = "issue and end tokens of apps, register and revoke certificates of cloud bridges"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    add = action(actions, "add-certificate", _add, "allow the holder of a certificate to send data of all patients")
    add.add_argument(
        "file", type=Path, metavar="FILE", help="PEM file; if it holds a chain, the first certificate counts"
    )
    add.add_argument("--name", required=True, help="name of the bridge; give its next certificate the same name")
    add.add_argument("--owner", default="", help="who is responsible for the bridge: a person or a team")
    add.add_argument("--purpose", default="", help="what the bridge is for")
    action(actions, "list-certificates", _list, "list all certificates that were ever registered")
    revoke = action(
        actions, "revoke-certificate", _revoke, "refuse a certificate from now on; it cannot be registered again"
    )
    revoke.add_argument("name", metavar="NAME", help="the certificate's name, or its SHA-256 if two have that name")
    token = actions.add_parser("token", help="the tokens of gateway apps", description=gateway_token.__doc__)
    gateway_token.add_arguments(token)


def run(args: argparse.Namespace) -> int:
    if args.does is _add:
        args.der = _certificate(args)  # invalid arguments are reported without a database
    return act(args)


def _certificate(args: argparse.Namespace) -> bytes:
    """The DER of the certificate to add. Raises CommandError for an invalid certificate or invalid terms."""
    if not all(len(text) <= 250 and text.isprintable() for text in (args.name, args.owner, args.purpose)):
        raise CommandError("name, owner and purpose must each have at most 250 characters, all printable")
    try:
        return decode(args.file.read_text("ascii"))
    except (OSError, UnicodeDecodeError, BadCertificate) as error:
        raise CommandError(f"certificate {args.file}: {in_words(error)}") from None


async def _add(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    facts = store.Facts(args.name, expires_ms(args.der), args.owner, args.purpose)
    if facts.until_ms <= now_ms():
        raise CommandError(f"certificate {args.file} has expired")
    try:
        await store.add(pool, args.der, facts, now_ms())
    except store.AlreadyKnown:
        raise CommandError("this certificate has already been registered") from None
    except Enough:
        raise CommandError(f"{MOST} certificates already have this name; revoke the old one first") from None
    print(f"{args.name}: sha256 {fingerprint(args.der)}, expires {shown_instant(facts.until_ms)}")


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for row in await store.known(pool):
        revoked = f", revoked {shown_instant(row['revoked_ms'])}" if row["revoked_ms"] else ""
        expires = shown_instant(expires_ms(row["certificate"]))
        print(
            f"{row['name']}: sha256 {row['certificate_sha256'].hex()},"
            f" registered {shown_instant(row['created_ms'])}, expires {expires}{revoked}"
        )


async def _revoke(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    try:
        revoked = await store.revoke(pool, args.name, now_ms())
    except store.Ambiguous:
        raise CommandError(f"two certificates are called {args.name!r}; select one by its SHA-256") from None
    if not revoked:
        raise CommandError(f"no valid certificate is called {args.name!r}")
