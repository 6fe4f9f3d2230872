"""The actions of `ddr client`: each takes the parsed arguments and returns the exit status."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx

from ddr.cli.clients.output import opened
from ddr.cli.clients.progress import Progress
from ddr.cli.errors import CommandError
from ddr.client import (
    BrokenGrant,
    Busy,
    Cursor,
    Diga,
    FileTokens,
    News,
    Pairing,
    PairingEnded,
    Recorder,
    Refused,
    SqliteJournal,
    Throttled,
    Unanswered,
    Unreachable,
    Watch,
)
from ddr.client.data import rows_of
from ddr.client.diga import TIMEOUT, address_of, ca_of, read_toml, trusting
from ddr.client.registry import Registry, Terms
from ddr.reasons import in_words


def _place(config: Path) -> tuple[Diga, FileTokens, Path]:
    """The DiGA, its tokens, and the file with its cursors. Raises ConfigError, OSError."""
    diga = Diga.from_file(config)
    return diga, FileTokens(config.parent / f"{config.stem}.tokens"), config.parent / f"{config.stem}.sqlite"


async def pair(args: argparse.Namespace) -> int:
    """Print the pairing id on stdout; messages for the user go to stderr."""
    diga, tokens, _ = _place(args.config)
    async with diga.http() as http:
        pairing = Pairing(diga, http, tokens)
        started = await pairing.start(args.mivs, devices=not args.no_devices)
        print(f"Open this address in the patient's browser:\n{started.url}", file=sys.stderr)
        print(f"The browser ends at {diga.redirect_uri}?…; paste that address here:", file=sys.stderr, flush=True)
        try:
            landed = (await _line()).strip()
        except UnicodeDecodeError as error:
            raise CommandError(f"the address {in_words(error)}") from None
        if not landed:
            raise CommandError("no address was given, so nothing is paired")
        grant = await pairing.finish(started, landed)
    print(grant.pairing_id)
    print(f"granted scopes: {grant.scope}", file=sys.stderr)
    return 0


async def _line() -> str:
    """A line of standard input, not read in a thread, which would wait for the line even after Ctrl-C."""
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(sys.stdin.fileno(), typed.set)
    except (OSError, AttributeError):  # a file, whose content is there at once
        pass
    else:
        try:
            await typed.wait()
        finally:
            loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline()


async def pairings(args: argparse.Namespace) -> int:
    """Print one id per line."""
    _, tokens, _ = _place(args.config)
    for one in await tokens.pairings():
        print(one)
    return 0


async def recorders(args: argparse.Namespace) -> int:
    """Print addresses and times of all recorders, or of the one that serves a device."""
    content = read_toml(args.config)
    base, token = address_of(content, "hiis", args.config), content.get("hiis_token", "")
    if not isinstance(token, str):
        raise CommandError(f"{args.config}: hiis_token must be a text")
    async with httpx.AsyncClient(verify=trusting(ca_of(content, args.config)), timeout=TIMEOUT) as http:
        registry = Registry(http, base, token)
        wanted = args.device or args.model
        found = (
            [await registry.find(args.device, args.manufacturer, args.model)] if wanted else await registry.recorders()
        )
    for one in found:
        print(f"{one.hiis_id}  {one.manufacturer}, {one.name}\n  fhir_base  {one.fhir_base}\n  issuer     {one.issuer}")
        for miv, terms in one.mivs.items():
            print(f"  {miv.rsplit('/', 1)[-1]}: {_shown(terms)}")
    return 0


def _shown(terms: Terms) -> str:
    times = (("grace", terms.grace), ("history", terms.history), ("delay", terms.delay))
    return ", ".join(f"{name} {'unknown' if value is None else f'{value:.0f} s'}" for name, value in times)


async def unpair(args: argparse.Namespace) -> int:
    """End a pairing; 1 when there is no such pairing."""
    diga, tokens, journal = _place(args.config)
    if await tokens.load(args.pairing) is None:
        raise CommandError("there are no tokens for this pairing")
    async with diga.http() as http:
        await Pairing(diga, http, tokens).unpair(args.pairing)
    await SqliteJournal(journal).remove(args.pairing)
    return 0


async def pull(args: argparse.Namespace) -> int:
    """Pull what is new for one or all pairings; 1 when one of them failed.

    Raises Unreachable when two in a row get no response: then it is the recorder, not its response about one pairing.
    """
    diga, tokens, file = _place(args.config)
    journal, out = SqliteJournal(file), opened(args.out, args.format)
    named = args.pairings or await tokens.pairings()
    progress, rows, failed, lost = Progress("pulling", len(named)), 0, 0, False
    async with diga.http() as http:
        for number, pairing_id in enumerate(named):
            progress.show(number, f"{rows} rows")
            await journal.add(pairing_id, 0.0)
            cursor = await journal.cursor(pairing_id) or Cursor()
            if args.whole:
                cursor = cursor.whole()
            recorder = Recorder(diga, http, tokens, pairing_id, patience=0.0, history=_history(args))
            try:
                async for step in recorder.steps(cursor):
                    rows += out.write({"pairing": pairing_id, **row} for row in rows_of(step.changes))
                    await journal.keep(pairing_id, step.cursor, 0.0)
                    if step.unshown:
                        progress.say(_unshown(pairing_id, step.unshown))
            except (Unreachable, Throttled, PairingEnded, BrokenGrant, Refused) as error:
                unreachable = isinstance(error, Unreachable)
                if unreachable and (lost or isinstance(error, Unanswered)):
                    raise  # two in a row, or a refresh without a response, which must be repeated at once
                failed, lost = failed + 1, unreachable
                progress.say(f"{pairing_id}: {_in_words(error)}")
            else:
                lost = False
    progress.end(f"{len(named) - failed} of {len(named)} pairings, {rows} rows")
    return int(failed > 0)


def _in_words(error: Exception) -> str:
    """Why one pairing failed."""
    if isinstance(error, Throttled):
        return f"{'the recorder is busy' if isinstance(error, Busy) else 'the Grace-Period still runs'}, {error}"
    return f"{error}; pair anew" if isinstance(error, PairingEnded) else str(error)


async def watch(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or `--seconds`; then finish the running turns."""
    diga, tokens, file = _place(args.config)
    out, journal, stop = opened(args.out, args.format), SqliteJournal(file), asyncio.Event()
    with suppress(RuntimeError):  # only the main thread can handle signals
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    gone: list[BrokenPipeError] = []

    async def deliver(news: News) -> None:
        if news.unshown:
            progress.say(_unshown(news.pairing_id, news.unshown))
        try:
            out.write({"pairing": news.pairing_id, **row} for row in rows_of(news.changes))
        except BrokenPipeError as error:  # unlike a full disk this is permanent: nobody reads the output any more
            gone.append(error)
            stop.set()
            raise

    async def ended(pairing_id: str) -> None:
        progress.say(f"{pairing_id}: the pairing has ended")

    progress = Progress("watching", None)
    async with diga.http() as http:
        options = {"interval": args.interval, "concurrency": args.at_once}
        service = Watch(diga, http, tokens, journal, deliver, ended=ended, history=_history(args), **options)
        running = asyncio.create_task(service.run(stop))
        with suppress(TimeoutError):
            async with asyncio.timeout(args.seconds):
                while not running.done():
                    figures = replace(service.figures)
                    progress.show(figures.turns, f"{figures.changes} changes, {figures.failures} failures")
                    await asyncio.wait({running}, timeout=0.5)
        stop.set()
        await running
    if gone:
        raise gone[0]
    progress.end(f"{service.figures.turns} polls, {service.figures.changes} changes")
    return 0


def _unshown(pairing_id: str, number: int) -> str:
    return f"{pairing_id}: the recorder counts {number} more results, but returned neither them nor a next page"


def _history(args: argparse.Namespace) -> timedelta | None:
    return None if args.history_days is None else timedelta(days=args.history_days)
