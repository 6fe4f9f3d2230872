"""A series, with all that decides how its chunks are stored and shown, and a stored chunk; both map to rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ddr.series.grid import Grid, last_second, whole_second
from ddr.series.packing import Reading, decode
from ddr.series.status import PRELIMINARY, State, settled, settles


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored chunk: the columns of the table chunk except its key (patient_id, epoch_no)."""

    k: int
    start_ms: int
    last_ms: int
    updated_ms: int
    version: int
    filled: int
    status: str
    times: bytes
    vals: bytes

    @property
    def state(self) -> State:
        """The state as stored."""
        return State(self.status, self.version, self.updated_ms)

    def readings(self, period_ms: int) -> list[Reading]:
        """The exact readings, shown or not, in ascending order; `period_ms` is that of the sensor."""
        return decode(self.times, self.vals, self.start_ms, period_ms)


def empty_chunk(k: int, start_ms: int, state: State) -> Chunk:
    """A chunk without readings."""
    return Chunk(k, start_ms, start_ms - 1, state.updated_ms, state.version, 0, state.status, b"", b"")


@dataclass(frozen=True, slots=True)
class Epoch:
    """A sensor in one calibration state. Durations and instants in milliseconds."""

    grid: Grid
    buffering_ms: int
    delay_ms: int  # Delay-From-Real-Time of the MIV
    complete_until_ms: int | None  # the gateway has sent everything up to then
    expected_until_ms: int | None  # no reading can be later than this second
    tail_k: int | None  # the last stored chunk
    tail_start_ms: int | None
    expires_ms: int | None = None  # the device's expiration
    registered_ms: int = 0  # when the recorder learnt of the epoch; nothing was shown to anybody before

    @classmethod
    def of(cls, row: Mapping[str, Any], delay_ms: int) -> Epoch:
        """From the columns of an epoch and its sensor; `registered_ms` and the ends may come from joined tables."""
        ends = (row.get(name) for name in ("until_ms", "sensor_ended_ms", "device_ended_ms", "expiration_ms"))
        end_ms = min((end for end in ends if end is not None), default=None)
        return cls(
            grid=Grid.of(row),
            buffering_ms=row["buffering_ms"],
            delay_ms=delay_ms,
            complete_until_ms=row.get("complete_until_ms"),
            # A whole second, because chunks start at whole seconds: no chunk has less than a second left.
            expected_until_ms=None if end_ms is None else whole_second(end_ms),
            tail_k=row["tail_k"],
            tail_start_ms=row["tail_start_ms"],
            expires_ms=row.get("expiration_ms"),
            registered_ms=row.get("registered_ms", 0),
        )

    def end(self, start_ms: int) -> int:
        """The last second of the chunk that starts at `start_ms`."""
        return last_second(start_ms, self.grid.span_ms, self.grid.until_ms)

    def shown(self, chunk: Chunk, now_ms: int) -> State:
        """The state of a stored chunk as shown at `now_ms`."""
        return settled(chunk.state, self.settles(chunk.start_ms), now_ms)

    def settles(self, start_ms: int) -> int:
        """When the chunk that starts at `start_ms` becomes final by time."""
        return settles(start_ms, self.end(start_ms), self.buffering_ms, self.expires_ms)

    def overdue(self, start_ms: int, now_ms: int) -> bool:
        """True when the device can have no unsent readings any more for the chunk that starts at `start_ms`."""
        return self.settles(start_ms) < now_ms

    def over(self, start_ms: int) -> bool:
        """True when no reading is expected in a chunk that starts at `start_ms`."""
        return self.expected_until_ms is not None and self.expected_until_ms <= start_ms

    def complete(self, start_ms: int, filled: int) -> bool:
        """True when nothing more can come into the chunk that starts at `start_ms` and has this many slots filled."""
        cut = self.grid.until_ms is not None and self.grid.until_ms < start_ms + self.grid.span_ms
        sent = self.complete_until_ms is not None and self.end(start_ms) <= self.complete_until_ms
        return cut or sent or filled == self.grid.slots

    def next_start(self) -> tuple[int, int]:
        """Number and expected start of the chunk after the last stored one."""
        if self.tail_k is None or self.tail_start_ms is None:
            return 0, self.grid.first_start
        return self.tail_k + 1, self.tail_start_ms + self.grid.span_ms

    def placeholder(self, k: int, now_ms: int) -> Chunk | None:
        """Chunk `k`, not stored yet, as a DiGA sees it: empty. None before it is shown, and where nothing is expected.

        It appears when its second reading is overdue by more than Delay-From-Real-Time (SER-014, SER-024). A new sensor
        first gets that time to send what it has.
        """
        next_k, next_start = self.next_start()
        start = next_start + (k - next_k) * self.grid.span_ms
        appears = max(start + self.grid.period_ms, self.registered_ms) + self.delay_ms
        if k < next_k or self.over(start) or now_ms < appears:
            return None
        return empty_chunk(k, start, State(PRELIMINARY, 1, appears))

    def overdue_before(self, now_ms: int) -> int:
        """A chunk of which nothing has arrived is shown at `now_ms` if it starts before this instant."""
        if now_ms < self.registered_ms + self.delay_ms:
            return 0
        before_ms = now_ms - self.delay_ms - self.grid.period_ms + 1
        return before_ms if self.expected_until_ms is None else min(before_ms, self.expected_until_ms)

    def placeholders(self, now_ms: int) -> Iterator[Chunk]:
        """All chunks after the stored ones that a DiGA sees."""
        k = self.next_start()[0]
        while chunk := self.placeholder(k, now_ms):
            yield chunk
            k += 1
