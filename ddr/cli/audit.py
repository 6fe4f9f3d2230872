"""`ddr audit verify` and `ddr audit export`: prove that the audit trail is whole, and hand it out on request."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from ddr.cli.errors import CommandError
from ddr.fhir.instants import instant, parse_date_time
from ddr.operations.audit_trail import Findings, entries, verify
from ddr.settings import Settings, load_settings
from ddr.store.embedded import database
from ddr.store.migrate import migrate_database
from ddr.store.pool import open_pool

HELP = "verify or export the audit trail"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`audit` with its own subcommands."""
    actions = subparsers.add_parser("audit", help=HELP, description=__doc__).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    check = actions.add_parser("verify", help="compute the chain of seals anew; status 1 when something was changed")
    check.add_argument("--head", help="a head that was noted earlier (from the log): it must be part of the chain")
    export = actions.add_parser("export", help="write entries as JSON lines, for a data protection officer")
    export.add_argument("--from", dest="from_ms", type=_begin, metavar="TIME", help="not before this FHIR dateTime")
    export.add_argument("--until", dest="until_ms", type=_begin, metavar="TIME", help="before this FHIR dateTime")
    export.add_argument("--client-id", help="of this DiGA only")
    export.add_argument("--pairing-id", help="of this pairing only")
    export.add_argument("--event", metavar="PREFIX", help="events whose tag begins so, for instance diga:data:")


def run(args: argparse.Namespace) -> int:
    """Print the result; status 1 when the trail was changed."""
    with database(load_settings()) as settings:
        migrate_database(settings)
        if args.action == "verify":
            return _report(asyncio.run(_verify(settings, args.head)))
        asyncio.run(_export(settings, vars(args)))
        return 0


def _begin(text: str) -> int:
    try:
        return parse_date_time(text)[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None


async def _verify(settings: Settings, head: str | None) -> Findings:
    async with await open_pool(settings) as pool:
        return await verify(pool, head)


def _report(findings: Findings) -> int:
    print(f"{findings.entries} entries under {findings.seals} seals ({findings.purged_seals} of them purged)")
    print(f"{findings.unsealed} entries not yet sealed")
    print(f"head {findings.head}")
    if findings.faults:
        raise CommandError("audit trail: " + "; ".join(findings.faults))
    return 0


async def _export(settings: Settings, wanted: Mapping[str, Any]) -> None:
    """One object a line, without the internal number of the patient: the Pairing ID is the pseudonym outside."""
    async with await open_pool(settings) as pool:
        async for entry in entries(pool, wanted):
            line = {
                "no": entry["audit_no"],
                "at": instant(entry["at_ms"]),
                **{name: entry[name] for name in ("event", "client_id", "pairing_id", "detail")},
            }
            sys.stdout.write(orjson.dumps(line).decode() + "\n")
