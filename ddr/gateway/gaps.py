"""Tells a gateway which readings of a sensor the recorder lacks: GET …/gaps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ddr.aside import LARGE_ITEMS, aside
from ddr.gateway.fields import Fields
from ddr.gateway.readings import load_series
from ddr.gateway.writing import at
from ddr.http.core import Core
from ddr.series.packing import Reading
from ddr.store.devices.devices import sensor_state
from ddr.store.series.chunks import readings_between
from ddr.store.series.sensors import SensorKey


async def get_gaps(core: Core, key: SensorKey, time: str | None = None) -> tuple[int, dict[str, Any]]:
    """The times without readings within the historic period, or from the instant `time` on, which may be before it:
    oldest first, each from one reading to the next.

    The last one is the time since the last reading. Raises Problem 404, 409 or 422.
    """
    since_ms = Fields({"time": time}).instant("time")
    sensor = await load_series(core, key)
    row = await sensor_state(core.pool, *key)
    assert row is not None
    now = core.clock()
    since_ms = core.catalog.floor_ms(sensor.miv_url, now) if since_ms is None else since_ms
    from_ms = max(row["started_ms"], since_ms)
    until_ms = min(now, row["ended_ms"] or now)
    stored = await readings_between(core.pool, sensor, from_ms, until_ms)
    found = await aside(len(stored) > LARGE_ITEMS, _listed, stored, from_ms, until_ms, row["period_ms"])
    return 200, {"from": at(from_ms), "gaps": found}


def _listed(stored: Iterable[Reading], from_ms: int, until_ms: int, period_ms: int) -> list[dict[str, str | None]]:
    times = {time for time, _ in stored if from_ms <= time < until_ms}
    return [{"from": at(first), "until": at(last)} for first, last in gaps(times, from_ms, until_ms, period_ms)]


def gaps(times: Iterable[int], from_ms: int, until_ms: int, period_ms: int) -> list[tuple[int, int]]:
    """The parts of [from_ms, until_ms] in which a reading is missing: those longer than one and a half periods."""
    known = [from_ms - period_ms, *sorted(times), until_ms]
    return [(max(before, from_ms), after) for before, after in pairwise(known) if 2 * (after - before) > 3 * period_ms]
