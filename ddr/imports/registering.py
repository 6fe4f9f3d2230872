"""Which device and sensor of the recorder a file's values belong to, and registering missing ones. No I/O.

What an app has registered is never changed: otherwise its start would no longer be the app's. Values from before that
start belong to the import's own registration, which ends where the app's begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import median_low
from typing import Any

from ddr.durations import MINUTE_MS
from ddr.imports.calls import KEY, Answer, Call, Json, as_json, checked, instant, milliseconds
from ddr.imports.makers import USUAL_LIMITS, maker_of
from ddr.imports.model import ImportFile, Source, Value

_PERIODS = tuple(minutes * MINUTE_MS for minutes in (1, 2, 3, 4, 5, 6, 10, 15, 20, 30, 60))
# There is no room for more: the recorder stores up to 32766 times the smallest digit, and a sensor in mg/dL measures up
# to 400 or 500.
_MOST_DECIMALS = {"mg/dL": 1, "mmol/L": 2}
_DEVICE = ("name", "manufacturer", "modelNumber", "type", "expirationDate", "definition", "replaces")


def device_key(source: Source) -> str:
    """A key of the gateway API for a device that only a file knows, different for each maker and serial number."""
    text = "\n".join((source.manufacturer, source.serial) if source.serial else (source.manufacturer, source.name, ""))
    return KEY + hashlib.sha256(text.encode()).hexdigest()[:24]


def find_own(known: Iterable[Json], source: Source) -> Json | None:
    """What an import has registered for this source, or for its serial number under another name of the maker."""
    devices = [device for device in known if is_own(device)]
    named = next((device for device in devices if device["key"] == device_key(source)), None)
    return named or next((device for device in devices if _has_serial(device, source)), None)


def all_of_app(known: Iterable[Json], source: Source) -> list[Json]:
    """The devices with this serial number and maker that apps have registered, the latest active one first.

    A reinstalled app may have registered it under a second key, and the sensors of one transmitter may have its number
    one after another.
    """
    devices = [device for device in known if not is_own(device) and _has_serial(device, source)]
    devices.reverse()
    return sorted(devices, key=lambda device: device["endedAt"] is not None)


def _has_serial(device: Json, source: Source) -> bool:
    """True for a device with the serial number of `source`, if both have the same maker or a maker is unknown."""
    maker = maker_of(f"{source.manufacturer} {source.name}")
    same = (device["serialNumber"] or "").strip().casefold() == source.serial.strip().casefold()
    return bool(source.serial) and same and maker_of(f"{device['manufacturer']} {device['name']}", maker) is maker


def own_device(own: Json | None, source: Source, first_ms: int) -> Generator[Call, Answer, Json]:
    """The import's own device, registered or with its start moved back to `first_ms`. Raises Refused."""
    if own is None:
        body = {
            "serialNumber": source.serial or None,
            "name": source.name,
            "manufacturer": source.manufacturer,
            "type": source.type,
            "startedAt": instant(first_ms),
        }
        registered: Json = checked((yield Call("PUT", f"devices/{device_key(source)}", body)))
        return registered
    if milliseconds(own["startedAt"]) <= first_ms:
        return own
    moved = yield Call("PUT", f"devices/{own['key']}", _facts(own) | {"startedAt": instant(first_ms)})
    return moved.body if moved.status == 200 else own


def end_own(own: Json, end_ms: int) -> Generator[Call, Answer, None]:
    """Let the import's own device end where the app's begins. It stays as it is if it has ended, or has later
    values."""
    if own["endedAt"] is None:
        yield Call("PUT", f"devices/{own['key']}", _facts(own) | {"endedAt": instant(end_ms)})


def _facts(device: Json) -> dict[str, Any]:
    given = {name: device[name] for name in _DEVICE if device.get(name) is not None}
    return given | {"serialNumber": device["serialNumber"]}


def is_own(registered: Json) -> bool:
    """True for a device or sensor that an import registered: no app sends to it."""
    return str(registered["key"]).startswith(KEY)


def own_sensor(
    path: str, sensor: Json | None, file: ImportFile, source: Source, values: Sequence[Value]
) -> Generator[Call, Answer, Json]:
    """The sensor for these ascending values: registered, or with its start moved back and missing limits added.

    An app's sensor stays as it is, as does one that the recorder refuses to change; it then refuses the early values.
    """
    limits = None if sensor is not None and sensor["limits"] else _limits(file, source, values)
    if sensor is None:
        start_ms, period, decimals = values[0].time_ms, period_ms(values, source), _decimals(values, limits or ())
    else:
        start_ms, period, decimals = milliseconds(sensor["startedAt"]), sensor["samplingPeriodMs"], sensor["decimals"]
        if not is_own(sensor) or (start_ms <= values[0].time_ms and limits is None):
            return sensor
    body: dict[str, Any] = {
        "code": values[0].code,
        "unit": values[0].unit,
        "samplingPeriodMs": period,
        "decimals": decimals,
        "startedAt": instant(min(start_ms, values[0].time_ms)),
    }
    if limits is not None:
        lower, upper = (rounded(limit, decimals) for limit in limits)
        body["limits"] = {"lower": as_json(lower), "upper": as_json(upper)}
    elif sensor is not None and sensor["limits"]:
        body["limits"] = sensor["limits"]  # otherwise they would be refused, and with them the earlier start
    answer = yield Call("PUT", f"{path}/{KEY}{values[0].code}", body)
    if sensor is not None and answer.status >= 400:
        return sensor
    found: Json = checked(answer)
    return found


def _limits(file: ImportFile, source: Source, values: Sequence[Value]) -> tuple[Decimal, Decimal] | None:
    """The limits stated in the file; usual ones if it contains L or U, which need limits; else None."""
    stated = file.limits.get(source, {}).get(values[0].unit)
    if stated is None and any(not isinstance(one.value, Decimal) for one in values):
        return _usual_limits(values)
    return stated


def _usual_limits(values: Sequence[Value]) -> tuple[Decimal, Decimal]:
    """What L and U refer to if nothing says so: a sensor that shows 450 measures beyond 400."""
    lower, upper = USUAL_LIMITS[values[0].unit]
    numbers = [one.value for one in values if isinstance(one.value, Decimal)]
    return min(lower, *numbers, upper), max(upper, *numbers, lower)


def _decimals(values: Sequence[Value], limits: Sequence[Decimal]) -> int:
    numbers = [one.value for one in values if isinstance(one.value, Decimal)]
    numbers += [limit.normalize() for limit in limits]  # 40.0 is 40; values are as precise as written
    digits = max((-int(number.as_tuple().exponent) for number in numbers), default=0)
    return min(_MOST_DECIMALS[values[0].unit], max(digits, 1 if values[0].unit == "mmol/L" else 0))


def rounded(value: Decimal, decimals: int) -> Decimal:
    """A number with the sensor's decimals: programs that convert or average write more than was measured."""
    return value if value == round(value, decimals) else round(value, decimals)


def period_ms(values: Sequence[Value], source: Source) -> int:
    """The sampling period of a sensor's values: the most frequent interval, rounded to usual minutes; the maker's own
    when there are too few."""
    times = sorted({value.time_ms for value in values})
    steps = [after - before for before, after in pairwise(times) if after - before <= 65 * MINUTE_MS]
    if len(steps) < 2:
        return maker_of(f"{source.manufacturer} {source.name}").period_ms
    usual = median_low(steps)
    return min(_PERIODS, key=lambda period: abs(period - usual))
