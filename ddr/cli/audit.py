"""`ddr audit verify` and `ddr audit export`: prove that the audit trail is complete and unchanged, and export it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import in_order, number
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, instant_argument, reading, shown_instant
from ddr.fhir.instants import told_instant
from ddr.operations.audit_reading import DamagedTrail, entries
from ddr.operations.audit_verifying import verify
from ddr.settings import Settings
from ddr.store.audit import packs
from ddr.store.database.pool import Pool

HELP = "verify or export the audit trail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    check = action(actions, "verify", _verify, "recompute the chain of seals; status 1 if anything was changed")
    check.add_argument("--head", help="a head noted earlier (from the log), which must be in the chain")
    check.add_argument(
        "--from-seal",
        type=number(1),
        default=1,
        metavar="NO",
        help="start at this seal, and trust everything before it",
    )
    export = action(actions, "export", _export, "write entries as JSON lines, for a data protection officer")
    export.add_argument(
        "--from", dest="from_ms", type=instant_argument, metavar="TIME", help="only entries from this FHIR dateTime on"
    )
    export.add_argument(
        "--until", dest="until_ms", type=instant_argument, metavar="TIME", help="only entries before this FHIR dateTime"
    )
    export.add_argument("--client-id", help="only entries of this DiGA")
    export.add_argument("--pairing-id", help="only entries of this pairing")
    export.add_argument(
        "--event", metavar="PREFIX", help="only events whose tag starts with this, for instance diga:data:"
    )


def run(args: argparse.Namespace) -> int:
    """Print the result; status 1 when the trail was changed."""
    if args.does is _export:
        in_order("--from", args.from_ms, args.until_ms)
    return act(args)


async def _verify(args: argparse.Namespace, settings: Settings, pool: Pool) -> None:
    try:
        async with reading(settings, pool) as read:
            findings = await verify(read, args.head, args.from_seal)
    except LookupError as error:
        raise CommandError(f"audit trail: {error.args[0]}") from None
    print(f"{findings.entries} entries under {findings.seals} seals ({findings.purged_seals} of them purged)")
    print(f"{findings.unsealed} entries not yet sealed")
    print(f"head {findings.head}")
    if findings.faults:
        raise CommandError("audit trail: " + "; ".join(findings.faults))


async def _export(args: argparse.Namespace, settings: Settings, pool: Pool) -> None:
    """One object per line, without the internal patient number: outside, the Pairing ID is the pseudonym."""
    try:
        async with reading(settings, pool) as read:
            await _tell_dropped(read, args.from_ms)
            await _print(read, vars(args))
    except DamagedTrail as damage:
        raise CommandError(f"audit trail: {damage}; the export stops there; `ddr audit verify` tells more") from None


async def _tell_dropped(pool: Pool, from_ms: int | None) -> None:
    """Warn beside the export that some of the requested entries no longer exist."""
    dropped_ms = await packs.dropped_until_ms(pool)
    if from_ms is not None and dropped_ms is not None and from_ms <= dropped_ms:
        print(
            f"ddr: audit trail: entries up to {shown_instant(dropped_ms)} have been deleted (setting audit_days)",
            file=sys.stderr,
        )


async def _print(pool: Pool, wanted: Mapping[str, Any]) -> None:
    async for entry in entries(pool, wanted):
        line = {
            "no": entry.audit_no,
            "at": told_instant(entry.at_ms),
            "event": entry.event,
            "client_id": entry.client_id,
            "pairing_id": entry.pairing_id,
            "detail": entry.detail,
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
