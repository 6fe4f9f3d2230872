"""What happens to a device that another one replaces (HDDT retrieving-data.md, Overlapping Device Resources; SER-018).

`keep`: both are active until the gateway ends the old one. `end`: the old one ends when the new one starts.
`end-when-calibrated`: the old one ends when the first continuous sensor of the new one is calibrated, and what a sensor
measured before it was calibrated is never shown to DiGA. No end comes before the last stored value or calibration,
because nothing is ever lost. A device that is registered a second time, under another key with the same serial number,
cannot overlap with itself: it ends when the second registration takes it over, whatever the setting. If a device that
replaces another one is never shown (because it failed before it was calibrated, or was registered anew), its successor
replaces that other one.
"""

from __future__ import annotations

import asyncpg

from ddr.gateway.problem import invalid
from ddr.gateway.writing import end_device
from ddr.http.core import Core
from ddr.imports.calls import KEY
from ddr.imports.model import Source
from ddr.imports.registering import find_own
from ddr.series.calibration import first_calibrated
from ddr.store.database.pool import Row
from ddr.store.devices import devices as store
from ddr.store.devices import starts
from ddr.store.series import calibrations


async def take_over(core: Core, conn: asyncpg.Connection, new: Row, now_ms: int) -> None:
    """Check what a device replaces, and end that with `end`, or when it is the same device. Raises Problem 422.

    When the replacement is stated late, sensors are already registered, shown and perhaps calibrated.
    """
    before = await _replaced(core, conn, new)
    if not before:
        raise invalid("replaces", "is not the key of another registered device", "unknown-device")
    at_once = core.settings.overlap_of(new["type_code"]) == "end"
    for old in before:
        if at_once or _same(old, new):
            await _end(core, conn, old, new["started_ms"], now_ms)
    if at_once:
        return
    for sensor in await store.sensor_states(conn, new["patient_id"], new["device_key"]):
        await show(core, conn, new, sensor, now_ms)


async def withhold(core: Core, conn: asyncpg.Connection, device: Row, sensor: Row, now_ms: int) -> None:
    """With `end-when-calibrated`, show a newly registered sensor of `device` only once it is calibrated.

    Without an overlap, and without a continuous sensor, there is nothing to withhold.
    """
    if not sensor["continuous"] or not _ends_when_calibrated(core, device):
        return
    before = await _replaced(core, conn, device)
    if any(old["ended_ms"] is None or old["ended_ms"] > sensor["started_ms"] for old in before):
        await calibrations.withhold(conn, sensor["patient_id"], sensor["sensor_no"])
        await show(core, conn, device, {**sensor, "shown_from_ms": calibrations.NOT_YET}, now_ms)


async def show(core: Core, conn: asyncpg.Connection, device: Row, sensor: Row, now_ms: int) -> None:
    """Show a withheld sensor of `device` from its first calibrated instant on, and end the replaced device then.

    An event that becomes known late can only make that instant earlier, never later. The end of the replaced device
    follows, unless the gateway gave it. A sensor that was registered without calibration needs none.
    """
    shown_from_ms: int | None = sensor["shown_from_ms"]  # None: it was never withheld
    if not sensor["continuous"] or (shown_from_ms is None and not _ends_when_calibrated(core, device)):
        return
    first_ms: int | None = sensor["started_ms"]
    if sensor["calibrated_device"]:
        events = await calibrations.events_of(conn, sensor["patient_id"], sensor["sensor_no"])
        first_ms = first_calibrated([calibrations.registered(sensor), *events])
    if first_ms is None or (shown_from_ms is not None and first_ms > shown_from_ms):
        return
    if shown_from_ms is not None and first_ms < shown_from_ms:
        await calibrations.show_from(conn, sensor, first_ms, now_ms)
    for old in await _replaced(core, conn, device):
        await _end(core, conn, old, first_ms, now_ms)
        await store.let_end_follow(conn, old)


async def end_import(core: Core, conn: asyncpg.Connection, row: Row, now_ms: int) -> None:
    """End the registration that an import made of this device before its app came; nobody else would.

    Its values stay, but where the app sends the same readings, they give way (ddr.store.series.giving_way).
    """
    if row["device_key"].startswith(KEY) or row["serial_number"] is None:
        return
    source = Source(row["manufacturer"], row["device_name"], row["serial_number"], row["type_code"])
    devices = await store.devices_of(conn, row["patient_id"])
    by_key = {other["device_key"]: other for other in devices if other["ended_ms"] is None}
    found = find_own(map(_as_json, by_key.values()), source)
    if found is not None:
        await _end(core, conn, by_key[found["key"]], row["started_ms"], now_ms)


def _as_json(row: Row) -> dict[str, str | None]:
    """The members of a device by which an import finds it (ddr.imports.registering)."""
    return {
        "key": row["device_key"],
        "serialNumber": row["serial_number"],
        "manufacturer": row["manufacturer"],
        "name": row["device_name"],
    }


async def same_device(conn: asyncpg.Connection, row: Row) -> str | None:
    """The key of another device with this serial number that has not ended: probably the same one registered twice."""
    others = await store.devices_of(conn, row["patient_id"])
    return next((o["device_key"] for o in others if o["ended_ms"] is None and _same(o, row)), None)


def _same(one: Row, other: Row) -> bool:
    """True for two registrations of one device, with the same serial number and manufacturer."""
    named = one["serial_number"] is not None and one["device_no"] != other["device_no"]
    return named and all(one[name] == other[name] for name in ("serial_number", "manufacturer"))


def _ends_when_calibrated(core: Core, device: Row) -> bool:
    return core.settings.overlap_of(device["type_code"]) == "end-when-calibrated"


async def _replaced(core: Core, conn: asyncpg.Connection, new: Row) -> list[Row]:
    """The device that `new` replaces, then the one that this replaces, while nothing of a device was ever shown."""
    found: list[Row] = []
    known, key = {new["device_key"]}, new["replaces_key"]
    while key is not None and key not in known:  # keys may form a cycle
        old = await store.find_device(conn, new["patient_id"], key)
        if old is None:
            break
        found.append(old)
        known.add(key)
        key = old["replaces_key"]
        if key is None or not _ends_when_calibrated(core, old) or await _was_shown(conn, old):
            break
    return found


async def _was_shown(conn: asyncpg.Connection, device: Row) -> bool:
    sensors = await store.sensor_states(conn, device["patient_id"], device["device_key"])
    return any(sensor["continuous"] and sensor["shown_from_ms"] != calibrations.NOT_YET for sensor in sensors)


async def _end(core: Core, conn: asyncpg.Connection, old: Row, ended_ms: int, now_ms: int) -> None:
    """End a replaced device, or move its end to an earlier calibration; never before its last value."""
    if old["ended_ms"] is not None and not (old["end_follows"] and ended_ms < old["ended_ms"]):
        return
    sensors = await store.sensor_states(conn, old["patient_id"], old["device_key"])
    last_ms = max((sensor[name] or 0 for sensor in sensors for name in ("stored_ms", "calibrated_ms")), default=0)
    single_ms = await starts.last_measured(conn, old["patient_id"], old["device_no"], core.catalog.references)
    end_ms = max(ended_ms, max(last_ms, single_ms or 0) + 1, old["started_ms"])
    if old["ended_ms"] is None or end_ms < old["ended_ms"]:
        await end_device(core, conn, old, end_ms, now_ms)
