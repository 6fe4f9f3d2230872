"""The HDDT profiles of Observations as rules: each returns what is wrong with one resource, "" for nothing."""

from __future__ import annotations

import re

from ddr.conform.exchange import Json
from ddr.conform.laws import codes
from ddr.conform.laws.naive import codings, references

VALUES = ("valueQuantity", "valueSampledData")
_KVNR = re.compile(r"\b[A-Z][0-9]{9}\b")


def code(one: Json) -> str:
    """The first code of HDDT that an Observation has, "" for none."""
    known = {name for valueset in codes.VALUESETS.values() for name in valueset}
    return next((name for _, name in codings(one.get("code")) if name in known), "")


def system_of_code(one: Json) -> str:
    """Codes are of LOINC, except for the one that LOINC lacks."""
    for system, name in codings(one.get("code")):
        if name == code(one):
            wanted = codes.LUNG_CODES if name == "PEF-measured/predicted" else codes.LOINC
            return _of_components(one) if system == wanted else f"the code {name} has the system {system or 'none'}"
    return "no code of HDDT"


def _of_components(one: Json) -> str:
    """The codes of HDDT in components are of LOINC, too."""
    for part in one.get("component") or ():
        for system, name in codings(part.get("code")):
            if name in codes.COMPONENTS and system != codes.LOINC:
                return f"the component {name} has the system {system or 'none'}"
    return ""


def mandatory(one: Json) -> str:
    """Code, status, time, and a value or the reason why there is none."""
    status = one.get("status")
    if status not in codes.OBSERVATION_STATES:
        return f"status is {status}"
    if not any(name in one for name in ("effectiveDateTime", "effectivePeriod")):
        return "" if code(one) in codes.LUNG_REFERENCE else "no effective time"
    parts = ("component",) if code(one) == codes.PRESSURE else ()
    if not any(name in one for name in (*VALUES, "dataAbsentReason", *parts)):
        return "neither a value nor a dataAbsentReason"
    return ""


def value_or_reason(one: Json) -> str:
    """dataAbsentReason never occurs together with a value (obs-6), nor does it in components."""
    for part in (one, *(one.get("component") or ())):
        if "dataAbsentReason" in part and any(name in part for name in VALUES):
            return "dataAbsentReason together with a value"
    return ""


def one_value(one: Json) -> str:
    """Single measurements have a Quantity, continuous ones SampledData, blood pressure components only."""
    found = [name for name in one if name.startswith("value")]
    wanted = "valueSampledData" if code(one) in codes.CGM else "valueQuantity"
    if code(one) == codes.PRESSURE:
        return f"has {found[0]}" if found else ""
    return "" if found in ([], [wanted]) else f"has {', '.join(found)} instead of {wanted}"


def device_reference(one: Json) -> str:
    """Exactly one reference, to a Device or a DeviceMetric; a reference value may have none."""
    found = list(references(one, "device"))
    if not found:
        return "" if code(one) in codes.LUNG_REFERENCE and "device" not in one else "no reference to a device"
    return "" if found[0].split("/")[0] in ("Device", "DeviceMetric") else f"device refers to {found[0]}"


def quantity(found: object, unit: str | None) -> str:
    """Value, UCUM as system, and the unit that belongs to the code."""
    if not isinstance(found, dict):
        return "" if found is None else "no Quantity"
    if "value" not in found:
        return "a Quantity without value"
    if found.get("system") != codes.UCUM:
        return f"the system of the unit is {found.get('system')}"
    if unit is not None and found.get("code") != unit:
        return f"the unit is {found.get('code')}, not {unit}"
    return _word(found) if found.get("code") else "a Quantity without the code of its unit"


def _word(found: Json) -> str:
    """The displayed unit is the same as the coded one; its language is left open."""
    word, coded = str(found.get("unit", "")).casefold(), str(found.get("code"))
    other = word != coded.casefold() and word in {one.casefold() for one in codes.UNITS.values()}
    return f"the unit is displayed as {found['unit']} but coded as {coded}" if other else ""


def unit(one: Json) -> str:
    """The unit of a single value fits its code."""
    return quantity(one.get("valueQuantity"), codes.UNITS.get(code(one)))


def moment(one: Json) -> str:
    """A single measurement has effectiveDateTime and no period."""
    if code(one) in codes.CGM or code(one) in codes.LUNG_REFERENCE or code(one) == codes.PRESSURE:
        return ""
    return (
        ""
        if "effectiveDateTime" in one and "effectivePeriod" not in one
        else "effectiveDateTime is missing or not the only time"
    )


def comparator(one: Json) -> str:
    """LO and HI are expressed by the comparators < and > with the limit as value."""
    found = (one.get("valueQuantity") or {}).get("comparator")
    return "" if found in (None, "<", ">") else f"comparator is {found}"


