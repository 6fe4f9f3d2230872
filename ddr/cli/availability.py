"""`ddr availability`: how available the service was in a month by HDDT's rules, and how that was computed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg

from ddr.cli.arguments import month
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, shown_instant, with_database
from ddr.operations import availability as rules
from ddr.operations import calls, probes
from ddr.operations.availability import GOAL, Item, Result, Span
from ddr.operations.calls import Call
from ddr.operations.retention import outages_since_ms
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.store.database.migrate import first_migration_ms
from ddr.store.outages import events, notices, retractions

HELP = "compute the availability of a month"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--month",
        type=month,
        required=True,
        metavar="YYYY-MM",
        help="the month, in the time zone of the setting time_zone",
    )
    parser.add_argument(
        "--probe",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="results of an external probe, as CSV or JSON lines",
    )
    parser.add_argument(
        "--log",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an export of the request log, as JSON lines",
    )


def run(args: argparse.Namespace) -> int:
    """Print the evidence, the calculation and the result; status 1 when the goal was missed."""
    looks = sorted((look for file in args.probe for look in _looks(file)), key=lambda look: look.at_ms)
    logs = [_Log(file) for file in args.log]
    downtimes = [*probes.downtimes(looks), *calls.downtimes(lambda: chain.from_iterable(log.calls() for log in logs))]
    span, result = with_database(lambda settings, pool: _compute(args.month, looks, downtimes, settings, pool))
    lacking = [line for log in logs for line in log.lacking(result)]
    print("\n".join(_report(args.month, span, result, looks, bool(args.probe), lacking)))
    return 0 if result.availability >= GOAL else 1


def _looks(file: Path) -> list[probes.Look]:
    with _in_one_line(file):
        return probes.read(file.read_text("utf-8-sig"))


class _Log:
    """A file of the request log: its calls, which can be read repeatedly, when they were read, and what is missing."""

    def __init__(self, file: Path) -> None:
        self._file, self._export = file, calls.Export()
        self._kept = None if file.is_file() else list(self._read())  # a pipe can be read only once

    def calls(self) -> Iterable[Call]:
        """All calls in it. Raises CommandError."""
        return self._read() if self._kept is None else self._kept

    def lacking(self, result: Result) -> Iterator[str]:
        """Which calls of the counted time the file lacks, according to its manifest."""
        file, filters = self._file, self._export.filters
        if filters is None:
            yield f"{file} does not end with a manifest, as a complete export does: calls may be missing"
            return
        since_ms, until_ms = filters.get("since_ms", result.month.from_ms), filters.get("until_ms", result.until_ms)
        if since_ms > result.month.from_ms or until_ms < result.until_ms:
            yield f"{file} has only calls from {shown_instant(since_ms)} until {shown_instant(until_ms)}"
        if others := {name: value for name, value in filters.items() if name not in ("since_ms", "until_ms")}:
            yield f"{file} has only calls of {', '.join(f'{name} {value}' for name, value in others.items())}"

    def _read(self) -> Iterator[Call]:
        with _in_one_line(self._file), self._file.open(encoding="utf-8") as lines:
            yield from calls.read(lines, self._export)


@contextmanager
def _in_one_line(file: Path) -> Iterator[None]:
    """Turns errors in a file that is read in the block into one line. Raises CommandError."""
    try:
        yield
    except probes.ProbeError as error:
        raise CommandError(f"{file}: {error}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file}: is not UTF-8 text") from None
    except OSError as error:
        raise CommandError(f"{file}: {in_words(error)}") from None


async def _compute(
    month: str, looks: list[probes.Look], downtimes: list[Item], settings: Settings, pool: asyncpg.Pool
) -> tuple[Span, Result]:
    """The month and its figures, from the evidence of operators and checks and from externally observed `downtimes`."""
    span = rules.month_of(month, ZoneInfo(settings.time_zone))
    now = now_ms()
    if span.from_ms > now:
        raise CommandError(f"--month {month}: has not begun yet")
    known = [one for one in await notices.recent(pool, span.from_ms) if one.from_ms < span.until_ms]
    found = await events.between(pool, span.from_ms, span.until_ms)
    begun_ms, words = await first_migration_ms(pool), await retractions.standing(pool)
    result = rules.compute(span, now, known, found, downtimes, words)
    counting = [one.span.from_ms for one in result.items if one.counts != "nothing"]
    looked = [look.at_ms for look in looks if span.from_ms <= look.at_ms < span.until_ms]
    known_ms = min([*counting, *looked], default=begun_ms)
    if known_ms >= span.until_ms:
        raise CommandError(f"nothing is known about {month}: this database was created {shown_instant(begun_ms)}")
    if span.from_ms < begun_ms <= known_ms:
        since = span._replace(from_ms=begun_ms)  # nothing is known about the time before
        result = rules.compute(since, now, known, found, downtimes, words)
    if span.from_ms < (kept_ms := await outages_since_ms(pool, settings, now)) and begun_ms < kept_ms:
        raise CommandError(
            f"{month} is too long ago: findings of the checks from before {shown_instant(kept_ms)} are deleted"
        )
    return span, result


def _report(
    month: str, span: Span, result: Result, looks: list[probes.Look], probed: bool, lacking: list[str]
) -> Iterator[str]:
    """The lines of the report."""
    begin, end = shown_instant(result.month.from_ms), shown_instant(result.until_ms)
    yield f"Availability of {month} by HDDT operational-requirements (goal {GOAL:.1%})"
    made = "" if span.from_ms == result.month.from_ms else ", when this database was created,"
    yield f"counted from {begin}{made} until {end}" + (
        "" if result.until_ms == span.until_ms else ": the month is not over yet"
    )
    yield f"evidence: {len(result.items)} (operators' notices, states that the checks found, probes, request log)"
    yield from (_line(one) for one in result.items)
    if probed:
        seen = probes.observed_ms(looks, Span(result.month.from_ms, result.until_ms))
        whole = result.until_ms - result.month.from_ms
        yield (
            f"the probes covered {_hours(seen)} of {_hours(whole)}; for the rest there is only the"
            " recorder's own evidence"
        )
    else:
        yield "no external probe: --probe FILE (docs/operations.md)"
    yield from lacking
    yield f"time           {_hours(result.until_ms - result.month.from_ms)}"
    yield f"planned        {_hours(result.planned_ms)}  not counted: announced in time, or urgent for security"
    yield f"time counted   {_hours(result.counted_ms)}  = time - planned"
    yield f"down           {_hours(result.down_ms)}  a function for DiGA unavailable, unplanned; overlaps count once"
    verdict = "reached" if result.availability >= GOAL else "missed"
    yield f"availability   {result.availability:.4%}  = 1 - down / time counted: goal {verdict}"


def _line(one: Item) -> str:
    span = f"{shown_instant(one.span.from_ms)} to {shown_instant(one.span.until_ms)}"
    why = f" ({one.why})" if one.why else ""
    return f"  {span}  {one.counts:<7}  {one.source}: {one.cause}{why}"


def _hours(ms: int) -> str:
    seconds = ms // 1000
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} h"
