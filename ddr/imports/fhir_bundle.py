"""A FHIR Bundle as a recorder gives it to its patient: Devices, DeviceMetrics and Observations of R4 as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any

from ddr.imports.content import Content
from ddr.imports.labels import is_modified, is_test
from ddr.imports.makers import NOT_STATED, UNNAMED
from ddr.imports.model import (
    CGM,
    CUFF,
    HIGH,
    LOW,
    MMHG,
    PANEL,
    PRESSURES,
    ImportFile,
    Source,
    Value,
    of_one_person,
)
from ddr.imports.numbers import implausible, number
from ddr.imports.table import CODES, UNITS, type_of
from ddr.imports.times import instants

Json = Mapping[str, Any]
_DEAD = ("entered-in-error", "cancelled")
_UNCALIBRATED = frozenset(("not-calibrated", "calibration-required"))  # DeviceMetric.calibration.state
_LOINC = "http://loinc.org"
_FAR = 20  # powers of ten


class _Unfit(Exception):
    """A well-formed Observation without a usable value; the message says why."""


def recognises(content: Content) -> bool:
    """True for a Bundle with Observations."""
    return bool(_entries(content.json, "Observation"))


def read(content: Content, zone: tzinfo) -> ImportFile:
    """The values; FHIR times have a zone, so `zone` is not needed. `line` counts entries."""
    file, bundle = ImportFile("fhir"), content.exact_json
    makers = [entry for _, entry in (*_entries(bundle, "Device"), *_entries(bundle, "DeviceMetric"))]
    named = {_name(entry): entry["resource"] for entry in makers}
    modified = {_name(entry) for entry in makers if is_modified(entry)}
    observations = [(line, entry, entry["resource"]) for line, entry in _entries(bundle, "Observation")]
    of_one_person(_key(one["subject"]) for _, _, one in observations if isinstance(one.get("subject"), dict))
    for line, entry, observation in observations:
        if observation.get("status") in _DEAD or "dataAbsentReason" in observation or is_test(observation):
            file.skipped += 1
            continue
        try:
            if is_modified(entry) or not modified.isdisjoint(_made_with(observation, named)):
                raise _Unfit("the Observation or its device has an unknown modifierExtension")
            code = _code(observation)
            if code is None or _uncalibrated(observation, named):
                file.skipped += 1
            else:
                _take(file, line, observation, code, named)
        except _Unfit as error:
            file.reject(line, str(error))
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError, StopIteration):
            file.reject(line, "this Observation does not have a form that HDDT defines")
    return file


def _uncalibrated(observation: Json, named: Mapping[str, Json]) -> bool:
    """True for values that their own sensor does not trust: an import has no DeviceMetric to say so (OBS-026)."""
    metric = named.get(_key(observation.get("device")), {})
    return not _UNCALIBRATED.isdisjoint(one.get("state") for one in metric.get("calibration", ()))


def _made_with(observation: Json, named: Mapping[str, Json]) -> tuple[str, str]:
    """The names of what it refers to, and, if that is a DeviceMetric, of its device."""
    device = _key(observation.get("device"))
    return device, _key(named.get(device, {}).get("source"))


def _entries(bundle: Any, kind: str) -> list[tuple[int, Json]]:
    """Each entry with a resource of this type, and its number."""
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        return []
    found: list[tuple[int, Json]] = []
    entries = bundle.get("entry")
    for line, entry in enumerate(entries if isinstance(entries, list) else (), 1):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == kind:
            found.append((line, entry))
    return found


def _name(entry: Json) -> str:
    """`<Type>/<id>`."""
    return f"{entry['resource']['resourceType']}/{entry['resource'].get('id')}"


def _code(observation: Json) -> str | None:
    """Its first code that can be imported; None for other measurements (pulse, weight)."""
    codes = [one.get("code") for one in observation["code"]["coding"] if one.get("system") == _LOINC]
    return next((str(code) for code in codes if code == PANEL or code in CODES), None)


def _take(file: ImportFile, line: int, observation: Json, code: str, named: Mapping[str, Json]) -> None:
    if "valueSampledData" in observation:
        _series(file, line, observation, code, named)
        return
    (time_ms,) = instants([observation["effectiveDateTime"]], [""], UTC)
    if time_ms is None:
        raise ValueError("effectiveDateTime")
    if code == PANEL:
        found = {_loinc(part): part["valueQuantity"] for part in observation["component"] if "valueQuantity" in part}
        parts = tuple((name, _measured(found[name], MMHG)) for name in PRESSURES if name in found)
        source = _source(observation, named, CUFF)
        file.values.append(Value(line, time_ms, PANEL, MMHG, None, source, parts))
        return
    quantity = observation["valueQuantity"]
    unit = UNITS.get(quantity["code"].casefold(), quantity["code"])
    source = _source(observation, named, type_of(code, NOT_STATED.type))
    comparator = str(quantity.get("comparator") or "")
    measured = _measured(quantity, unit, ("",) if code in CGM.values() else ("", "<", ">"))
    file.values.append(Value(line, time_ms, code, unit, measured, source, comparator=comparator))


def _measured(quantity: Json, unit: str, comparators: Sequence[str] = ("",)) -> Decimal:
    """The value of a Quantity, which may have one of these comparators. Raises _Unfit."""
    if (quantity.get("comparator") or "") not in comparators:
        raise _Unfit("a single value must be a number")
    told = quantity.get("code") or quantity.get("unit")
    if told and UNITS.get(str(told).casefold(), told) != unit:
        raise _Unfit(f"no value in {unit}")
    value = _amount(quantity["value"])
    if reason := implausible(value, unit):
        raise _Unfit(reason)
    return value


def _loinc(part: Json) -> str:
    found: str = next(one["code"] for one in part["code"]["coding"] if one.get("system") == _LOINC)
    return found


def _series(file: ImportFile, line: int, observation: Json, code: str, named: Mapping[str, Json]) -> None:
    """Token i of SampledData is the value at start + i · period (FHIR R4 datatypes.html#SampledData). All tokens are
    taken or none, except for values that cannot have been measured."""
    data = observation["valueSampledData"]
    (start_ms,) = instants([observation["effectivePeriod"]["start"]], [""], UTC)
    origin, factor = _amount(data["origin"].get("value", 0)), _amount(data.get("factor", 1))
    period = _amount(data["period"])
    unit = UNITS.get(data["origin"]["code"].casefold(), data["origin"]["code"])
    if start_ms is None or period <= 0 or CGM.get(unit) != code:
        raise ValueError("series")
    source, found, unfit = _source(observation, named, NOT_STATED.type), [], []
    for place, token in enumerate(str(data.get("data", "")).split()):
        if token == "E":  # noqa: S105 - SampledData's sign for no value
            continue
        value = token if token in (LOW, HIGH) else origin + factor * _sample(token)
        if isinstance(value, Decimal) and (reason := implausible(value, unit)):
            unfit.append(reason)
        else:
            found.append(Value(line, start_ms + round(place * period), code, unit, value, source))
    if "lowerLimit" in data and "upperLimit" in data:
        file.limit(source, {unit: (_amount(data["lowerLimit"]), _amount(data["upperLimit"]))})
    file.values += found
    for reason in unfit:
        file.reject(line, reason)


def _sample(token: str) -> Decimal:
    found = number(token)
    if found is None:
        raise ValueError("data")
    return found


def _amount(value: Any) -> Decimal:
    """The number. Raises ValueError for one that nobody measures: rounding one with a million zeros takes seconds."""
    found = Decimal(str(value))
    if not found.is_finite() or abs(found.adjusted()) > _FAR:
        raise ValueError("number")
    return found


def _source(observation: Json, named: Mapping[str, Json], otherwise: str) -> Source:
    found = named.get(_key(observation.get("device")), {})
    if found.get("resourceType") == "DeviceMetric":
        found = named.get(_key(found.get("source")), {})
    names = found.get("deviceName") or [{}]
    types = [one.get("code") for one in found.get("type", {}).get("coding", ())]
    kind = str(types[0]) if types else otherwise
    name = str(names[0].get("name") or UNNAMED.get(kind, NOT_STATED.name))
    maker = str(found.get("manufacturer") or NOT_STATED.manufacturer)
    return Source(maker[:100], name[:100], str(found.get("serialNumber") or ""), kind)


def _key(reference: Any) -> str:
    return "/".join(str((reference or {}).get("reference", "")).split("/")[-2:])
