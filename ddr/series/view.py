"""What a DiGA sees of a chunk: its period, state and SampledData.data; stored chunks and placeholders alike.

Rows are mappings with the columns of a chunk, its sensor and its epoch (ddr/store/database/migrations/0001_core.sql).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from ddr.series.epoch import Epoch
from ddr.series.grid import last_second, least_slots
from ddr.series.packing import ERROR, Reading, decode
from ddr.series.slots import data, place
from ddr.series.status import NAMES, PRELIMINARY, WITHDRAWN, State, settled, settles

REMEMBERED_BYTES = 4096  # of values: fits a chunk of a day with one a minute; limits what a worker remembers to 30 MB


@dataclass(frozen=True, slots=True)
class ChunkView:
    """One Observation of a series at one instant. `data` is None for a span of which nothing has arrived yet."""

    start_ms: int
    end_ms: int  # the last second of the period, inclusive as FHIR period ends are
    status: str  # preliminary | final | amended | entered-in-error
    version: int
    updated_ms: int
    data: str | None


def view(row: Mapping[str, Any], now_ms: int) -> ChunkView:
    """`row` as shown at `now_ms`.

    A preliminary chunk ends with its last reading; a final or amended one has a value or `E` for every slot (SER-004,
    SER-022, SER-023). A preliminary chunk without readings has no data (SER-014), and neither has a withdrawn one.
    """
    end_ms, state = state_of(row, now_ms)
    least = 0
    if state.status not in (PRELIMINARY, WITHDRAWN):
        least = least_slots(row["start_ms"], row["span_ms"], row["period_ms"], row["until_ms"])
    write = _remembered if len(row["vals"]) <= REMEMBERED_BYTES else _data
    shown = write(row["times"], row["vals"], row["period_ms"], row["decimals"], least)
    return ChunkView(row["start_ms"], end_ms, NAMES[state.status], state.version, state.updated_ms, shown)


def state_of(row: Mapping[str, Any], now_ms: int) -> tuple[int, State]:
    """The end of the period of `row`, as its last second, and its state at `now_ms`; values are not looked at."""
    start = end = row["start_ms"]
    if row["status"] != WITHDRAWN:
        end = last_second(start, row["span_ms"], row["until_ms"])
    settles_ms = settles(start, end, row["buffering_ms"], row.get("expiration_ms"))
    return end, settled(State(row["status"], row["version"], row["updated_ms"]), settles_ms, now_ms)


def _data(times: bytes, vals: bytes, period_ms: int, decimals: int, least: int) -> str | None:
    """SampledData.data with at least `least` slots, or None without any slot."""
    slots = place(times, vals, period_ms)[0]
    slots += [ERROR] * (least - len(slots))
    return data(slots, decimals) if slots else None


# Most chunks of a search were in the previous search, too. Nothing remembered can become outdated, because the result
# depends on the arguments alone, and nothing in it tells whose values these are.
_remembered = lru_cache(maxsize=2048)(_data)


def readings(row: Mapping[str, Any]) -> list[Reading]:
    """Exact time and raw value of each stored reading of a chunk, also hidden ones; `slots.text` formats values."""
    return decode(row["times"], row["vals"], row["start_ms"], row["period_ms"])


def placeholder(row: Mapping[str, Any], k: int, now_ms: int, delay_ms: int) -> dict[str, Any] | None:
    """Chunk `k` of the epoch `row`, which is not stored, as a row for `view`; None when no placeholder is shown for it.

    `delay_ms` is the Delay-From-Real-Time of the MIV.
    """
    chunk = Epoch.of(row, delay_ms).placeholder(k, now_ms)
    return None if chunk is None else {**row, **asdict(chunk)}
