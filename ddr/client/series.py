"""From Observations to readings: SampledData of HDDT as times and values, single values and components. Pure.

FHIR R4 datatypes.html#SampledData, HDDT measurement-cgm.md. A chunk's sample i stands for start + i · period; the exact
time may be up to half a period earlier or later, and the chunk does not contain it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ddr.client.errors import ODD, Unreadable
from ddr.client.instants import instant
from ddr.client.pull import keys_of

Json = Mapping[str, Any]
MISSING = "E"
BEYOND = ("L", "U")
SIGNS = {"<": "L", "<=": "L", ">": "U", ">=": "U"}
MG_PER_MMOL = Decimal("18.0156")  # mg/dL in 1 mmol/L: glucose has 180.156 g/mol
GLUCOSE = ("mg/dL", "mmol/L")
# The unit of each code of glucose: a value in another one must not be used (HDDT measurement-cgm.md).
UNITS = {
    **dict.fromkeys(("99504-3", "2339-0", "2345-7", "41653-7"), "mg/dL"),
    **dict.fromkeys(("105272-9", "15074-8", "14749-6", "14743-9"), "mmol/L"),
}
SYSTEMS = ("http://loinc.org", "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-temporary-codes")
MOST_DIGITS = 30  # of a number, before or after the decimal point; longer ones are invalid


@dataclass(frozen=True)
class Reading:
    """One value. `value` is None for L and U, where `limit` is the bound that it lies below or above; `final` is False
    while the chunk may still grow. `code` is that of the Observation or of its component."""

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
    version: str = ""
    status: str = ""

    def within(self, unit: str) -> Reading:
        """The same reading in mg/dL or mmol/L; unchanged if it is not glucose or has this unit. Only a division
        rounds."""
        if unit == self.unit or unit not in GLUCOSE or self.unit not in GLUCOSE:
            return self
        value, limit = (_converted(one, unit) for one in (self.value, self.limit))
        return replace(self, value=value, limit=limit, unit=unit)


@dataclass(frozen=True)
class Expected:
    """A span in which values are expected and none has arrived (`temp-unknown`); `end` is its last second."""

    start: datetime
    end: datetime
    code: str
    observation_id: str
    serial: str | None


def readings(observations: Iterable[Json], related: Mapping[str, Json]) -> Iterator[Reading]:
    """The readings of chunks, single measurements and their components, in order of time.

    `related` are Device and DeviceMetric by `<Type>/<id>`. Chunks entered in error and those without values give none.
    Raises Unreadable.
    """
    found = [reading for one in observations for reading in readings_of(one, related)]
    yield from sorted(found, key=lambda reading: reading.time)


def readings_of(observation: Json, related: Mapping[str, Json]) -> Iterator[Reading]:
    """The readings of one Observation, all of them or none. Raises Unreadable."""
    try:
        yield from list(_readings(observation, related))
    except ODD:
        raise _unreadable(observation) from None


def _readings(observation: Json, related: Mapping[str, Json]) -> Iterator[Reading]:
    if observation.get("status") in ("entered-in-error", "cancelled"):
        return
    about = _about(observation, related)
    start = _start(observation)
    if start is None:
        return
    if (data := observation.get("valueSampledData")) is not None:
        yield from _samples(data, start, about)
    elif (quantity := observation.get("valueQuantity")) is not None:
        yield from _single(quantity, start, about)
    for component in observation.get("component") or ():
        part = {**about, "code": code_of(component)}
        if (quantity := component.get("valueQuantity")) is not None:
            yield from _single(quantity, start, part)
        elif (data := component.get("valueSampledData")) is not None:
            yield from _samples(data, start, part)


def expected_of(observation: Json, related: Mapping[str, Json]) -> Expected | None:
    """The span in which nothing has arrived yet, if the Observation says so. Raises Unreadable."""
    try:
        return _expected(observation, related)
    except ODD:
        raise _unreadable(observation) from None


def _unreadable(observation: Json) -> Unreadable:
    return Unreadable(str(observation.get("id", "")))


def _expected(observation: Json, related: Mapping[str, Json]) -> Expected | None:
    codings = (observation.get("dataAbsentReason") or {}).get("coding") or ()
    period, start = observation.get("effectivePeriod") or {}, _start(observation)
    if start is None or not any(one.get("code") == "temp-unknown" for one in codings):
        return None
    end = instant(period["end"]) if period.get("end") else start
    serial, _ = _device(observation, related)
    return Expected(start, end, code_of(observation), str(observation.get("id", "")), serial)


def code_of(element: Json) -> str:
    """HDDT's code of an Observation or component; its first code if it has none of HDDT's."""
    codings = (element.get("code") or {}).get("coding") or [{}]
    return str(next((one for one in codings if one.get("system") in SYSTEMS), codings[0]).get("code", ""))


def _about(observation: Json, related: Mapping[str, Json]) -> dict[str, Any]:
    serial, calibration = _device(observation, related)
    status = str(observation.get("status", ""))
    return {
        "code": code_of(observation),
        "observation_id": str(observation.get("id", "")),
        "final": status not in ("preliminary", "registered"),
        "serial": serial,
        "calibration": calibration,
        "version": str((observation.get("meta") or {}).get("versionId", "")),
        "status": status,
    }


def _start(observation: Json) -> datetime | None:
    period = observation.get("effectivePeriod") or {}
    text = period.get("start") or observation.get("effectiveDateTime") or observation.get("effectiveInstant")
    return instant(text) if text else None


def _single(quantity: Json, time: datetime, about: dict[str, Any]) -> Iterator[Reading]:
    if quantity.get("value") is None:
        return
    sign, amount = SIGNS.get(quantity.get("comparator", ""), ""), _decimal(quantity["value"])
    value, limit = (None, amount) if sign else (amount, None)
    yield Reading(time, value, sign, limit, _unit(quantity, about["code"]), **about)


def _samples(data: Json, start: datetime, about: dict[str, Any]) -> Iterator[Reading]:
    origin, factor = _decimal(data["origin"].get("value", 0)), _decimal(data.get("factor", 1))
    unit = _unit(data["origin"], about["code"])
    period = timedelta(milliseconds=float(data["period"]))
    if period <= timedelta() or data.get("dimensions", 1) != 1:
        raise ValueError("period or dimensions do not determine the times")
    limits = {
        "L": _decimal(data["lowerLimit"]) if "lowerLimit" in data else None,
        "U": _decimal(data["upperLimit"]) if "upperLimit" in data else None,
    }
    for place, token in enumerate(str(data.get("data", "")).split()):
        if token == MISSING:
            continue
        time = start + place * period
        if token in BEYOND:
            yield Reading(time, None, token, limits[token], unit, **about)
        else:
            yield Reading(time, origin + factor * _decimal(token), "", None, unit, **about)


def _device(observation: Json, related: Mapping[str, Json]) -> tuple[str | None, str | None]:
    """Serial number of the device and calibration state of its metric, as far as known."""
    contained = {f"#{one.get('id')}": one for one in observation.get("contained") or ()}
    found = _resolved(observation.get("device"), contained, related)
    calibration = None
    if found.get("resourceType") == "DeviceMetric":
        states = found.get("calibration") or [{}]
        calibration = states[0].get("state")
        own = {f"#{one.get('id')}": one for one in found.get("contained") or ()}
        found = _resolved(found.get("source"), {**contained, **own}, related)
    return _text(found.get("serialNumber")), _text(calibration)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _resolved(reference: Any, contained: Mapping[str, Json], related: Mapping[str, Json]) -> Json:
    """The target of a contained, relative, absolute or versioned reference."""
    text = str((reference or {}).get("reference") or "")
    if text.startswith("#"):
        return contained.get(text, {})
    return next((related[key] for key in keys_of(text) if key in related), {})


def _unit(quantity: Json, code: str) -> str:
    found = str(quantity.get("code") or quantity.get("unit") or "")
    if code in UNITS and found.casefold() != UNITS[code].casefold():
        raise ValueError("the unit does not belong to the code")
    return found


def _converted(value: Decimal | None, unit: str) -> Decimal | None:
    if value is None:
        return None
    return value * MG_PER_MMOL if unit == "mg/dL" else value / MG_PER_MMOL


def _decimal(value: Any) -> Decimal:
    text = str(value)
    found = Decimal(text)
    if not found.is_finite() or abs(found.adjusted()) > MOST_DIGITS or "_" in text:
        raise ValueError("not a FHIR decimal")
    return found
