"""A recorded glucose trace (CSV `id,time,gl`; UTC, mg/dL), moved so that it ends now and keeps its intervals."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from ddr.demo.sensor import Sample

COLUMNS = {"id", "time", "gl"}
DAY_MS = 86_400_000


class TraceError(Exception):
    """The file is no trace; the text is one line that says where."""


@dataclass(frozen=True)
class Trace:
    """The readings of one person, in order of time."""

    person: str
    samples: tuple[Sample, ...]
    digest: str  # of the file: names the trace in the state directory

    @property
    def last_ms(self) -> int:
        """Instant of the last reading."""
        return self.samples[-1][0]

    @property
    def period_ms(self) -> int:
        """The sampling period: the usual interval in whole minutes; five minutes where that does not divide a day."""
        times = [at_ms for at_ms, _ in self.samples]
        usual = median(b - a for a, b in pairwise(times)) if len(times) > 1 else 300_000
        period = round(usual / 60_000) * 60_000
        return period if period and DAY_MS % period == 0 else 300_000

    def moved(self, shift_ms: int) -> Trace:
        """The same readings `shift_ms` later."""
        return Trace(self.person, tuple((at_ms + shift_ms, value) for at_ms, value in self.samples), self.digest)


def read_trace(path: Path) -> Trace:
    """The trace in `path`; of several persons the first. Raises TraceError."""
    try:
        raw = path.read_bytes()
        rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    if not rows or not set(rows[0]) >= COLUMNS:
        raise TraceError(f"{path}: needs the columns id,time,gl and at least one reading")
    person = rows[0]["id"]
    own = [(number, row) for number, row in enumerate(rows, 2) if row["id"] == person]
    samples = [_sample(path, number, row) for number, row in own]
    return Trace(person, tuple(sorted(samples)), hashlib.sha256(raw).hexdigest())


def _sample(path: Path, line: int, row: dict[str, str]) -> tuple[int, float]:
    try:
        at = datetime.fromisoformat(row["time"])
        value = float(row["gl"])
    except (TypeError, ValueError):
        raise TraceError(f"{path}: line {line} needs a time like 2015-06-06 21:50:27 and a number") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(at.timestamp()) * 1000, int(value) if value.is_integer() else value


def placed(trace: Trace, state_dir: Path, now_ms: int) -> Trace:
    """`trace` moved so that it ends now; on the same state directory always to the same place."""
    file = state_dir / "trace-shifts.json"
    shifts: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    if trace.digest not in shifts:
        shifts[trace.digest] = now_ms // 1000 * 1000 - trace.last_ms
        file.write_text(json.dumps(shifts, indent=1))
    return trace.moved(shifts[trace.digest])


def decimals(samples: Sequence[Sample]) -> int:
    """Decimal places that the values need."""
    texts = (repr(value) for _, value in samples if isinstance(value, float))
    return max((len(text.partition(".")[2]) for text in texts), default=0)
