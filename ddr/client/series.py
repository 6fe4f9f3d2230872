"""From chunks to readings: SampledData of HDDT as times and values, with device and calibration state. Pure.

FHIR R4 datatypes.html#SampledData, HDDT measurement-cgm.md. A chunk's sample i stands for start + i · period; the exact
time may be up to half a period away, which the chunk does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

Json = Mapping[str, Any]
MISSING = "E"
BEYOND = ("L", "U")


@dataclass(frozen=True)
class Reading:
    """One value. `value` is None for L and U, whose `limit` says below or above what; `final` is False while more may
    come for this chunk."""

    time: datetime
    value: Decimal | None
    sign: str  # "", "L" or "U"
    limit: Decimal | None
    unit: str
    code: str
    observation_id: str
    final: bool
    serial: str | None
    calibration: str | None


def readings(observations: Iterable[Json], related: Mapping[str, Json]) -> Iterator[Reading]:
    """The readings of chunks and single measurements, in order of time.

    `related` are Device and DeviceMetric by `<Type>/<id>`. Chunks entered in error, and such without values, give none.
    """
    found = [reading for one in observations for reading in readings_of(one, related)]
    yield from sorted(found, key=lambda reading: reading.time)


def readings_of(observation: Json, related: Mapping[str, Json]) -> Iterator[Reading]:
    """The readings of one Observation."""
    if observation.get("status") == "entered-in-error":
        return
    serial, calibration = _device(observation, related)
    code = observation["code"]["coding"][0]["code"]
    final = observation.get("status") != "preliminary"
    about = (code, str(observation.get("id", "")), final, serial, calibration)
    if (data := observation.get("valueSampledData")) is not None:
        start = _time(observation["effectivePeriod"]["start"])
        yield from _samples(data, start, about)
    elif (quantity := observation.get("valueQuantity")) is not None:
        sign = {"<": "L", ">": "U"}.get(quantity.get("comparator", ""), "")
        amount = _decimal(quantity["value"])
        unit = quantity.get("code") or quantity.get("unit", "")
        value, limit = (None, amount) if sign else (amount, None)
        yield Reading(_time(observation["effectiveDateTime"]), value, sign, limit, unit, *about)


def _samples(data: Json, start: datetime, about: tuple[str, str, bool, str | None, str | None]) -> Iterator[Reading]:
    origin, factor = _decimal(data["origin"].get("value", 0)), _decimal(data.get("factor", 1))
    unit = data["origin"].get("code") or data["origin"].get("unit", "")
    period = timedelta(milliseconds=float(data["period"]))
    limits = {
        "L": _decimal(data["lowerLimit"]) if "lowerLimit" in data else None,
        "U": _decimal(data["upperLimit"]) if "upperLimit" in data else None,
    }
    for place, token in enumerate(str(data.get("data", "")).split()):
        if token == MISSING:
            continue
        time = start + place * period
        if token in BEYOND:
            yield Reading(time, None, token, limits[token], unit, *about)
        else:
            yield Reading(time, origin + factor * Decimal(token), "", None, unit, *about)


def _device(observation: Json, related: Mapping[str, Json]) -> tuple[str | None, str | None]:
    """Serial number of the device and calibration state of its metric, as far as they are known."""
    found = related.get(_key(observation.get("device")), {})
    calibration = None
    if found.get("resourceType") == "DeviceMetric":
        states = found.get("calibration") or [{}]
        calibration = states[0].get("state")
        found = related.get(_key(found.get("source")), {})
    return found.get("serialNumber"), calibration


def _key(reference: Any) -> str:
    """`<Type>/<id>` of a relative or absolute reference."""
    return "/".join(str((reference or {}).get("reference", "")).split("/")[-2:])


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
