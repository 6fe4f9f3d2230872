"""The file of an external probe: one observation of the service per line, as CSV with a header or as JSON lines.

Members, or columns: `time` (FHIR dateTime or instant with zone), `status` (HTTP status, 0: no response), and optionally
`cause` (the response's header Outage-Cause; `rate-limit` for a refusal by a limit) and `endpoint`. Observations of
several endpoints may be mixed: each endpoint has its own timeline, and the service is down when any of them is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddr.fhir.instants import parse_date_time
from ddr.fhir.outages import Outage
from ddr.operations.availability import Item, Span

GAP_MS = 600_000  # an observation says nothing about the time later than this after it
FAILED = 500
RATE_LIMIT = "rate-limit"


class ProbeError(Exception):
    """A line that cannot be read; the message names it."""


@dataclass(frozen=True)
class Look:
    """One observation of a probe."""

    at_ms: int
    status: int
    cause: str = ""
    endpoint: str = ""

    @property
    def down(self) -> bool:
        """No response, or a failure; a documented refusal by a limit is not one (Throughput and Load Requirements)."""
        return self.status == 0 or (self.status >= FAILED and self.cause != RATE_LIMIT)


def read(text: str) -> list[Look]:
    """All observations of a file, ordered by time. Raises ProbeError."""
    found = []
    try:
        rows = list(_rows(text))
    except csv.Error as error:
        raise ProbeError(f"is not CSV: {error}") from None
    for number, row in rows:
        try:
            cause, endpoint = str(row.get("cause") or ""), str(row.get("endpoint") or "")
            found.append(Look(parse_date_time(str(row["time"]))[0], _status(row["status"]), cause, endpoint))
        except KeyError as error:
            raise ProbeError(f"line {number}: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            raise ProbeError(f"line {number}: {error}") from None
    return sorted(found, key=lambda look: look.at_ms)


def _status(raw: Any) -> int:
    """An HTTP status, or 0. Raises ValueError."""
    status = int(str(raw))
    if status and not 100 <= status <= 599:
        raise ValueError(f"{status} is not an HTTP status")
    return status


def _rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not text.lstrip().startswith("{"):
        rows = csv.DictReader(io.StringIO(text))
        yield from ((rows.line_num, row) for row in rows)  # empty lines are skipped, but counted
        return
    for number, line in enumerate(io.StringIO(text), 1):  # only line feeds end a line
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ProbeError(f"line {number}: is not a JSON object")
            yield number, row


def downtimes(looks: list[Look]) -> list[Item]:
    """The downtimes: from each failed observation until the next one of the same endpoint, GAP_MS at most."""
    found = []
    by_endpoint: dict[str, list[Look]] = {}
    for look in looks:
        by_endpoint.setdefault(look.endpoint, []).append(look)
    for endpoint, its in by_endpoint.items():
        for look, following in zip(its, [*its[1:], None], strict=True):
            if look.down:
                limit_ms = look.at_ms + GAP_MS
                until_ms = min(limit_ms, following.at_ms) if following else limit_ms
                found.append(Item(Span(look.at_ms, until_ms), "probe", _cause(look, endpoint), "down"))
    return found


def _cause(look: Look, endpoint: str) -> str:
    what = f"HTTP {look.status}" if look.status else "no answer"
    planned = " outside of announced windows" if look.cause == Outage.PLANNED_MAINTENANCE else ""
    return " ".join(filter(None, (what, look.cause + planned, endpoint)))


def observed_ms(looks: list[Look], window: Span) -> int:
    """For how long of the window the probe observed the service: gaps longer than GAP_MS are not observed."""
    times = sorted({look.at_ms for look in looks if window.from_ms <= look.at_ms < window.until_ms})
    ends = [*times[1:], window.until_ms]
    return sum(min(after - at, GAP_MS) for at, after in zip(times, ends, strict=False))