def sampled(one: Json) -> str:
    """SampledData of glucose: origin in UCUM with the unit of the code, period, one dimension, data."""
    if "valueSampledData" not in one:
        return ""
    found = one["valueSampledData"]
    missing = [name for name in ("origin", "period", "dimensions", "data") if name not in found]
    if missing:
        return f"valueSampledData lacks {', '.join(missing)}"
    origin = found["origin"]
    if origin.get("system") != codes.UCUM or origin.get("code") != codes.CGM.get(code(one)):
        return f"origin is in {origin.get('code')} of {origin.get('system')}"
    return _word(origin) if found["dimensions"] == 1 else f"dimensions is {found['dimensions']}"


def sampled_value(data: Json, text: str) -> float:
    """The value that a number in `data` stands for, with origin and factor (FHIR R4 datatypes.html#SampledData)."""
    origin = (data.get("origin") or {}).get("value", 0)
    return float(origin) + float(data.get("factor", 1)) * float(text)


def period_of_chunk(one: Json) -> str:
    """A chunk has effectivePeriod with start and end, and no other time."""
    period = one.get("effectivePeriod")
    if not isinstance(period, dict) or "start" not in period or "end" not in period:
        return "no effectivePeriod with start and end"
    return "effectiveDateTime together with effectivePeriod" if "effectiveDateTime" in one else ""


def limits(one: Json) -> str:
    """Data with L or U has limits."""
    found = one.get("valueSampledData") or {}
    tokens = set(str(found.get("data", "")).split())
    for sign, name in (("L", "lowerLimit"), ("U", "upperLimit")):
        if sign in tokens and name not in found:
            return f"data holds {sign}, but {name} is missing"
    return ""


def components(one: Json) -> str:
    """Blood pressure: systolic and diastolic once each, at most one mean, nothing else."""
    parts = one.get("component") or []
    names = [name for part in parts for _, name in codings(part.get("code")) if name in codes.COMPONENTS]
    if sorted(names) != sorted(set(names)) or not {"8480-6", "8462-4"} <= set(names):
        return f"the components are {', '.join(names) or 'none'}"
    return "" if len(names) == len(parts) else "a component has no code of HDDT"


def pressures(one: Json) -> str:
    """Each component has a value in mm[Hg], with unit, or the reason why not."""
    for part in one.get("component") or ():
        found = part.get("valueQuantity")
        if found is None:
            if "dataAbsentReason" not in part:
                return "a component has neither a value nor a dataAbsentReason"
        elif wrong := quantity(found, "mm[Hg]") or ("" if found.get("unit") else "a component's value lacks unit"):
            return wrong
    return ""


def day_at_least(one: Json) -> str:
    """A time with at least a day (vs-de-1)."""
    times = [str(one.get("effectiveDateTime", "")), str((one.get("effectivePeriod") or {}).get("start", ""))]
    return "" if any(len(text) >= 10 for text in times) else f"the time is {''.join(times) or 'missing'}"


def vital_signs(one: Json) -> str:
    """Blood pressure is in the category vital-signs."""
    good = any((codes.CATEGORIES, "vital-signs") in codings(category) for category in one.get("category") or ())
    return "" if good else "the category vital-signs is missing"


def pressure_code(one: Json) -> str:
    """Blood pressure has one coding of LOINC, and none of SNOMED CT; the profile leaves open other codings."""
    systems = [system for system, _ in codings(one.get("code"))]
    good = systems.count(codes.LOINC) == 1 and codes.SNOMED not in systems
    return "" if good else f"the codings are of {', '.join(systems)}"


def method(one: Json) -> str:
    """A reference value says how it was derived: at most one code of HDDT, or a text."""
    found = one.get("method") or {}
    coded = list(codings(found))
    if not coded and not found.get("text"):
        return "no method"
    known = all(system == codes.LUNG_METHODS and name in codes.LUNG_METHOD_CODES for system, name in coded)
    return "" if len(coded) <= 1 and known else f"method has {', '.join(name for _, name in coded)}"


def validity(one: Json) -> str:
    """The time of a reference value, if any, is a period."""
    return "a moment instead of a period" if "effectiveDateTime" in one else ""


def derived(one: Json) -> str:
    """A relative value is derived from exactly two Observations."""
    found = list(references(one, "derivedFrom"))
    return "" if len(found) == 2 else f"derivedFrom has {len(found)} references"


def anonymous(one: Json) -> str:
    """A subject, if there is one, has no display name, no insurance number and no mail address; a reference is a
    pseudonym, since no Patient is served."""
    subject = one.get("subject") or {}
    identifier = subject.get("identifier") or {}
    told = f"{subject.get('reference', '')} {identifier.get('value', '')}"
    if "display" in subject:
        return "subject has a display"
    if "kvid" in str(identifier.get("system")) or _KVNR.search(told):
        return "subject has a health insurance number"
    return "subject has an email address" if "@" in told else ""
