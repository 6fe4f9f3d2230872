"""`ddr demo-fault`: let the running demonstration show a fault, or let something happen to its data or consents."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import httpx

from ddr.cli.arguments import number
from ddr.cli.errors import CommandError
from ddr.demo.events import EVENTS, EventError, happen
from ddr.demo.faults import FAULTS, switch
from ddr.demo.gateway_client import GatewayRefused

HELP = "show a fault in the running demonstration"
SECONDS = 60
HAPPENINGS = {
    "amended": "a reading arrives days late, in a final chunk",
    "entered-in-error": "a calibration becomes known late, so that later chunks get new ids",
    "consent-withdrawn": "the patient withdraws consent (with --client-id from one DiGA, else from all)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = "\n".join(f"  {name:18} {text}" for name, text in {**FAULTS, **HAPPENINGS}.items())
    parser.description = f"{__doc__}\n\n{told}\n  {'none':18} show no fault any more"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=[*FAULTS, *HAPPENINGS, "none"], metavar="NAME")
    parser.add_argument(
        "--seconds", type=number(1), default=SECONDS, help=f"how many seconds a fault lasts (default {SECONDS})"
    )
    parser.add_argument("--patient", default="anna", metavar="USERNAME", help="the patient to whom something happens")
    parser.add_argument("--client-id", metavar="URN", help="the DiGA from which consent is withdrawn")
    parser.add_argument(
        "--state-dir", type=Path, default=Path(".ddr"), metavar="DIR", help="the demonstration's state directory"
    )


def run(args: argparse.Namespace) -> int:
    if not (args.state_dir / "demo.json").exists():
        raise CommandError(f"no demonstration has run in {args.state_dir}")
    if args.name in EVENTS:
        try:
            print(asyncio.run(happen(args.name, args.state_dir, args.patient, args.client_id)))
        except (EventError, GatewayRefused, httpx.HTTPError) as error:
            raise CommandError(str(error) or type(error).__name__) from None
        return 0
    switch(args.state_dir, None if args.name == "none" else args.name, args.seconds)
    print(
        "no fault is shown any more"
        if args.name == "none"
        else f"{args.name} for {args.seconds} s: {FAULTS[args.name]}"
    )
    return 0
