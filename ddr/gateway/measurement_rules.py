"""A dedicated measurement sent by a gateway, checked by the rules of its MIV, as an Observation. Pure.

HDDT measurement-blood-glucose.md, measurement-blood-pressure.md, measurement-lung-function.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from ddr.fhir.instants import parse_date_time
from ddr.fhir.observation_chunk import code_concept
from ddr.fhir.references import ABSENT, CATEGORY
from ddr.gateway.concepts import concept, concepts
from ddr.gateway.fields import Fields, check_key, decimal, given
from ddr.gateway.plausibility import check_pressures, check_value, of_code
from ddr.gateway.problem import invalid
from ddr.gateway.registration import parse_code
from ddr.miv.model import UCUM, Miv, MivCatalog, MivCode, MivComponent

Json = dict[str, Any]

# Why a measurement has no value (BG-006, LF-007, BP-007): the codes that a failed measurement can have.
ABSENT_REASONS = {
    "error": "Error",
    "not-performed": "Not Performed",
    "unknown": "Unknown",
    "unsupported": "Unsupported",
}

# LO and HI: the value is the limit of the device (BG-009).
COMPARATORS = ("<", ">")
STATUSES = ("preliminary", "final", "amended", "corrected", "entered-in-error")

# How a reference value of lung function was derived (LF-013, LF-014).
METHOD_SYSTEM = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-reference-value-method-codes"
METHODS = {"personal-best", "GLI-2012", "GLI-2022", "other"}

MAX_INTERPRETATIONS = 10

# A reference value begins within a lifetime. An unset date has the year 1 or 9999, beyond which no calendar goes.
FIRST_YEAR, LAST_YEAR = "1900", "2200"
EARLIEST_MS, LATEST_MS = parse_date_time(FIRST_YEAR)[0], parse_date_time(LAST_YEAR)[1]


@dataclass(frozen=True)
class Upload:
    """One measurement, valid in itself; whether its device and its sources exist is checked against the store."""

    key: str
    miv: Miv
    code: MivCode
    device_key: str | None
    sensor_key: str | None
    effective_ms: int
    effective_end_ms: int | None
    value: Decimal | None
    comparator: str | None
    derived_from: tuple[str, ...]
    status: str
    content: Json  # the Observation without id, meta, subject, device, derivedFrom and status
    warning: str | None = None  # about a value that is kept but unusual
    other_keys: tuple[str, ...] = ()  # other keys under which the same code of the same device means this measurement


def parse_measurement(key: str, fields: Fields, catalog: MivCatalog, latest_ms: int) -> Upload:
    """The measurement `key` from its JSON members. Raises Problem 422."""
    miv, code = parse_code(fields, catalog)
    if miv.continuous:
        raise invalid(fields.at("code"), "is for continuous measurements; send these as readings of a sensor")
    effective, start_ms, end_ms = _effective(fields, code, latest_ms)
    value = VALUES[code.kind](fields, code)
    warning = _plausibility(fields, miv, code, value)
    category = [{"coding": [{"system": CATEGORY, "code": miv.category}]}] if miv.category else None
    content = {
        "resourceType": "Observation",
        **given({"category": category}),  # where the profile of the MIV requires one (BP-009)
        "code": code_concept(code),
        **effective,
        **value,
        **_remarks(fields, code),
    }
    upload = Upload(
        key=key,
        miv=miv,
        code=code,
        device_key=_device(fields, code),
        sensor_key=None if code.kind == "reference" else fields.key("sensor"),
        effective_ms=start_ms,
        effective_end_ms=end_ms,
        value=decimal(value["valueQuantity"]["value"]) if "valueQuantity" in value else None,
        comparator=value.get("valueQuantity", {}).get("comparator"),
        derived_from=_derived_from(fields, code),
        status=fields.choice("status", STATUSES) or "final",
        content=content,
        warning=warning,
    )
    fields.done()
    return upload


# --- effective[x] ----------------------------------------------------------------------------------------------------


def _effective(fields: Fields, code: MivCode, latest_ms: int) -> tuple[Json, int, int | None]:
    """effective[x] with the text as sent, and its first and last millisecond."""
    if code.kind == "reference":
        return _validity(fields)
    start_ms = fields.need("effective", lambda name: fields.instant(name, latest_ms))
    text, _, end_ms = fields.need("effective", fields.date_time)
    return {"effectiveDateTime": text}, start_ms, end_ms


def _validity(fields: Fields) -> tuple[Json, int, int | None]:
    """The period during which a reference value is valid; no end while it is in force (LF-011, LF-023)."""
    period = fields.need("effective", fields.object)
    start, start_ms, _ = period.need("start", period.date_time)
    ends = period.date_time("end")
    period.done()
    if not EARLIEST_MS <= start_ms <= LATEST_MS:
        raise invalid(period.at("start"), f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    if ends is None:
        return {"effectivePeriod": {"start": start}}, start_ms, None
    if ends[2] < start_ms:
        raise invalid(period.at("end"), "must not be before start")
    return {"effectivePeriod": {"start": start, "end": ends[0]}}, start_ms, ends[2]


# --- value[x] --------------------------------------------------------------------------------------------------------


def _quantity(fields: Fields, code: MivCode) -> Json:
    """valueQuantity, or dataAbsentReason without a value after a failed measurement."""
    if code.unit is None:
        raise invalid(fields.at("code"), "is a code without unit")
    return _value(fields, code.unit, code.unit_text or code.unit)


def _value(fields: Fields, unit: str, unit_text: str) -> Json:
    reason = fields.choice("dataAbsentReason", ABSENT_REASONS)
    if reason is not None:
        if any(fields.raw(name) is not None for name in ("value", "unit", "comparator")):
            raise invalid(fields.at("dataAbsentReason"), "must not be given together with a value", "value-and-absent")
        coding = {"system": ABSENT, "code": reason, "display": ABSENT_REASONS[reason]}
        return {"dataAbsentReason": {"coding": [coding]}}
    value = fields.need("value", fields.exact)
    if fields.need("unit", fields.text) != unit:
        raise invalid(fields.at("unit"), f"must be {unit} for this code", "unit")
    comparator = fields.choice("comparator", COMPARATORS)
    quantity = {"value": value, "comparator": comparator, "unit": unit_text, "system": UCUM, "code": unit}
    return {"valueQuantity": given(quantity)}


def _panel(fields: Fields, code: MivCode) -> Json:
    """The components of a panel: each at most once, the required ones with value or reason (BP-004 to 007)."""
    known = {part.code: part for part in code.components}
    found: dict[str, Json] = {}
    for entry in fields.objects("components", len(known)) or ():
        part = known[entry.need("code", partial(entry.choice, allowed=known))]
        if part.code in found:
            raise invalid(entry.at("code"), "occurs twice")
        found[part.code] = {"code": code_concept(part), **_value(entry, part.unit, part.unit_text)}
        entry.done()
    if missing := [part.code for part in code.components if part.required and part.code not in found]:
        raise invalid(fields.at("components"), f"must have {' and '.join(missing)}")
    return {"component": [found[name] for name in known if name in found]}


def _plausibility(fields: Fields, miv: Miv, code: MivCode, value: Json) -> str | None:
    """The warnings about values that are kept. Raises Problem 422 for an impossible one."""
    if not code.components:
        return _plausible(miv, code, value, fields.at("value"))
    known = {part.code: part for part in code.components}
    warnings: list[str] = []
    numbers: dict[str, float] = {}
    for found in value["component"]:
        part = known[found["code"]["coding"][0]["code"]]
        if warning := _plausible(miv, part, found, fields.at("components")):
            warnings.append(f"{part.code}: {warning}")
        if "valueQuantity" in found:
            numbers[part.code] = float(found["valueQuantity"]["value"])
    if warning := check_pressures(numbers):
        warnings.append(warning)
    return "; ".join(warnings) or None


def _plausible(miv: Miv, code: MivCode | MivComponent, value: Json, field: str) -> str | None:
    """As `check_value`, for anything with a valueQuantity."""
    quantity = value.get("valueQuantity")
    if quantity is None:
        return None
    return check_value(float(quantity["value"]), quantity.get("comparator"), of_code(miv, code), field)


VALUES: dict[str, Callable[[Fields, MivCode], Json]] = {
    "reading": _quantity,
    "reference": _quantity,
    "relative": _quantity,
    "panel": _panel,
}


# --- what belongs to it ----------------------------------------------------------------------------------------------


def _remarks(fields: Fields, code: MivCode) -> Json:
    """interpretation, note and method."""
    note = fields.note("note")
    found = {
        "interpretation": concepts(fields, "interpretation", MAX_INTERPRETATIONS),
        "note": [{"text": note}] if note else [],
        "method": _derivation(fields) if code.kind == "reference" else concept(fields.object("method")),
    }
    return {name: value for name, value in found.items() if value}


def _derivation(fields: Fields) -> Json:
    """The method of a reference value: at most one code, only from the HDDT ValueSet, or a text (LF-012 to 015)."""
    method = fields.need("method", lambda name: concept(fields.object(name)))
    codings = method.get("coding", [])
    if len(codings) > 1 or any(c["system"] != METHOD_SYSTEM or c["code"] not in METHODS for c in codings):
        raise invalid(fields.at("method.coding"), f"must be one code of {METHOD_SYSTEM}: {', '.join(sorted(METHODS))}")
    if any(c["code"] == "other" for c in codings) and "text" not in method:
        raise invalid(fields.at("method.text"), "is required with the code other")
    return method


def _device(fields: Fields, code: MivCode) -> str | None:
    """The key of the device; only a reference value may have none (LF-008, LF-023)."""
    return fields.key("device") if code.kind == "reference" else fields.need("device", fields.key)


def _derived_from(fields: Fields, code: MivCode) -> tuple[str, ...]:
    """The keys of the reading and the reference value from which a relative value is derived (LF-017)."""
    if code.kind != "relative":
        return ()
    keys = fields.need("derivedFrom", lambda name: fields.array(name, 2))
    if len(keys) != 2 or not all(isinstance(key, str) for key in keys) or keys[0] == keys[1]:
        raise invalid(fields.at("derivedFrom"), "must be the keys of one reading and one reference value")
    return tuple(check_key(key, fields.at("derivedFrom")) for key in keys)
