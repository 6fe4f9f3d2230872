"""`ddr demo`: the whole recorder with stand-ins for the outside, shown as a story; then it keeps serving until Ctrl-C.

The only settings it uses are DDR_DATABASE_URL, DDR_DATABASE_STATEMENT_CACHE, and DDR_OPERATOR_… for patients' pages.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import httpx

from ddr.cli.arguments import number
from ddr.cli.errors import CommandError
from ddr.demo.browser_user import BrowserError
from ddr.demo.diga_client import DigaRefused
from ddr.demo.feed import Feed, held_from
from ddr.demo.gateway_client import GatewayRefused
from ddr.demo.own_diga import OwnDigaError, own_diga
from ddr.demo.recorder import RecorderError
from ddr.demo.server import PortTaken
from ddr.demo.show import Show, console, day_and_hour
from ddr.demo.stack import DemoStack, Options
from ddr.demo.story import Plot, prepare, tell
from ddr.demo.trace import Recording, TraceError, placed, read_recording
from ddr.demo.upload import kept_start
from ddr.durations import DAY_MS, HOUR_MS
from ddr.http.clock import now_ms
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.patients.accounts import AccountError

DAYS = 7
TOLERATED_MS = HOUR_MS
OPERATOR = tuple(field.name for field in fields(Settings) if field.name.startswith("operator_"))
HELP = "run the whole recorder with stand-ins for everything outside it"
FAULTS = (
    AccountError,
    BrowserError,
    DigaRefused,
    GatewayRefused,
    OSError,
    OwnDigaError,
    PortTaken,
    RecorderError,
    TraceError,
    httpx.HTTPError,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="end after the story instead of continuing to serve")
    parser.add_argument(
        "--readings", type=Path, metavar="FILE.csv", help="replay a trace with columns id,time,gl (UTC, mg/dL)"
    )
    parser.add_argument(
        "--no-shift", action="store_true", help="keep the trace's own times instead of shifting its end to now"
    )
    parser.add_argument("--patients", type=number(2), default=3, metavar="N", help="simulated patients, 2 or more")
    parser.add_argument(
        "--days", type=number(1), metavar="D", help=f"days of history (default {DAYS}); only for a new state directory"
    )
    parser.add_argument(
        "--grace-seconds", type=number(0), metavar="N", help="Grace-Period to use instead of the registered ones"
    )
    parser.add_argument("--workers", type=number(1), default=1, metavar="N", help="number of worker processes")
    parser.add_argument("--ports", choices=("default", "auto"), default="default", help="auto picks free ones")
    parser.add_argument(
        "--port-base", type=number(1024, 65_531), metavar="N", help="use ports N to N+4, the same at every start"
    )
    parser.add_argument(
        "--no-story", action="store_true", help="only send data and serve, without pairing or ending anything"
    )
    parser.add_argument(
        "--diga",
        action="append",
        nargs="+",
        default=[],
        metavar=("CLIENT_ID CERT.pem REDIRECT", "MIV"),
        help="list a DiGA of your own: client id, certificate, redirect URI, MIVs (default: all); repeatable",
    )
    parser.add_argument(
        "--time-lapse",
        type=number(1),
        metavar="N",
        help="hold back the last day of data and send it N times as fast while serving, then continue in real time",
    )
    parser.add_argument("--token-seconds", type=number(1), metavar="N", help="how long access tokens last")
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=Path(".ddr"),
        metavar="DIR",
        help="directory for all files of the demonstration",
    )


def _given(environ: Mapping[str, str]) -> Settings:
    """The settings that the demonstration takes from its environment. Raises SettingsError."""
    taken = {f"DDR_{name.upper()}" for name in (*OPERATOR, "database_url", "database_statement_cache")}
    return load_settings({name: environ[name] for name in taken & environ.keys()}, allow_builtin_accounts=True)


def run(args: argparse.Namespace) -> int:
    """0 when everything worked, 130 when interrupted before the end of the story, else 1."""
    show = Show(console())
    try:
        asyncio.run(_perform(args, show))
    except FAULTS as error:
        told = in_words(error, named=True)
        hint = "; --ports auto takes free ones" if told.endswith(os.strerror(errno.EADDRINUSE)) else ""
        raise CommandError(told + hint) from error
    except asyncio.CancelledError:
        return 130
    return 1 if show.failures else 0


async def _perform(args: argparse.Namespace, show: Show) -> None:
    _end_on_signals()
    if args.ports == "auto" and args.port_base is not None:
        raise CommandError("--ports auto and --port-base exclude each other")
    recording = read_recording(args.readings) if args.readings else None
    given = _given(os.environ)
    options = Options(
        state_dir=args.state_dir,
        ports=args.ports,
        patients=max(args.patients, len(recording.traces) if recording else 0),
        workers=args.workers,
        grace_seconds=args.grace_seconds,
        database_url=given.database_url,
        statement_cache=given.database_statement_cache,
        port_base=args.port_base,
        token_seconds=args.token_seconds,
        own=tuple(map(own_diga, args.diga)),
        operator={name: value for name, value in vars(given).items() if name in OPERATOR},
    )
    show.title(
        "HDDT Device Data Recorder", "The real recorder, with stand-ins for registry, sensors, gateways and DiGA"
    )
    stack = DemoStack(options)
    with show.waiting("starting database, registry stand-in and recorder …"):
        await stack.start()
    async with stack:
        plot = _plot(args, recording, show)
        await (prepare if args.no_story else tell)(stack, show, plot)
        _epilogue(stack, show, args)
        if not args.once:
            with suppress(asyncio.CancelledError):
                await _serve_on(stack, show, args, plot)


async def _serve_on(stack: DemoStack, show: Show, args: argparse.Namespace, plot: Plot) -> None:
    """Serve until cancelled; if wanted, data keeps arriving."""
    if args.time_lapse is None:
        await asyncio.Event().wait()
    feed = Feed(stack, plot.start_ms, plot.now_ms, args.time_lapse, len(plot.traces))
    feed.caught_up = lambda: show.say(
        "[dim]All held-back data has arrived; from now on, data arrives as it is measured.[/dim]"
    )
    await feed.run()


def _plot(args: argparse.Namespace, recording: Recording | None, show: Show) -> Plot:
    now = now_ms()
    start_ms = kept_start(args.state_dir, args.days or DAYS, now)
    if args.days is not None and start_ms > now - args.days * DAY_MS + TOLERATED_MS:
        show.say(
            "[yellow]--days has an effect only on a new state directory; the data of this one begins"
            f" {day_and_hour(start_ms)}[/yellow]"
        )
    if recording and not args.no_shift:
        recording = placed(recording, args.state_dir, now)
    return Plot(start_ms, now if args.time_lapse is None else held_from(start_ms, now), recording)


def _epilogue(stack: DemoStack, show: Show, args: argparse.Namespace) -> None:
    show.verdict()
    if args.once:
        return
    patient = stack.patients[0]
    show.say(f"Log in as [bold]{patient.username}[/bold], password [bold]{patient.password}[/bold]:")
    show.say(f"[link]{stack.settings.public_base_url}/login[/link]")
    show.say(f"Addresses, certificates, accounts: {stack.options.state_dir / 'demo.json'}")
    show.say("[dim]The recorder goes on serving; Ctrl-C ends it.[/dim]")


def _end_on_signals() -> None:
    """The first Ctrl-C, SIGTERM or end of the terminal cancels this task, which stops everything."""
    task = asyncio.current_task()
    assert task

    def end() -> None:
        if not task.cancelling():
            task.cancel()

    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(one, end)
