"""The reporting period of $hddt-cgm-summary from its parameters (HDDT measurement-cgm.md, Request Parameters)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from typing import Any

from ddr.durations import DAY_MS
from ddr.fhir.instants import parse_date_time
from ddr.fhir.outcome import operation_parameter_invalid
from ddr.series.days import as_local, local_day, midnight

START, END, RELATED = "effectivePeriodStart", "effectivePeriodEnd", "related"
DECLARED = {START: "dateTime", END: "dateTime", RELATED: "boolean"}

_IN_UTC = ("Z", "+00:00", "-00:00")  # the ends of instants in UTC; no day ends so
DEFAULT_DAYS = 14  # as the international consensus recommends; HDDT demands 7 at least


@dataclass(frozen=True)
class Period:
    """[from_ms, until_ms), and the calendar days in `zone` of its first and its last instant. It may be empty."""

    from_ms: int
    until_ms: int
    first: date
    last: date
    zone: tzinfo


def reporting_period(inputs: Mapping[str, Any], zone: tzinfo, now_ms: int, floor_ms: int) -> Period:
    """The period that `inputs` (ddr.fhir.parameters) ask for, as far as there can be data: from `floor_ms` until now.

    Without an end it ends now; without a start it has 14 calendar days. Days are those of `zone`, unless the period is
    given as days of UTC. Raises FhirError 400.
    """
    given = [inputs[name] for name in (START, END) if name in inputs]
    zone = UTC if given and all(map(_bounds_utc_day, given)) else zone
    start, end = (_covered(inputs[name], zone) if name in inputs else None for name in (START, END))
    if start and end and end[1] < start[0]:
        raise operation_parameter_invalid(f"{END} is before {START}.")
    until_ms = max(floor_ms, min(end[1] if end else now_ms, now_ms) + 1)
    last = local_day(until_ms - 1, zone)
    begin_ms = start[0] if start else midnight(last - timedelta(DEFAULT_DAYS - 1), zone)
    from_ms = min(max(floor_ms, begin_ms), until_ms)
    return Period(from_ms, until_ms, local_day(from_ms, zone), last, zone)


def _bounds_utc_day(text: str) -> bool:
    """Whether an instant in UTC is where a day begins or ends there: the midnight of another zone, in UTC, is not."""
    first, last = parse_date_time(text)
    return text.endswith(_IN_UTC) and 0 in (first % DAY_MS, (last + 1) % DAY_MS)


def _covered(text: str, zone: tzinfo) -> tuple[int, int]:
    """First and last millisecond of a dateTime; years, months and days are those of `zone`."""
    first, last = parse_date_time(text)
    return (first, last) if "T" in text else (as_local(first, zone), as_local(last, zone))
