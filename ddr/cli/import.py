"""`ddr import FILE…`: imports files that people have exported elsewhere into a patient's record, by the gateway API."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from ddr.cli.arguments import authority
from ddr.cli.errors import CommandError
from ddr.client.diga import trusting
from ddr.client.oauth import retry_seconds
from ddr.imports import mapped
from ddr.imports.calls import Answer, Call, Refused, Report, Steps
from ddr.imports.content import Content
from ddr.imports.formats import FORMATS, read
from ddr.imports.model import ImportFile, ImportFileError
from ddr.imports.registering import period_ms
from ddr.imports.sending import by_source, sending
from ddr.imports.taking_back import taking_back
from ddr.proxies import client_arguments
from ddr.reasons import in_words, printable
from ddr.settings_sources import load_settings

HELP = "import readings that a person has exported elsewhere"
VARIABLE = "DDR_GATEWAY_TOKEN"
NAMES = ("auto", *FORMATS)
LISTED = 20  # number of bad rows listed one by one
TRIES = 5
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's wording
JSON = {"content-type": "application/json"}
NO_RECORDER = "the server at the setting gateway_base_url is not the gateway API of a recorder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = "\n".join(f"  {name:<16}{one.title}" for name, one in FORMATS.items())
    parser.usage = f"ddr import [{{{','.join(NAMES)}}}] FILE [FILE …] [options]"
    parser.description = (
        f"{__doc__}\n\nThe format of a file is recognised by its content; naming a format requires it.\n{known}"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("words", nargs="+", metavar="FILE", help="files of one person, in any order")
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--token",
        help=f"bearer token of the patient's gateway; other users of this machine can see it, so prefer {VARIABLE}",
    )
    given.add_argument("--token-file", type=Path, help=f"file that holds the token (default: the variable {VARIABLE})")
    parser.add_argument("--zone", default="Europe/Berlin", help="time zone of local times (default: Europe/Berlin)")
    parser.add_argument(
        "--map", type=Path, metavar="TOML", help="describes the columns of any other table (docs/imports.md)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be imported")
    parser.add_argument(
        "--undo", action="store_true", help="take back the import of these files; give the same --zone as before"
    )
    parser.add_argument(
        "--ca", type=authority, metavar="FILE", help="PEM file of the CA of the gateway listener (development)"
    )


def run(args: argparse.Namespace) -> int:
    """0 when values were taken or already there, 1 when there was nothing to take or everything was refused."""
    files = _files(args)
    if args.dry_run:
        for path, file, _ in files:
            _show(path, file)
        return 0 if any(file.values for _, file, _ in files) else 1
    headers = {"authorization": f"Bearer {_token(args)}"}
    settings = load_settings(allow_builtin_accounts=True)  # how patients log in does not matter here
    base = f"{settings.gateway_base_url}/gateway/v1/"
    good = False
    tls, arguments = trusting(args.ca) if args.ca else True, client_arguments(base)
    with httpx.Client(base_url=base, headers=headers, verify=tls, timeout=60, **arguments) as client:
        for path, file, digest in files:
            steps = taking_back(file, digest) if args.undo else sending(file, digest)
            report = _walk(client, steps, len(file.values))
            some = _tell(path, file, report)
            if args.undo and not some and not report.refusals:
                told = (
                    f"nothing of {path.name} is stored: the import was taken back, or it was made with another --zone"
                )
                Console(stderr=True).print(_plain(told), soft_wrap=True)
            good |= some
    return 0 if good else 1


def _files(args: argparse.Namespace) -> list[tuple[Path, ImportFile, str]]:
    """The named files, the oldest values first, each with its digest. The first word may be a format instead."""
    name, *rest = args.words
    if name in NAMES and rest:
        words, insist = rest, None if name == "auto" else name
    else:
        words, insist = args.words, None
    return sorted(
        ((Path(word), *_read(Path(word), insist, args)) for word in words),
        key=lambda found: min((value.time_ms for value in found[1].values), default=0),
    )


def _token(args: argparse.Namespace) -> str:
    """The token from the command line, else from the file, else from the environment. Raises CommandError."""
    try:
        found: str = args.token or (
            args.token_file.read_text("utf-8") if args.token_file else os.environ.get(VARIABLE, "")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"import: {in_words(error, named=True)}") from None
    if not re.fullmatch(r"[!-~]+", found.strip()):
        raise CommandError(f"import: set the gateway's token in {VARIABLE} or name its file with --token-file")
    return found.strip()


def _read(path: Path, insist: str | None, args: argparse.Namespace) -> tuple[ImportFile, str]:
    """The file, and the digest that names its import: of its content and of the way its times were read."""
    zone = _zone(args.zone)
    try:
        raw = path.read_bytes()
        file = mapped.read(Content(raw), _map(args.map), zone) if args.map else read(raw, zone, insist)
    except OSError as error:
        raise CommandError(f"import: {in_words(error, named=True)}") from None
    except ImportFileError as error:
        raise CommandError(f"import: {path}: {error}") from None
    return file, hashlib.sha256(args.zone.encode() + b"\n" + raw).hexdigest()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # "Europe", for instance, is a folder of zones
        raise CommandError(f"import: there is no time zone {name}; an example is Europe/Berlin") from None


def _map(path: Path) -> mapped.ColumnMap:
    try:
        return mapped.load(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CommandError(f"import: {path}: {in_words(error)}") from None


def _walk(client: httpx.Client, steps: Steps, total: int) -> Report:
    """Send the requests of `steps` one after another. Raises CommandError."""
    with Progress(console=Console(stderr=True)) as progress:
        task, answer = progress.add_task("Sending", total=total), None
        try:
            call = next(steps)
            while True:
                answer = _ask(client, call)
                progress.advance(task, call.values)
                try:
                    call = steps.send(answer)
                except (LookupError, TypeError, ValueError, AttributeError) as error:  # it is not like ours
                    told = " ".join(f"{call.method} {call.path}: {type(error).__name__} {error}".split())
                    raise CommandError(f"import: {NO_RECORDER} ({told[:160]})") from error
        except StopIteration as end:
            report: Report = end.value
            return report
        except Refused as error:
            raise CommandError(f"import: {error}") from None


def _ask(client: httpx.Client, call: Call, wait: Callable[[float], None] | None = None) -> Answer:
    """Send one request; repeat it while a recorder is busy or restarting. Raises CommandError."""
    pause, wait = 1.0, wait or time.sleep
    for left in range(TRIES - 1, -1, -1):
        try:
            response = client.request(call.method, call.path, content=call.content, headers=JSON)
        except (httpx.RequestError, ssl.SSLError) as error:  # TLS 1.3 alerts come unwrapped
            problem = in_words(error)
            if UNTRUSTED in problem:  # retrying does not fix a certificate
                raise CommandError(f"import: {problem}; --ca FILE names a certification authority to trust") from None
        else:
            if response.status_code not in (429, 502, 503, 504) or not left:
                return _answer(response)
            problem = f"the recorder answered {response.status_code}"
            pause = min(60.0, retry_seconds(response, pause))
        if left:
            wait(pause)
            pause = min(30.0, 2 * pause)
    raise CommandError(f"import: {problem}; run the command again to continue")


def _answer(response: httpx.Response) -> Answer:
    """The response of a recorder. Raises CommandError when something else responds: a proxy, a page on another port."""
    try:
        body = response.json() if response.content else None
    except (ValueError, RecursionError):
        body = None
    if not (response.is_error or response.status_code == httpx.codes.NO_CONTENT or isinstance(body, dict)):
        raise CommandError(f"import: {NO_RECORDER}")
    return Answer(response.status_code, body)


def _plain(text: str) -> Text:
    """Text from others, without markup and control sequences for the terminal."""
    return Text(printable(text))


def _show(path: Path, file: ImportFile) -> None:
    """The content of a file, for --dry-run."""
    table = Table(
        "device",
        "serial number",
        "code",
        "unit",
        "values",
        "first (UTC)",
        "last (UTC)",
        "every",
        title=_plain(str(path)),
    )
    for source, values in by_source(file.values).items():
        for code in sorted({value.code for value in values}):
            own = [value for value in values if value.code == code]
            times = [value.time_ms for value in own]
            every = f"{period_ms(own, source) // 60_000} min" if own[0].continuous else ""
            ends = (
                datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M") for time in (min(times), max(times))
            )
            about = (_plain(text) for text in (source.name, source.serial or "none", code, own[0].unit))
            table.add_row(*about, str(len(own)), *ends, every)
    Console().print(table)
    _bad_rows(file, Report())


def _tell(path: Path, file: ImportFile, report: Report) -> bool:
    """A table of what became of the rows of the file; True when something was taken or already there."""
    table = Table("values", "count", title=_plain(f"{path.name}: {file.format}"))
    names = {
        "hidden": "taken, but another value of the same time is shown",
        "there": "already there",
        "taken back": "taken back, except for readings that another file has, too",
    }
    for reason, count in report.counts.most_common():
        if count:
            table.add_row(_plain(names.get(reason, reason)), str(count))
    for reason in sorted({one.reason for one in report.refusals}):
        table.add_row(_plain(f"refused: {reason}"), str(sum(one.reason == reason for one in report.refusals)))
    if file.bad:
        table.add_row("bad rows", str(len(file.bad)))
    table.add_row("rows without a reading", str(file.skipped))
    Console().print(table)
    _bad_rows(file, report)
    return any(report.counts.values())


def _bad_rows(file: ImportFile, report: Report) -> None:
    told = [(bad.line, bad.reason) for bad in file.bad]
    told += [(one.line, f"{one.reason}: {one.detail}") for one in report.refusals]
    console = Console(stderr=True)
    lines = _lines(told)
    for text in lines[:LISTED]:
        console.print(_plain(text), soft_wrap=True)
    if len(lines) > LISTED:
        console.print(f"… and {len(lines) - LISTED} more", markup=False)


def _lines(told: Iterable[tuple[int, str]]) -> Sequence[str]:
    """`line 3: …`, and `lines 4–9: …` for consecutive rows with the same fault."""
    found: list[str] = []
    for text, rows in groupby(sorted(told), key=itemgetter(1)):
        numbers = [line for line, _ in rows]
        ends = dict.fromkeys((numbers[0], numbers[-1]))
        found.append(f"line{'s' if len(ends) > 1 else ''} {'–'.join(map(str, ends))}: {text}")
    return found
