"""Downtime from the request log: `ddr logs export` writes the file, one JSON object per line (OPS-001, OPS-017).

A single failed call proves nothing: other DiGA were served. A function was down from the first of consecutive failed
calls to its next answered call, if at least FEW calls failed and none of that function was answered between them.
Refusals by a limit (429, 503 throttled) and during maintenance are not failures.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ddr.operations.availability import Item, Span
from ddr.operations.probes import GAP_MS, ProbeError
from ddr.operations.status.functions import DATA, PAIRING, SUMMARY, TOKEN

FEW = 5
FAILED = 500
LIMITS = frozenset({"throttled", "overloaded"})  # error codes of refusals by a limit
PLANNED = "planned-maintenance"
MANIFEST = "manifest"  # the last line of an export, which proves the lines before it

Call = tuple[int, str, bool]  # instant in milliseconds, function, whether it failed


@dataclass
class Export:
    """What an exported file says about itself at its end; known when all its lines have been read.

    `filters`: by name, what the export was restricted to; None when the file does not end with a manifest.
    """

    filters: Mapping[str, Any] | None = None


@dataclass
class _Row:
    """Consecutive failed calls of one function."""

    first_ms: int
    last_ms: int
    count: int = 1


def read(lines: Iterable[str], export: Export | None = None) -> Iterator[Call]:
    """Instant, function, and whether it failed, for each call that proves something. Raises ProbeError.

    When all are read, `export` is filled.
    """
    export = export or Export()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            call: dict[str, Any] = json.loads(line)
            export.filters = None
            if call.keys() == {MANIFEST}:
                export.filters = _filters(call[MANIFEST]["filters"])
                continue
            at_ms = round(datetime.fromisoformat(call["timestamp"]).timestamp() * 1000)
            function = _function("/" + str(call["partner_id"]).partition("/")[2])
            status = None if call["status"] is None else int(call["status"])
            code = str(call.get("error_code") or "")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProbeError(f"line {number}: is not a record of the request log") from None
        if function is None or status is None:
            continue  # the client had left before the response: the result is unknown
        if status == 429 or code in LIMITS or PLANNED in f"{code} {call.get('error_description') or ''}":
            continue
        yield at_ms, function, status >= FAILED


def _filters(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The filters that restrict something, instants as numbers. Raises AttributeError, TypeError, ValueError."""
    narrowing = {str(name): value for name, value in given.items() if value is not None}
    return {name: int(value) if name.endswith("_ms") else value for name, value in narrowing.items()}


def _function(path: str) -> str | None:
    """The function towards DiGA of a path in the log."""
    if path.startswith("/fhir/") and path != "/fhir/metadata":
        return SUMMARY if path.endswith("$hddt-cgm-summary") else DATA
    return {"/oauth/par": PAIRING, "/oauth/authorize": PAIRING, "/oauth/token": TOKEN, "/oauth/revoke": TOKEN}.get(path)


def downtimes(calls: Callable[[], Iterable[Call]]) -> list[Item]:
    """The downtimes. `calls` returns all calls, in any order, and is called twice. Of the answered calls only the first
    after each failed one is kept: a month may have a hundred million."""
    failures: dict[str, list[int]] = {}
    for at_ms, function, failed in calls():
        if failed:
            failures.setdefault(function, []).append(at_ms)
    for times in failures.values():
        times.sort()
    first: dict[tuple[str, int], int] = {}  # the first answered call after so many failed ones
    for at_ms, function, failed in calls():
        if not failed and (times := failures.get(function, [])):
            place = function, bisect_left(times, at_ms)
            first[place] = min(at_ms, first.get(place, at_ms))
    return _in_order(
        sorted(
            [
                *((at_ms, function, True) for function, times in failures.items() for at_ms in times),
                *((at_ms, function, False) for (function, _), at_ms in first.items()),
            ]
        )
    )


def _in_order(calls: Iterable[Call]) -> list[Item]:
    rows: dict[str, _Row] = {}
    found: list[Item] = []
    for at_ms, function, failed in calls:
        row = rows.get(function)
        if failed and row is not None and at_ms - row.last_ms <= GAP_MS:
            row.last_ms, row.count = at_ms, row.count + 1
            continue
        if row is not None:
            found += _down(function, rows.pop(function), at_ms)
        if failed:
            rows[function] = _Row(at_ms, at_ms)
    return [*found, *(one for function, row in rows.items() for one in _down(function, row, row.last_ms))]


def _down(function: str, row: _Row, next_ms: int) -> list[Item]:
    if row.count < FEW:
        return []
    until_ms = max(min(next_ms, row.last_ms + GAP_MS), row.first_ms + 1)
    return [Item(Span(row.first_ms, until_ms), "log", f"{row.count} calls of {function} failed in a row", "down")]
