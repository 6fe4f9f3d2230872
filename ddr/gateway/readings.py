"""Takes readings of continuous sensors: POST …/readings and POST …/complete (HDDT retrieving-data.md, SER-001 ff.)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ddr.aside import LARGE_ITEMS, aside
from ddr.fhir.instants import date_time
from ddr.gateway.fields import Fields
from ddr.gateway.plausibility import of_unit
from ddr.gateway.problem import Problem, conflict, invalid, not_found
from ddr.gateway.reading_answers import answered
from ddr.gateway.writing import writing
from ddr.http.core import Core
from ddr.series.packing import Reading
from ddr.series.reading import NO_LIMIT, Rejection, future_at, in_other_unit, read_items
from ddr.store.series import sensors as series_sensors
from ddr.store.series.bulk import append_together
from ddr.store.series.correction import correct_readings
from ddr.store.series.deletion import delete_upload as take_back
from ddr.store.series.end import complete_until
from ddr.store.series.merging import Outcome, merge_readings
from ddr.store.series.sensors import LimitsAdded, Sensor, SensorKey
from ddr.store.series.uploads import UploadDeleted

NO_LIMITS = frozenset(NO_LIMIT.values())  # from a remembered sensor, which may have got its limits since


async def post_readings(core: Core, key: SensorKey, body: Any) -> tuple[int, dict[str, Any]]:
    """Store the readings in `body` and answer each of them: accepted, duplicate, or rejected with a reason.

    What is answered as accepted is committed. Raises Problem 404, 409, 413, 422.
    """
    items, unit, upload_key, correction = _parse(body, core.settings.gateway_max_items)
    now, sensor, large = core.clock(), core.sensors.get(key), len(items) > LARGE_ITEMS
    if sensor is not None and upload_key is None and not correction:  # nearly always, with new readings at the end
        found = await aside(large, read, core, sensor, items, unit, now)
        if NO_LIMITS.isdisjoint(one for one in found if isinstance(one, Rejection)):
            appended = await _append(core, key, sensor, await aside(large, ascending, found), now)
            if appended is not None:
                return 200, await aside(large, answered, core, items, found, appended, sensor)
    while True:
        sensor = await load_series(core, key)  # limits may be known now, or another worker has written
        found = await aside(large, read, core, sensor, items, unit, now)
        try:
            if correction:
                outcome = await _correct(core, key, sensor, found, upload_key)
            else:
                readings = await aside(large, ascending, found)
                outcome = await store_readings(core, key, sensor, readings, now, upload_key)
        except LimitsAdded:  # since it was loaded; at most twice, because each limit is added once
            continue
        return 200, await aside(large, answered, core, items, found, outcome, sensor)


def read(core: Core, sensor: Sensor, items: Sequence[Any], unit: Any, now_ms: int) -> list[Reading | Rejection]:
    """Each item as a reading or a rejection. Raises Problem 422 for an upload that looks like the other unit."""
    tolerance = core.settings.gateway_future_seconds
    if refusal := in_other_unit(items, unit, sensor.rules):
        raise Problem(422, "unit", refusal, "readings")
    earliest_ms = core.settings.readings_from_ms(now_ms)
    future = future_at(now_ms, tolerance)
    return read_items(items, unit, sensor.rules, now_ms + tolerance * 1000, future, earliest_ms)


def ascending(found: Iterable[Reading | Rejection]) -> list[Reading]:
    """The readings in ascending order, each once."""
    return sorted({one for one in found if not isinstance(one, Rejection)})


def _parse(body: Any, most: int) -> tuple[list[Any], Any, str | None, bool]:
    """The items, the unit and the key of an upload, and whether it corrects what is stored."""
    fields = Fields(body)
    items, unit, upload_key = fields.raw("readings"), fields.raw("unit"), fields.key("upload")
    correction = fields.raw("correction")
    fields.done()
    if correction is not None and not isinstance(correction, bool):
        raise invalid("correction", "must be true or false")
    if not isinstance(items, list):
        raise invalid("readings", "must be an array")
    if len(items) > most:
        raise Problem(413, "too-many-items", f"readings has more than {most} items; split them into several uploads")
    return items, unit, upload_key, bool(correction)


async def load_series(core: Core, key: SensorKey) -> Sensor:
    """The sensor as it is now. Raises Problem 404, or 409 when it has no series."""
    return continuous(core, await series_sensors.load(core.pool, *key))


def continuous(core: Core, sensor: Sensor | None) -> Sensor:
    """The sensor, if it has a series, with its plausible values. Raises Problem 404 or 409."""
    if sensor is None:
        raise not_found("sensor")
    if not sensor.continuous:
        raise conflict("This sensor does not measure continuously; send its values as measurements", "not-continuous")
    plausible = of_unit(core.catalog, sensor.miv_url, sensor.rules.unit)
    return replace(sensor, rules=sensor.rules.among(plausible))


async def store_readings(
    core: Core, key: SensorKey, sensor: Sensor, readings: Sequence[Reading], now_ms: int, upload_key: str | None = None
) -> Outcome:
    """The outcome of `readings`, which ascend; `sensor` was just loaded. An `upload_key` is noted with its readings.

    Raises Problem 404 or 409, LimitsAdded.
    """
    if upload_key is None and (appended := await _append(core, key, sensor, readings, now_ms)) is not None:
        return appended
    merge = partial(
        merge_readings,
        core.pool,
        sensor,
        readings,
        now_ms,
        _delay_ms(core, sensor),
        upload_key=upload_key,
        steered_ms=core.steered_ms,
    )
    return await _by_itself(core, key, merge)


async def _append(
    core: Core, key: SensorKey, sensor: Sensor, readings: Sequence[Reading], now_ms: int
) -> Outcome | None:
    """None unless all readings are new and at the end of the series, which is nearly always so."""
    if not readings:
        return Outcome()
    async with core.writers.one(sensor.patient_id):
        after = await append_together(core.pool, sensor, readings, now_ms, core.steered_ms)
    if after is None:
        return None
    core.sensors.put(key, after)
    return Outcome(accepted=set(readings))


async def _correct(
    core: Core, key: SensorKey, sensor: Sensor, found: Iterable[Reading | Rejection], upload_key: str | None
) -> Outcome:
    """Let the readings replace others; of two for one instant, the later item counts. Raises as above."""
    readings = [one for one in found if not isinstance(one, Rejection)]
    newest = dict(readings)
    if not newest:
        return Outcome()
    delay_ms, corrections = _delay_ms(core, sensor), sorted(newest.items())
    correct = partial(correct_readings, core.pool, sensor, corrections, core.steered_ms, delay_ms, upload_key)
    outcome = await _by_itself(core, key, correct)
    outcome.superseded.update(reading for reading in readings if newest[reading[0]] != reading[1])
    return outcome


async def _by_itself(core: Core, key: SensorKey, write: Callable[[], Awaitable[Outcome | None]]) -> Outcome:
    """The outcome of `write` for readings that cannot simply be appended. Raises Problem 404 or 409."""
    core.sensors.forget(key)
    try:
        async with core.writers.one(key.patient_id):
            outcome = await write()
    except UploadDeleted:
        raise conflict("This upload was deleted; use a new key", "deleted") from None
    if outcome is None:
        raise not_found("sensor")
    return outcome


def _delay_ms(core: Core, sensor: Sensor) -> int:
    return core.catalog.delay_ms(sensor.miv_url)


async def post_complete(core: Core, key: SensorKey, body: Any) -> tuple[int, dict[str, Any]]:
    """Note that everything measured up to `until` has been sent, so that chunks up to then become final (SER-007).

    Returns the latest instant noted so far. Raises Problem 404, 409, 422.
    """
    fields = Fields(body)
    latest_ms = core.clock() + core.settings.gateway_future_seconds * 1000
    until_ms = fields.need("until", lambda name: fields.instant(name, latest_ms))
    fields.done()
    sensor = await load_series(core, key)
    async with core.writers.one(key.patient_id):
        noted = await complete_until(core.pool, sensor, until_ms, _delay_ms(core, sensor), core.steered_ms)
    if noted is None:
        raise not_found("sensor")
    return 200, {"until": date_time(noted)}


async def delete_upload(core: Core, key: SensorKey, upload_key: str) -> tuple[int, None]:
    """Take back the readings of an upload made in error; repeating it changes nothing. Raises Problem 404 or 409."""
    sensor = await load_series(core, key)
    async with writing(core, key.patient_id) as (conn, now):
        found = await take_back(conn, key.patient_id, sensor.sensor_no, upload_key, now, _delay_ms(core, sensor))
    if not found:
        raise not_found("upload")
    return 204, None
