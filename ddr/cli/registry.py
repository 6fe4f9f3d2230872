"""`ddr registry`: what the three registries say now, what they said before, and what the recorder did about it."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import asyncpg
import orjson

from ddr.cli.actions import action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, instant_argument, now_ms, shown_instant
from ddr.durations import DAY_MS
from ddr.fhir.instants import instant
from ddr.operations.inspection import Inspection, inspect
from ddr.registries.certificates import expires_ms, fingerprint
from ddr.scopes.parse import is_canonical
from ddr.settings import Settings
from ddr.store.database.clock import counted
from ddr.store.database.migrate import first_migration_ms
from ddr.store.registries import losses
from ddr.store.registries import sources as store

HELP = "show what the registries say now and said before"
SOURCES = ("diga-vz", "hiis-vz", "zts")
FOREVER_MS = 2**62


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    action(actions, "show", _show, "show the present state and its faults; status 1 if anything is wrong")
    past = action(actions, "history", _history, "show every change, of all entries or of one")
    past.add_argument("entry", nargs="?", help="one entry; for a DiGA its client id")
    at = action(actions, "at", _at, "show which entries were in force at an instant")
    at.add_argument("time", type=instant_argument, metavar="TIME", help="FHIR dateTime")
    at.add_argument("--source", choices=SOURCES, default="diga-vz")
    action(actions, "refresh", _refresh, "make the running recorder read all registries now")
    confirm = action(actions, "confirm", _confirm, "confirm ends that wait because the DiGA-VZ removed much at once")
    confirm.add_argument("client_id", nargs="?", help="confirm the ends of one DiGA, whether they wait or not")
    confirm.add_argument("--all", action="store_true", help="confirm the waiting ends of every DiGA")
    report = action(
        actions, "report", _report, "report what changed in the three registries, and what the recorder did"
    )
    report.add_argument(
        "--since",
        type=instant_argument,
        metavar="TIME",
        help="begin of the report: FHIR dateTime (default: a week ago)",
    )
    report.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    return act(args)


async def _show(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> int:
    sources = await store.read_sources(pool)
    for name in SOURCES:
        print("\n".join(_state(name, sources.get(name, store.Source()))))
    for entry, content in (await store.read_entries(pool, "diga-vz")).items():
        print("\n".join(_diga(entry, content)))
    missing = await losses.read(pool)
    print("\n".join(map(_loss, missing)), end="\n" if missing else "")
    return int(any(one.fault or one.notes for one in sources.values()) or bool(missing))


async def _history(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    rows = await store.history(pool, 0, FOREVER_MS, args.entry)
    if not rows and args.entry:
        raise CommandError(f"no registry has ever had an entry {args.entry}")
    for row in rows:
        until = shown_instant(row["until_ms"]) if row["until_ms"] else "now"
        print(f"{shown_instant(row['from_ms'])} to {until}  {row['source']}  {row['entry']}")
        print(f"    {orjson.dumps(_short(row['content'])).decode()}")


async def _at(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    await _check_kept(settings, pool, args.time)
    entries = await store.entries_at(pool, args.source, args.time)
    for entry, content in entries.items():
        lines = _diga(entry, content) if args.source == "diga-vz" else [f"{entry}  {orjson.dumps(content).decode()}"]
        print("\n".join(lines))
    if not entries:
        print(f"nothing was known about the {args.source}")


async def _check_kept(settings: Settings, pool: asyncpg.Pool, at_ms: int) -> None:
    """Raises CommandError for an instant about which nothing is known yet, or whose state is only partly stored:
    entries that are still there, without those that have ended."""
    if at_ms > now_ms():
        raise CommandError(f"{shown_instant(at_ms)} is in the future")
    kept_ms = await counted(pool, now_ms() - settings.audit_days * DAY_MS)
    if at_ms < kept_ms and await first_migration_ms(pool) < kept_ms:
        raise CommandError(
            f"{shown_instant(at_ms)} is too long ago: entries that ended before {shown_instant(kept_ms)} are"
            " deleted (setting audit_days)"
        )


async def _refresh(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    for name in SOURCES:
        await store.request_reading(pool, name)
    print("the running recorder reads all three registries now; ddr registry show shows the result")


async def _confirm(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    if bool(args.client_id) == args.all:
        raise CommandError("give the client id of one DiGA, or --all")
    count = await losses.confirm(pool, args.client_id)
    if not count:
        raise CommandError("no end waits" + (f" for {args.client_id}" if args.client_id else ""))
    await store.record_event(
        pool, "diga-vz", now_ms(), "confirmed", {"client_id": args.client_id or "all", "ends": count}
    )
    await store.request_reading(pool, "diga-vz")
    print(
        f"{count} confirmed; they take effect at the next reading of the registry, unless the DiGA-VZ has"
        " restored what it removed"
    )


async def _report(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    now = now_ms()
    since_ms = args.since if args.since is not None else now - 7 * DAY_MS
    await _check_kept(settings, pool, since_ms)
    found = await inspect(pool, since_ms, now)
    print(orjson.dumps(asdict(found)).decode() if args.json else "\n".join(_report_lines(found)))


def _state(name: str, source: store.Source) -> list[str]:
    lines = [f"{name}: read {shown_instant(source.seen_ms)}, next {shown_instant(source.next_ms)}"]
    if source.fault:
        lines.append(f"  fault since {shown_instant(source.fault_ms)}: {source.fault}")
    return lines + [f"  note: {note}" for note in source.notes]


def _diga(entry: str, content: Mapping[str, Any]) -> list[str]:
    problems = f" ({'; '.join(content['problems'])})" if content["problems"] else ""
    return [
        f"{entry}  {content['name']}: {_listing(content)}{problems}, {len(content['certificates'])} certificates,"
        f" redirect {content['redirect_uri']}, MIVs {' '.join(map(_miv, content['valuesets'])) or 'none'}",
        *(f"  certificate sha256 {digest}, expires {shown_instant(ends_ms)}" for digest, ends_ms in _ends(content)),
    ]


def _listing(content: Mapping[str, Any]) -> str:
    """How the DiGA-VZ lists a DiGA, in words."""
    if content["listed"] and content["usable"]:
        return "active"
    if content.get("absent"):
        return "absent"
    return "disabled" if content["listed"] else "not listed"


def _ends(content: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The certificates of an entry by fingerprint, with their end of validity."""
    ders = map(base64.b64decode, content["certificates"])
    return [(fingerprint(der), expires_ms(der)) for der in ders]


