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
    given,
    measured,
    plain,
    unit_of,
    unknown,
)
from ddr.gateway.door.entries import MAX_NAMES, Entry, identifier_keys, make_key, reference
from ddr.gateway.door.sampled import Samples, failed, sampled, single
from ddr.gateway.fields import Fields
from ddr.gateway.problem import Problem, invalid
from ddr.miv.model import Miv, MivCatalog, MivCode

MAX_PARTS = 50
SERIES_STATUSES = ("preliminary", "final", "amended", "corrected")  # readings are taken back by DELETE …/uploads/{key}


@dataclass(frozen=True)
class Observed:
    """An Observation. `samples` for a series, `body` of a dedicated measurement without the names of other things."""

    entry: Entry
    miv: Miv
    code: MivCode
    device: str | None
    earliest_ms: int
    period: str
    unit: str | None
    samples: Samples | None
    body: Json
    derived_from: Sequence[str]
    passed_over: Sequence[Problem]  # the components that are not kept

    @property
    def corrects(self) -> bool:
        """Whether it is another value of something sent before, and does not say of what."""
        return not self._named and self.body.get("status") in {"corrected", "amended"}

    def key(self, device_key: str | None) -> str:
        """The measurement's key: after its first identifier, else after code, device, time and value.

        A meter's clock may know minutes only, so that two measurements of one time are not one corrected.
        """
        parts = (self.code.system, self.code.code, device_key or "", self.period, *_values(self.body))
        return self._named[0] if self._named else make_key("Observation", *parts)

    @property
    def other_keys(self) -> tuple[str, ...]:
        """The keys after its other identifiers: under one of them it may have come before."""
        return tuple(self._named[1:MAX_NAMES])

    @cached_property
    def _named(self) -> list[str]:
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
    """Whether this is a coincident time stamp, by which the PHD guide documents clocks."""
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
    if miv.continuous:
        samples = _samples(fields, data, quantity, unit or code.unit, latest_ms)
        body: Json = {}
    else:
        samples, body = None, _measurement(fields, code, quantity, components, effective)
    component_unit = next((unit_of(part.object("valueQuantity")) for part in components), None)
    device, period = reference(fields, "device"), f"{start_ms}/{end_ms}"
    unit = unit or component_unit
    return Observed(entry, miv, code, device, start_ms, period, unit, samples, body, derived, passed_over)


def _check_choices(fields: Fields) -> None:
    """One time, one value or the reason why there is none: of two, readers take different ones.

    FHIR R4 formats.html#choice, observation.html (obs-6). Raises Problem 422.
    """
    for name in ("effective", "value"):
        found = sorted(member for member, value in fields.data.items() if member.startswith(name) and value is not None)
        if len(found) > 1:
            raise invalid(fields.at(f"{name}[x]"), f"must be one of {', '.join(found)}")
        if name == "value" and found and fields.data.get("dataAbsentReason") is not None:
            raise invalid(fields.at("dataAbsentReason"), f"must not stand beside {found[0]}")


def _of_panel(components: Sequence[Fields], code: MivCode) -> tuple[list[Fields], list[Problem]]:
    """The components that the code has, and a warning for each other one (pulse, body position)."""
    known = {part.code for part in code.components}
    kept = [part for part in components if component_code(part) in known]
    others = [part for part in components if component_code(part) not in known]
    return kept, [not_kept(f"{part.where}, {component_code(part) or 'without LOINC code'},") for part in others]


def _effective(fields: Fields, validity: bool) -> tuple[Any, int, int | None]:
    """What the JSON API calls `effective`, and its bounds. Only a reference value holds for a period (LF-011)."""
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
        **_value(fields, quantity),
        "components": [_component(part) for part in components] or None,
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
    reasons = codings(fields.object("dataAbsentReason"))
    return given({"dataAbsentReason": next((code for system, code in reasons if system == ABSENT), None)})


def _component(part: Fields) -> Json:
    _check_choices(part)
    return given({"code": component_code(part), **_value(part, part.object("valueQuantity"))})
