"""`ddr conform`: is this Device Data Recorder what HDDT 1.0.1 asks for? Checks any recorder from outside.

It reads what a test patient has, with a DiGA's certificate, and writes nothing. docs/conformance-kit.md is the guide.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM, default_int_handler, signal

from rich.console import Console

import ddr
from ddr.cli.arguments import amount, number
from ddr.cli.ending import LOST, printed
from ddr.cli.errors import CommandError
from ddr.conform.browser import Browser, Person
from ddr.conform.check import Check, all_checks
from ddr.conform.data import Source, read_source
from ddr.conform.earlier import read_earlier
from ddr.conform.exchange import Json
from ddr.conform.gateway import Gateway
from ddr.conform.kit import Kit
from ddr.conform.pacing import Patience
from ddr.conform.recipe import OURS, RecipeBrowser, read_recipe, recipe_file
from ddr.conform.report.html import html
from ddr.conform.report.junit import junit
from ddr.conform.report.model import Run, fails, plan, report
from ddr.conform.report.terminal import Terminal
from ddr.conform.run import INTERRUPTED
from ddr.conform.run import run as run_checks
from ddr.conform.target import (
    LIMITS,
    Account,
    Identity,
    Target,
    TargetError,
    canonical,
    read_target,
    text_of,
    with_terms,
)
from ddr.conform.verdict import Verdict
from ddr.conform.wire import Wire
from ddr.drafts import draft

HELP = "check any recorder from outside against HDDT 1.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recorder", metavar="RECORDER", help="FHIR base URL; or a file: demo.json, or a TOML description"
    )
    parser.add_argument("--issuer", default="", metavar="URL", help="the authorization server, as registered")
    parser.add_argument("--client-id", default="", metavar="ID", help="the client id of a listed DiGA")
    parser.add_argument("--redirect-uri", default="", metavar="URI", help="the DiGA's redirect URI, as registered")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="the DiGA's client certificate (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the certificate's private key (PEM)")
    parser.add_argument(
        "--miv", action="append", default=[], help="a MIV that the DiGA may read; repeatable (default: all of HDDT)"
    )
    parser.add_argument("--ca", default="", metavar="FILE", help="an extra CA to trust (test systems)")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="how to log in and consent without a browser")
    parser.add_argument("--username", default="", help="the test patient's user name, for the recipe")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="holds the test patient's password, for the recipe"
    )
    parser.add_argument(
        "--data",
        default="",
        metavar="PLUGIN",
        help="what supplies the data that checks need: a Python file, or gateway",
    )
    parser.add_argument(
        "--grace-seconds", type=number(0), metavar="N", help="the registered Grace-Period (default: the longest)"
    )
    parser.add_argument(
        "--patience",
        type=amount(zero=True),
        default=60.0,
        metavar="SECONDS",
        help="how long to wait in total (default 60)",
    )
    parser.add_argument(
        "--provoke", action="store_true", help="send one request within the Grace-Period, to see it refused"
    )
    parser.add_argument("--keep", action="store_true", help="keep the pairing; otherwise the last check ends it")
    parser.add_argument("--against", type=Path, metavar="REPORT.json", help="an earlier report of the same recorder")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a check or a requirement; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="fail the run also if a SHOULD is not met")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    for form in ("json", "html", "junit"):
        parser.add_argument(f"--{form}", type=Path, metavar="FILE", help=f"write the report as {form.upper()}")


def run(args: argparse.Namespace) -> int:
    """0 when something passed and nothing failed except remarks; 1 when something failed, nothing passed, or the
    recorder was unreachable; 3 when nothing failed but the kit itself has faults; 130 when interrupted."""
    try:
        target = with_terms(_target(args), args.grace_seconds)
        checks = _chosen(args.only)
        return _plan(target, checks) if args.plan else _examine(args, target, checks)
    except TargetError as error:
        raise CommandError(str(error)) from None


def _target(args: argparse.Namespace) -> Target:
    if "://" not in args.recorder:
        found = read_target(Path(args.recorder))
        return replace(found, ca=args.ca) if args.ca else found
    if not args.issuer:
        raise TargetError("--issuer is needed: the URL of the authorization server")
    digas: tuple[Identity, ...] = ()
    if args.client_id:
        if not (args.certificate and args.key and args.redirect_uri):
            raise TargetError("--client-id needs --certificate, --key and --redirect-uri")
        if missing := [one for one in (args.certificate, args.key) if not one.is_file()]:
            raise TargetError(f"{missing[0]} is not a file")
        mivs = tuple(canonical(name) for name in args.miv or LIMITS)
        digas = (Identity(args.client_id, args.redirect_uri, args.certificate, args.key, mivs),)
    password = text_of(args.password_file).strip() if args.password_file else ""
    return Target(args.recorder.rstrip("/"), args.issuer, digas, (Account(args.username, password),), ca=args.ca)


def _chosen(only: Sequence[str]) -> list[Check]:
    checks = all_checks()
    known = {name for one in checks for name in (one.name, *one.requirements)}
    if unknown := [name for name in only if name not in known]:
        raise TargetError(f"no check is called {', '.join(unknown)}")
    return [one for one in checks if not only or one.name in only or set(one.requirements) & set(only)]


def _plan(target: Target, checks: Sequence[Check]) -> int:
    console, searches = Console(), 0
    for one in plan(checks):
        needs = f" [dim](needs {'; '.join(one['needs'])})[/dim]" if one["needs"] else ""
        console.print(f"{one['requirements'][0]:8} {one['check']}: {one['words']}{needs}", highlight=False)
        searches += one["searches"]
    grace = target.grace_seconds
    if grace is None:
        grace = max((terms.grace_seconds for terms in target.terms.values()), default=900)
    console.print(
        f"\n{len(checks)} checks, {len(target.pairings)} pairings; {searches} Observation searches in each at most, "
        f"{grace} s apart where that is the Grace-Period: up to {searches * grace / 60:.0f} minutes of --patience."
    )
    return 0


class _Read(Console):
    """A console whose reader may disappear: that interrupts the run like Ctrl-C, so that its pairings are ended and its
    reports written."""

    def on_broken_pipe(self) -> None:
        """Called by rich, which by default exits at once."""
        self.quiet = True
        printed()
        print(f"ddr: {LOST}: {os.strerror(errno.EPIPE)}", file=sys.stderr)
        raise KeyboardInterrupt


def _examine(args: argparse.Namespace, target: Target, checks: Sequence[Check]) -> int:
    console = _Read()
    for file in (args.json, args.html, args.junit):
        if file and not _writable(file):
            raise TargetError(f"{file} cannot be written")
    wire = Wire(target)
    wire.prepare()
    earlier = read_earlier(args.against) if args.against else None
    if earlier and earlier.fhir_base != target.fhir_base:  # all its resources would seem to have disappeared
        raise TargetError(f"{args.against} is a report of another recorder: {earlier.fhir_base}")
    kit = Kit(target, wire, _browser(args, wire), Patience(args.patience), args.provoke, args.keep, earlier)
    kit.source = _source(args.data, target, wire)
    terminal, started = Terminal(console, len(checks)), int(time.time() * 1000)
    terminated = signal(SIGTERM, default_int_handler)  # a build server that runs into its timeout gets the report, too
    results = run_checks(kit, checks, terminal.tell)
    with suppress(KeyboardInterrupt):
        kit.leave()
    signal(SIGTERM, terminated)
    command = ["ddr", *sys.argv[1:]]
    found = report(Run(kit, results, started, int(time.time() * 1000), command, ddr.__version__, args.strict))
    wire.close()
    try:
        terminal.end(found)
    finally:
        _write(args.json, lambda: json.dumps(found, indent=1, default=str, ensure_ascii=False))
        _write(args.html, lambda: html(found))
        _write(args.junit, lambda: junit(found))
    return exit_status(found)


def _writable(file: Path) -> bool:
    """Checked before a run of minutes rather than after it. An ordinary file is replaced, so its folder must be
    writable."""
    folder = file.resolve().parent
    if file.exists() and not file.is_file():
        return not file.is_dir() and os.access(file, os.W_OK)
    return folder.is_dir() and os.access(folder, os.W_OK)


def exit_status(report: Json) -> int:
    """0 when every check that could run passed, 1 when one failed, none passed or the run aborted.

    3 when the kit itself is at fault, 130 after Ctrl-C (docs/conformance-kit.md).
    """
    counts = report["summary"]
    if report["stopped"] == INTERRUPTED:
        return 130
    if any(map(fails, report["checks"])) or report["stopped"] or not counts[Verdict.PASSED]:
        return 1
    return 3 if counts[Verdict.KIT_ERROR] else 0


def _source(name: str, target: Target, wire: Wire) -> Source | None:
    if name != "gateway":
        return read_source(Path(name)) if name else None
    if not (target.gateway_base and all("gateway_token" in one.more for one in target.patients)):
        raise TargetError("--data gateway needs gateway_base, and each patient's gateway_token, in the description")
    return Gateway(target.gateway_base, wire.browser)


def _write(file: Path | None, text: Callable[[], str]) -> None:
    """Write a report completely or not at all: others rely on it, and `--against` reads it."""
    if file:
        content = text().encode("utf-8", "replace")  # UTF-8 cannot encode lone surrogates
        with draft(file) as out:
            out.write(content)


def _browser(args: argparse.Namespace, wire: Wire) -> Browser:
    if args.recipe:
        return RecipeBrowser(recipe_file(args.recipe), wire)
    if args.recorder.endswith(".json"):
        return RecipeBrowser(read_recipe(OURS), wire)
    return Person(lambda text: print(text, file=sys.stderr), input)
