"""`ddr import clarity|libreview FILE`: sends the values of a CSV export through the gateway API."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ddr.cli.errors import CommandError
from ddr.imports.export import Export, ExportError
from ddr.imports.formats import FORMATS, Format
from ddr.settings import load_settings

HELP = "import glucose values that a person has exported"
BATCH = 2000
VARIABLE = "DDR_GATEWAY_TOKEN"
CODES = {"mg/dL": "99504-3", "mmol/L": "105272-9"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`import`, with the patient's gateway token."""
    parser = subparsers.add_parser("import", help=HELP, description=__doc__)
    parser.add_argument("source", choices=sorted(FORMATS))
    parser.add_argument("file", type=Path)
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--token", help=f"bearer token of the patient's gateway; others see it, so rather set {VARIABLE}"
    )
    given.add_argument("--token-file", type=Path, help=f"file that holds the token (default: the variable {VARIABLE})")
    parser.add_argument("--zone", default="Europe/Berlin", help="time zone of the export (default: Europe/Berlin)")
    parser.add_argument("--ca", help="PEM file of the CA of the gateway listener (development)")


def run(args: argparse.Namespace) -> int:
    """Send everything and print what was taken; again does no harm."""
    export = _read(args)
    headers = {"authorization": f"Bearer {_token(args)}"}
    base = f"{load_settings().gateway_base_url}/gateway/v1/"
    with httpx.Client(base_url=base, headers=headers, verify=args.ca or True, timeout=60) as client:
        report(export, send(client, export, FORMATS[args.source]))
    return 0


def _token(args: argparse.Namespace) -> str:
    """The token from the command line, else from the file, else from the environment. Raises CommandError."""
    try:
        found: str = args.token or (args.token_file.read_text() if args.token_file else os.environ.get(VARIABLE, ""))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"import: {error}") from None
    if not re.fullmatch(r"[!-~]+", found.strip()):
        raise CommandError(f"import: needs the gateway's token in {VARIABLE} or --token-file")
    return found.strip()


def _read(args: argparse.Namespace) -> Export:
    try:
        with args.file.open(encoding="utf-8-sig", newline="") as lines:
            return FORMATS[args.source].read(lines, ZoneInfo(args.zone))
    except (OSError, UnicodeDecodeError, ValueError, ZoneInfoNotFoundError, ExportError) as error:
        raise CommandError(f"import: {error}") from None


def send(client: httpx.Client, export: Export, made_by: Format) -> Counter[str]:
    """How many readings were accepted, duplicate, or rejected by reason. Raises CommandError."""
    counts: Counter[str] = Counter()
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Sending", total=sum(map(len, export.readings.values())))
        for serial, readings in export.readings.items():
            path = f"devices/{re.sub('[^A-Za-z0-9._~-]', '-', serial)[:64]}"
            device = {
                "serialNumber": serial,
                "name": made_by.device,
                "manufacturer": made_by.manufacturer,
                "type": "700585005",
            }
            _put(client, path, {**device, "startedAt": readings[0]["time"]})
            sensor = {"code": CODES[export.unit], "unit": export.unit, "samplingPeriodMs": export.period_ms}
            _put(client, f"{path}/sensors/glucose", {**sensor, "decimals": 1 if export.unit == "mmol/L" else 0})
            for at in range(0, len(readings), BATCH):
                part = {"unit": export.unit, "readings": readings[at : at + BATCH]}
                answer = _checked(client, "POST", f"{path}/sensors/glucose/readings", part)
                counts.update(item.get("reason", item["status"]) for item in answer["items"])
                progress.advance(task, len(part["readings"]))
    return counts


def _put(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """Register, unless an earlier import of another file has registered the same with another start."""
    stored = client.get(path)
    if stored.status_code == httpx.codes.OK:
        return
    _checked(client, "PUT", path, body)


def _checked(client: httpx.Client, method: str, path: str, body: dict[str, Any]) -> Any:
    try:
        answer = client.request(method, path, json=body)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        detail = error.response.json().get("detail", "")
        raise CommandError(f"import: the recorder answers {error.response.status_code}: {detail}") from None
    except httpx.TransportError as error:
        raise CommandError(f"import: {error}; run it again to go on") from None
    return answer.json()


def report(export: Export, counts: Counter[str]) -> None:
    """A table of what became of the rows of the file."""
    table = Table("readings", "count")
    names = {"accepted": "taken", "duplicate": "already there"}
    for reason, count in counts.most_common():
        table.add_row(names.get(reason, f"refused: {reason}"), str(count))
    table.add_row("rows without a reading", str(export.skipped))
    Console().print(table)
