"""A recorded glucose trace (CSV `id,time,gl`; UTC, mg/dL), moved so that it ends now and keeps its intervals."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite
from pathlib import Path
from statistics import median

from ddr.demo.sensor import Sample
from ddr.durations import DAY_MS
from ddr.reasons import in_words

COLUMNS = {"id", "time", "gl"}
LOWEST_MEDIAN = 35  # mg/dL
SHORTEST_MS = 2000  # a sampling period must be longer
NOTHING = {"", "na", "nan", "null", "none"}  # how R, Python and others write a missing value


class TraceError(Exception):
    """The file is not a trace; the message is one line that says where."""


@dataclass(frozen=True)
class Trace:
    """The readings of one person, in order of time; `lines` are their lines in the file."""

    person: str
    samples: tuple[Sample, ...]
    digest: str  # of the file: names the trace in the state directory
    lines: tuple[int, ...] = ()

    @property
    def last_ms(self) -> int:
        """Instant of the last reading."""
        return self.samples[-1][0]

    @property
    def period_ms(self) -> int:
        """The sampling period: the usual interval in whole minutes, or in whole seconds where minutes are too coarse
        (30 s, 90 s). It then never exceeds the interval, so that no readings share a slot. It divides a day."""
        times = [at_ms for at_ms, _ in self.samples]
        usual = median(b - a for a, b in pairwise(times)) if len(times) > 1 else 300_000
        minutes = round(usual / 60_000) * 60_000
        if minutes and DAY_MS % minutes == 0 and abs(minutes - usual) < usual / 10:
            return minutes
        longest = min(int(usual) // 1000 * 1000, DAY_MS)
        return next((finer for finer in range(longest, SHORTEST_MS, -1000) if DAY_MS % finer == 0), 300_000)

    def moved(self, shift_ms: int) -> Trace:
        """The same readings `shift_ms` later."""
        return replace(self, samples=tuple((at_ms + shift_ms, value) for at_ms, value in self.samples))


@dataclass(frozen=True)
class Recording:
    """A file: one trace per person in the order of the file, and what could not be read, by line.

    `without` counts rows marked as having no value: they are neither readings nor faults.
    """

    traces: tuple[Trace, ...]
    faults: tuple[str, ...] = ()
    without: int = 0

    @property
    def looks_like_mmol(self) -> bool:
        """Whether the numbers look like mmol/L: nobody lives with half of the values below 35 mg/dL."""
        values = [value for trace in self.traces for _, value in trace.samples if isinstance(value, int | float)]
        return bool(values) and median(values) < LOWEST_MEDIAN


def read_recording(path: Path) -> Recording:
    """The content of `path`. Raises TraceError when there are no readings in it."""
    try:
        raw = path.read_bytes()
        rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read: {in_words(error)}") from None
    if not rows or not set(rows[0]) >= COLUMNS:
        raise TraceError(
            f"{path}: needs the columns id,time,gl and at least one reading (other files: ddr import, docs/imports.md)"
        )
    persons: dict[str, list[tuple[Sample, int]]] = {}
    faults, without = [], 0
    for number, row in enumerate(rows, 2):
        try:
            if (sample := _sample(row)) is None:
                without += 1
            else:
                persons.setdefault(row["id"], []).append((sample, number))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    digest = hashlib.sha256(raw).hexdigest()
    found = [_trace(person, sorted(samples), digest) for person, samples in persons.items() if samples]
    if not found:
        raise TraceError(f"{path}: {faults[0] if faults else 'no row has a value'}")
    return Recording(tuple(found), tuple(faults), without)


def _trace(person: str, found: Sequence[tuple[Sample, int]], digest: str) -> Trace:
    return Trace(person, tuple(sample for sample, _ in found), digest, tuple(line for _, line in found))


def _sample(row: dict[str, str]) -> Sample | None:
    """Time and value of a row; None when it is marked as having no value. Raises ValueError that says what is wrong."""
    try:
        at = datetime.fromisoformat(row["time"])
    except (TypeError, ValueError):
        raise ValueError(f"not a time such as 2015-06-06 21:50:27: {row['time']!r}") from None
    if row["gl"] is not None and row["gl"].strip().lower() in NOTHING:
        return None
    try:
        value = float(row["gl"])
    except (TypeError, ValueError):
        raise ValueError(f"not a number: {row['gl']!r}") from None
    if not isfinite(value):
        raise ValueError(f"not a number: {row['gl']!r}")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(at.timestamp()) * 1000, int(value) if value.is_integer() else value


def placed(recording: Recording, state_dir: Path, now_ms: int) -> Recording:
    """`recording` moved so that its last reading is now; with the same state directory always to the same place."""
    file, digest = state_dir / "trace-shifts.json", recording.traces[0].digest
    shifts: dict[str, int] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if digest not in shifts:
        shifts[digest] = now_ms // 1000 * 1000 - max(trace.last_ms for trace in recording.traces)
        file.write_text(json.dumps(shifts, indent=1), "utf-8")
    return replace(recording, traces=tuple(trace.moved(shifts[digest]) for trace in recording.traces))


def decimals(samples: Sequence[Sample]) -> int:
    """Decimal places that the values need."""
    texts = (repr(value) for _, value in samples if isinstance(value, float))
    return max((len(text.partition(".")[2]) for text in texts), default=0)
