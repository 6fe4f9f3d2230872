"""A naive recorder of one sensor: keeps every reading and event, and computes the record from all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from ddr.series.calibration import Event, Segment, segments
from ddr.series.chain import cut
from ddr.series.grid import Grid
from ddr.series.packing import ERROR, HIGH, LOW, Reading, encode
from ddr.series.reading import Rules

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
PERIOD = 5 * MINUTE

Series = tuple[int, int | None, str, str | None, list[tuple[int, bytes, bytes]]]
"""From, until, calibration state and type, and the chunks up to the last one with a reading."""

UNLIMITED = Rules("mg/dL", 0)


@dataclass
class Model:
    """What a sensor in use since `start_ms` has sent."""

    start_ms: int
    readings: set[Reading] = field(default_factory=set)
    events: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    ended_ms: int | None = None
    uploads: dict[str, set[Reading]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    withdrawn: set[tuple[int, str]] = field(default_factory=set)
    order: dict[int, list[int]] = field(default_factory=dict)  # different values of one instant, as they arrived
    behind: set[Reading] = field(default_factory=set)  # another value of the instant is stored in its place
    corrections: dict[int, list[int]] = field(default_factory=dict)  # of each instant, the newest last
    rules: Rules = UNLIMITED

    def __post_init__(self) -> None:
        self.events[self.start_ms] = ("not-calibrated", None)

    def takes(self, time_ms: int) -> bool:
        """True for an instant at which the sensor was in use."""
        return self.start_ms <= time_ms and (self.ended_ms is None or time_ms < self.ended_ms)

    def measured(self, batch: Iterable[Reading]) -> list[Reading | None]:
        """The readings as stored with the known limits; None for `L` or `U` without its limit."""
        unknown = {LOW: self.rules.lowest is None, HIGH: self.rules.highest is None}
        return [None if unknown.get(raw) else (time, self.rules.within(raw)) for time, raw in batch]

    def learn(self, rules: Rules) -> None:
        """Limits become known before anything was taken back: stored values become what they would be if sent now."""
        self.rules = rules
        within, stored = rules.within, self.stored()

        def all_of(own: Iterable[Reading]) -> set[Reading]:
            return {(time, within(raw)) for time, raw in own}

        self.readings, self.behind = all_of(self.readings), all_of(self.behind) - all_of(stored)
        self.uploads = {key: all_of(own) for key, own in self.uploads.items()}
        for time, order in self.order.items():
            corrections = self.corrections.get(time, [])
            self.order[time] = _as_they_came(order, corrections, within)
            self.corrections[time] = _as_they_came(corrections, corrections, within)

    def begins_at(self, ms: int) -> bool:
        """Let the sensor begin then, unless earlier data contradicts it; returns whether it does."""
        others = [time for time in self.events if time != self.start_ms]
        known = [time for time, _ in self.stored()] + [time - 1 for time in others]
        if any(time < ms for time in known) or (self.ended_ms is not None and self.ended_ms <= ms):
            return False
        self.events[ms] = self.events.pop(self.start_ms)
        self.start_ms = ms
        return True

    def gone(self) -> set[Reading]:
        """The readings that were taken back."""
        kept = set[Reading]().union(*(own for key, own in self.uploads.items() if key not in self.deleted))
        return set[Reading]().union(*(self.uploads[key] for key in self.deleted)) - kept

    def counting(self) -> set[Reading]:
        """The valid readings."""
        return self.readings - self.gone()

    def stored(self) -> set[Reading]:
        """The valid readings, without those that another one replaces."""
        return self.counting() - self.behind

    def take(self, batch: Iterable[Reading]) -> None:
        """Add readings; an instant with several values remembers their order, those of one upload from the lowest."""
        batch = [reading for reading in batch if self.takes(reading[0])]
        self._take_late(batch)
        before = self.stored()
        self.readings.update(batch)
        stored = self.stored()
        for time in {time for time, _ in stored - before}:
            values = sorted(raw for at, raw in stored if at == time)
            if len(values) > 1:
                order = self.order.setdefault(time, [])
                known, new = ([raw for raw in values if ((time, raw) in before) is old] for old in (True, False))
                order += [raw for raw in (*known, *new) if raw not in order]

    def _take_late(self, batch: Sequence[Reading]) -> None:
        """A value that arrives after a correction of its instant is put behind it."""
        for time, raw in sorted(set(batch) - self.gone() - self.behind):
            if raw != self.correction(time) is not None:
                self.behind.add((time, raw))
                self.order[time].append(raw)

    def correction(self, time_ms: int) -> int | None:
        """The correction in force at this instant."""
        gone, corrections = self.gone() | self.behind, self.corrections.get(time_ms, [])
        return next((raw for raw in reversed(corrections) if (time_ms, raw) not in gone), None)

    def correct(self, batch: Iterable[Reading]) -> None:
        """Add readings that replace all others of their instants; of two for one instant the later item counts."""
        gone = self.gone()
        for time, raw in dict(batch).items():
            if not self.takes(time) or (time, raw) in gone:
                continue
            order = self.order.setdefault(time, [])
            order += sorted(one for at, one in self.stored() if at == time and one not in (raw, *order))
            self.readings.add((time, raw))
            for values in (order, self.corrections.setdefault(time, [])):
                if raw in values:
                    values.remove(raw)
                values.append(raw)
            self.behind |= {(time, one) for one in order}
            self.behind.discard((time, raw))

    def take_back(self, key: str) -> None:
        """Take an upload back.

        Where the shown value is among those taken back, the last one that arrived replaces all others: a correction if
        one is left. Values that are taken back are no longer corrections. Only instants of the upload's own remaining
        readings change, and a second call changes nothing.
        """
        if key in self.deleted:
            return
        self.deleted.add(key)
        gone = self.gone()
        self.readings -= gone  # what an upload repeats from before a start that has moved is not stored
        instants = {time for time, _ in self.uploads[key] & gone}
        for time, order in self.order.items():
            if time not in instants:
                continue
            corrections = [raw for raw in self.corrections.get(time, []) if (time, raw) not in gone]
            self.corrections[time] = corrections
            left = [raw for raw in order if (time, raw) not in gone and raw not in corrections] + corrections
            stored = [raw for raw in order if (time, raw) not in self.behind]
            if left and stored and (time, min(stored, key=lambda raw: (raw == ERROR, raw))) in gone:
                self.behind |= {(time, raw) for raw in order}
                self.behind.discard((time, left[-1]))

    def segments(self) -> list[Segment]:
        """The times of one calibration state."""
        events = [Event(time, *self.events[time], None) for time in sorted(self.events)]
        return segments(events, self.ended_ms)

    def record(self) -> list[Series]:
        """Every series with its chunks, each computed from the readings of its time alone."""
        found: list[Series] = []
        for part in self.segments():
            own = sorted(
                reading
                for reading in self.stored()
                if part.from_ms <= reading[0] and (part.until_ms is None or reading[0] < part.until_ms)
            )
            chunks = [
                (chunk.start_ms, *encode(chunk.readings, chunk.start_ms, PERIOD))
                for chunk in cut(own, Grid(part.from_ms, PERIOD, HOUR, part.until_ms))
            ]
            found.append((part.from_ms, part.until_ms, part.last.state, part.last.type, chunks))
        return found


def _as_they_came(order: Sequence[int], corrections: Sequence[int], within: Callable[[int], int]) -> list[int]:
    """Values of one instant within the limits: of equal ones the first, or the last one that is a correction."""
    place: dict[int, int] = {}
    for at, raw in enumerate(order):
        if within(raw) not in place or raw in corrections:
            place[within(raw)] = at
    return sorted(place, key=lambda raw: place[raw])


async def order_of_arrival(pool: asyncpg.Pool, patient_id: UUID) -> dict[int, list[int]]:
    """Different values of one instant in the order of arrival, as the database remembers it."""
    rows = await pool.fetch("SELECT time_ms, raw FROM claim WHERE patient_id = $1 ORDER BY claim_no", patient_id)
    found: dict[int, list[int]] = {}
    for time, raw in rows:
        found.setdefault(time, []).append(raw)
    return found


async def stored_record(pool: asyncpg.Pool, patient_id: UUID) -> list[Series]:
    """The same from the database. Empty chunks after the last reading only say until when nothing has arrived."""
    epochs = await pool.fetch(
        """SELECT epoch_no, from_ms, until_ms, calibration_state, calibration_type
             FROM epoch WHERE patient_id = $1 AND until_ms IS DISTINCT FROM from_ms ORDER BY from_ms""",
        patient_id,
    )
    found: list[Series] = []
    for number, *facts in epochs:
        rows = await pool.fetch(
            "SELECT start_ms, times, vals FROM chunk WHERE patient_id = $1 AND epoch_no = $2 ORDER BY k",
            patient_id,
            number,
        )
        chunks = [tuple(row) for row in rows]
        while chunks and not chunks[-1][1]:
            chunks.pop()
        found.append((*facts, chunks))
    return found
