"""Observation of the PHD guide as a measurement or as readings of a series. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from ddr.fhir.instants import date_time
from ddr.fhir.references import ABSENT
from ddr.gateway.door.answers import not_kept
from ddr.gateway.door.codes import (
    TIME_STAMPS,
    Json,
    codings,
    component_code,
    concept,
    measured,
    plain,
    unit_of,
    unknown,
)
from ddr.gateway.door.entries import MAX_NAMES, Entry, identifier_keys, make_key, reference
from ddr.gateway.door.sampled import Samples, failed, sampled, single
from ddr.gateway.fields import Fields, given
from ddr.gateway.problem import Problem, invalid
from ddr.miv.model import Miv, MivCatalog, MivCode

MAX_PARTS = 50
CORRECTED = "corrected"
# The broader kinds of FHIR's reasons for absent values (CodeSystem data-absent-reason); the JSON API has no finer ones.
_KINDS_OF_ABSENCE = {
    **dict.fromkeys(("not-a-number", "negative-infinity", "positive-infinity"), "error"),
    **dict.fromkeys(("asked-unknown", "temp-unknown", "not-asked", "asked-declined"), "unknown"),
}
SERIES_STATUSES = ("preliminary", "final", "amended", "corrected")  # readings are taken back by DELETE …/uploads/{key}


@dataclass(frozen=True)
class Observed:
    """An Observation, with `samples` of a series or the `body` of a dedicated measurement for the JSON API."""

    entry: Entry
    miv: Miv
    code: MivCode
    device: str | None  # a reference
    earliest_ms: int
    time: str  # as part of a key: first and last millisecond
    other_times: Sequence[str]  # the same, written differently
    unit: str | None
    samples: Samples | None
    body: Json  # without keys of devices, sensors and other measurements
    derived_from: Sequence[str]  # references
    passed_over: Sequence[Problem]  # the components that are not kept

    @property
    def corrects(self) -> bool:
        """Whether it is another value of something sent before, without saying of what."""
        return not self._identifiers and self.body.get("status") in {CORRECTED, "amended"}

    @property
    def corrects_readings(self) -> bool:
        """Whether its readings replace others of the same instants."""
        return self.samples is not None and self.entry.fields.text("status") == CORRECTED

    def key(self, device_key: str | None) -> str:
        """The measurement's key: from its first identifier, else from code, device, time and value.

        A meter's clock may only have minutes, so two measurements of one time are not one that was corrected.
        """
        return self._identifiers[0] if self._identifiers else self._made_key(device_key, self.time)

    def other_keys(self, device_key: str | None) -> tuple[str, ...]:
        """Keys under which it may have come before: from its other identifiers, or with its time written differently.

        10:00:00Z and 10:00:00.000Z are the same time, which versions of an app may write differently.
        """
        if self._identifiers:
            return tuple(self._identifiers[1:MAX_NAMES])
        return tuple(self._made_key(device_key, time) for time in self.other_times)

    def _made_key(self, device_key: str | None, time: str) -> str:
        return make_key("Observation", self.code.system, self.code.code, device_key or "", time, *_values(self.body))

    @cached_property
    def _identifiers(self) -> list[str]:
        return identifier_keys("Observation", self.entry.fields)


def _values(body: Json) -> list[str]:
    """The values of a measurement and its components as texts; numbers without trailing zeros."""
    found = []
    for part in (body, *sorted(body.get("components", ()), key=lambda part: str(part.get("code")))):
        value = part.get("value")
        numeric = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        number = Decimal(str(value)).normalize() if numeric else value
        found.append(
            "\t".join([str(number), *(str(part.get(name)) for name in ("code", "comparator", "dataAbsentReason"))])
        )
    return [*found, str(body.get("method"))]


def is_time_stamp(fields: Fields) -> bool:
    """Whether this is a coincident time stamp, by which clocks are documented in the PHD guide."""
    return not TIME_STAMPS.isdisjoint(codings(fields.object("code")))


def read_observation(entry: Entry, catalog: MivCatalog, latest_ms: int) -> Observed:
    """The Observation. Raises Problem: 422, and 200 for one of no supported MIV."""
    fields = entry.fields
    _check_choices(fields)
    quantity, components = fields.object("valueQuantity"), fields.objects("component", MAX_PARTS) or []
    data = fields.object("valueSampledData")
    unit = unit_of(quantity or (data and data.object("origin")))
    found_codings = codings(fields.need("code", fields.object))
    found = measured(catalog, found_codings, unit)
    if found is None:
        raise unknown(catalog, found_codings, unit)
    miv, code = found
    components, passed_over = _of_panel(components, code)
    effective, start_ms, end_ms = _effective(fields, validity=code.kind == "reference")
    derived = [text for entry in fields.objects("derivedFrom", MAX_PARTS) or () if (text := entry.text("reference"))]
    samples, body = None, Json()
    if miv.continuous:
        samples = _samples(fields, data, quantity, unit or code.unit, latest_ms)
    else:
        body = _measurement(fields, code, quantity, components, effective)
    component_unit = next((unit_of(part.object("valueQuantity")) for part in components), None)
    return Observed(
        entry=entry,
        miv=miv,
        code=code,
        device=reference(fields, "device"),
        earliest_ms=start_ms,
        time=f"{start_ms}/{end_ms}",
        other_times=_other_times(start_ms, end_ms),
        unit=unit or component_unit,
        samples=samples,
        body=body,
        derived_from=derived,
        passed_over=passed_over,
    )


def _other_times(start_ms: int, end_ms: int | None) -> list[str]:
    """The time in a key as it would be if its whole second had been written with milliseconds, or without."""
    second = start_ms + 999
    others = {start_ms: second, second: start_ms} if start_ms % 1000 == 0 else {}
    return [f"{start_ms}/{others[end_ms]}"] if end_ms in others else []


def _check_choices(fields: Fields) -> None:
    """There must be one time, and one value or one reason why there is none: of two, parsers take different ones.

    FHIR R4 formats.html#choice, observation.html (obs-6). Raises Problem 422.
    """
    for name in ("effective", "value"):
        found = sorted(member for member, value in fields.data.items() if member.startswith(name) and value is not None)
        if len(found) > 1:
            raise invalid(fields.at(f"{name}[x]"), f"must be only one of {', '.join(found)}")
        if name == "value" and found and fields.data.get("dataAbsentReason") is not None:
            raise invalid(fields.at("dataAbsentReason"), f"must not be given together with {found[0]}")


def _of_panel(components: Sequence[Fields], code: MivCode) -> tuple[list[Fields], list[Problem]]:
    """The components that the code has, and a warning for each other one (pulse, body position).

    Raises Problem 422 for a component that belongs to the code but has a wrong system.
    """
    known = {part.code for part in code.components}
    for part in components:
        if component_code(part) not in known and any(name in known for _, name in codings(part.object("code"))):
            raise invalid(part.at("code"), "is a code of the panel but has another system", "unknown-code")
    kept = [part for part in components if component_code(part) in known]
    others = [part for part in components if component_code(part) not in known]
    return kept, [not_kept(f"{part.where}, {component_code(part) or 'without LOINC code'},") for part in others]


def _effective(fields: Fields, validity: bool) -> tuple[Any, int, int | None]:
    """What the JSON API calls `effective`, and its bounds. Only a reference value is valid for a period (LF-011)."""
    moment = fields.date_time("effectiveDateTime") or fields.date_time("effectiveInstant")
    if moment is not None:
        return ({"start": moment[0]} if validity else moment[0]), moment[1], moment[2]
    period = fields.need("effectivePeriod", fields.object)
    start, end = period.need("start", period.date_time), period.date_time("end")
    text = given({"start": start[0], "end": end and end[0]}) if validity else start[0]
    return text, start[1], end and end[2]


def _samples(fields: Fields, data: Fields | None, quantity: Fields | None, unit: str | None, latest_ms: int) -> Samples:
    """The readings of an Observation with a continuous code: a sequence, or a single one."""
    fields.need("status", lambda name: fields.choice(name, SERIES_STATUSES))
    start_ms = _start(fields, latest_ms)
    if data is not None:
        return sampled(data, unit, start_ms)
    if quantity is not None:
        return single(plain(quantity.raw("value")), quantity.text("comparator"), unit, date_time(start_ms))
    if fields.object("dataAbsentReason") is not None:
        return failed(unit, date_time(start_ms))
    raise invalid("valueSampledData", "is required")


def _start(fields: Fields, latest_ms: int) -> int:
    """The instant of the first reading."""
    for name in ("effectiveDateTime", "effectiveInstant"):
        if (found := fields.instant(name, latest_ms)) is not None:
            return found
    period = fields.need("effectivePeriod", fields.object)
    return period.need("start", lambda name: period.instant(name, latest_ms))


def _measurement(
    fields: Fields, code: MivCode, quantity: Fields | None, components: Sequence[Fields], effective: Any
) -> Json:
    notes = [note.note("text") or "" for note in fields.objects("note", MAX_PARTS) or ()]
    found = {
        "codeSystem": code.system,
        "code": code.code,
        "effective": effective,
        **({} if code.components and quantity is None else _value(fields, quantity)),
        "components": _panel(fields, code, components) or None,
        "interpretation": [concept(part) for part in fields.objects("interpretation", MAX_PARTS) or ()] or None,
        "note": "\n".join(notes) or None,
        "method": concept(fields.object("method")),
        "status": fields.need("status", fields.text),
    }
    return given(found)


def _value(fields: Fields, quantity: Fields | None) -> Json:
    if quantity is not None:
        number, comparator = quantity.raw("value"), quantity.text("comparator")
        return given({"value": number, "unit": unit_of(quantity), "comparator": comparator})
    return given({"dataAbsentReason": _absent(fields)})


def _absent(fields: Fields) -> str | None:
    """Why there is no value, as one of the kinds in the JSON API."""
    reasons = codings(fields.object("dataAbsentReason"))
    found = next((code for system, code in reasons if system == ABSENT), None)
    return _KINDS_OF_ABSENCE.get(found or "", found)


def _panel(fields: Fields, code: MivCode, components: Sequence[Fields]) -> list[Json]:
    """The components; they may be missing in a measurement that failed as a whole (PHD guide, Compound Numeric)."""
    found = [_component(part) for part in components]
    reason = _absent(fields) if code.components else None
    if reason is not None:
        there = {part.get("code") for part in found}
        missing = [part.code for part in code.components if part.required and part.code not in there]
        found += [{"code": name, "dataAbsentReason": reason} for name in missing]
    return found


def _component(part: Fields) -> Json:
    _check_choices(part)
    return given({"code": component_code(part), **_value(part, part.object("valueQuantity"))})