def _miv(url: str) -> str:
    return url if is_canonical(url) else f"{url} (not a canonical URL: nobody can ask for it)"


def _loss(loss: losses.Loss) -> str:
    what = f"no longer permits {loss.valueset}" if loss.valueset else "no longer lists it"
    waits = (
        "" if loss.held_ms is None or loss.confirmed else f"; the end waits for ddr registry confirm {loss.client_id}"
    )
    return (
        f"{loss.client_id}  the DiGA-VZ {what} since {shown_instant(loss.since_ms)}"
        f" ({loss.evidence}, {loss.readings} readings){waits}"
    )


def _short(content: Mapping[str, Any]) -> dict[str, Any]:
    """The entry shortened: certificates by their fingerprints."""
    if "certificates" not in content:
        return dict(content)
    return {**content, "certificates": [digest for digest, _ in _ends(content)]}


def _report_lines(found: Inspection) -> list[str]:
    lines = [f"From {instant(found.from_ms)} until {instant(found.until_ms)}", "", "State"]
    lines += [f"  {line}" for name, source in found.sources.items() for line in _state(name, source)]
    lines += ["", "What changed"]
    lines += [
        f"  {shown_instant(one.at_ms)}  {one.source}  {one.entry} {one.what} {', '.join(one.fields)}".rstrip()
        for one in found.changes
    ] or ["  nothing"]
    lines += ["", "What the recorder did and noted"]
    lines += [
        f"  {shown_instant(one['at_ms'])}  {one['source']}  {one['kind']} {orjson.dumps(one['detail']).decode()}"
        for one in found.events
    ] or ["  nothing"]
    return lines
