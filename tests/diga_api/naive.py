"""FHIR's search rules over a list of resources, written as plainly as possible, to verify the SQL.

Works on what the server sends (FHIR JSON), reads the query from its text, and shares no code with ddr.fhir.search.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Resource = dict[str, Any]
Range = tuple[datetime, datetime]  # inclusive, to the millisecond

FAR = datetime(9999, 12, 31, tzinfo=UTC)
TICK = timedelta(milliseconds=1)
PREFIX = re.compile("(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)")


def date_range(text: str) -> Range:
    """All instants that a FHIR date covers."""
    if len(text) == 4:
        return _utc(f"{text}-01-01"), _utc(f"{int(text) + 1}-01-01") - TICK
    if len(text) == 7:
        year, month = int(text[:4]), int(text[5:])
        after = f"{year + month // 12}-{month % 12 + 1:02d}-01"
        return _utc(f"{text}-01"), _utc(after) - TICK
    if len(text) == 10:
        return _utc(text), _utc(text) + timedelta(days=1) - TICK
    start = _utc(text)
    if "." in text:
        return start, start
    return start, start + timedelta(minutes=1 if text.count(":") == 1 else 0, seconds=text.count(":") == 2) - TICK


def _utc(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def compare(prefix: str, searched: tuple[Any, Any], target: tuple[Any, Any]) -> bool:
    """The formal definitions of the prefixes: FHIR R4 search.html#prefix."""
    contains = searched[0] <= target[0] and target[1] <= searched[1]
    above, below = target[1] > searched[1], target[0] < searched[0]
    return bool(
        {
            "eq": contains,
            "ne": not contains,
            "gt": above,
            "lt": below,
            "ge": above or contains,
            "le": below or contains,
            "sa": target[0] > searched[1],
            "eb": target[1] < searched[0],
        }[prefix]
    )


def matches_date(target: Range, text: str) -> bool:
    prefix, date = PREFIX.fullmatch(text).groups()  # type: ignore[union-attr]
    return compare(prefix or "eq", date_range(date), target)


def effective(resource: Resource) -> Range:
    if "effectiveDateTime" in resource:
        return date_range(resource["effectiveDateTime"])
    period = resource["effectivePeriod"]
    return date_range(period["start"])[0], date_range(period["end"])[1] if "end" in period else FAR


def matches_quantity(quantity: Resource | None, text: str) -> bool:
    number, *unit = text.split("|")
    prefix, digits = PREFIX.fullmatch(number).groups()  # type: ignore[union-attr]
    if quantity is None or (unit and unit[1] != quantity["code"]):
        return False
    value, searched = Decimal(str(quantity["value"])), Decimal(digits)
    low = Decimal("-Infinity") if quantity.get("comparator") == "<" else value
    high = Decimal("Infinity") if quantity.get("comparator") == ">" else value
    if prefix in (None, "eq", "ne"):
        # by the table of search.html#number a single digit with an exponent has two: 1e2 is [95, 105)
        finer = 1 if re.fullmatch(r"[+-]?\d[eE][+-]?\d+", digits) else 0
        half = Decimal(5).scaleb(int(searched.as_tuple().exponent) - 1 - finer)
        inside = searched - half <= low and high < searched + half
        return inside is not (prefix == "ne")
    exactly = low == high == searched
    return {
        "gt": high > searched,
        "lt": low < searched,
        "ge": high > searched or exactly,
        "le": low < searched or exactly,
        "sa": low > searched or (low == searched < high),
        "eb": high < searched or (low < searched == high),
    }[prefix]


def matches_token(codings: Iterable[Resource], text: str) -> bool:
    system, bar, code = text.rpartition("|")
    return any((not code or coding["code"] == code) and (not bar or coding["system"] == system) for coding in codings)


def codings(resource: Resource, name: str) -> list[Resource]:
    found: list[Resource] = resource.get(name, {}).get("coding", [])
    return found


def matches_text(target: str, text: str, modifier: str) -> bool:
    def plain(value: str) -> str:
        letters = (c for c in unicodedata.normalize("NFKD", value) if unicodedata.category(c)[0] not in "MP")
        return " ".join("".join(letters).casefold().split())

    if modifier == "exact":
        return target == text
    return plain(text) in plain(target) if modifier == "contains" else plain(target).startswith(plain(text))


def matches_reference(references: Iterable[str], text: str) -> bool:
    return any(text in (reference, reference.partition("/")[2]) for reference in references)


def _components(resource: Resource, code: str | None, quantity: str | None) -> bool:
    return any(
        (code is None or matches_token(codings(component, "code"), code))
        and (quantity is None or matches_quantity(component.get("valueQuantity"), quantity))
        for component in resource.get("component", [])
    )


def _single(kind: str, system: str) -> Callable[[Resource, str], bool]:
    return lambda r, v: matches_token([{"system": system, "code": r[kind]}], v)


def _names(resource: Resource) -> list[str]:
    """Device.deviceName.name | Device.type.coding.display | Device.type.text, the last of which is never sent."""
    return [resource["deviceName"][0]["name"], *(coding["display"] for coding in codings(resource, "type"))]


RULES: dict[tuple[str, str], Callable[[Resource, str], bool]] = {
    ("*", "_id"): lambda r, v: r["id"] == v,
    ("*", "_lastUpdated"): lambda r, v: matches_date(date_range(r["meta"]["lastUpdated"]), v),
    ("Observation", "code"): lambda r, v: matches_token(codings(r, "code"), v),
    ("Observation", "date"): lambda r, v: matches_date(effective(r), v),
    ("Observation", "status"): _single("status", "http://hl7.org/fhir/observation-status"),
    ("Observation", "value-quantity"): lambda r, v: matches_quantity(r.get("valueQuantity"), v),
    ("Observation", "component-code"): lambda r, v: _components(r, v, None),
    ("Observation", "component-value-quantity"): lambda r, v: _components(r, None, v),
    ("Observation", "component-code-value-quantity"): lambda r, v: _components(r, *v.split("$")),
    ("Observation", "device"): lambda r, v: matches_reference([r["device"]["reference"]] if "device" in r else [], v),
    ("Observation", "derived-from"): lambda r, v: matches_reference(
        [reference["reference"] for reference in r.get("derivedFrom", [])], v
    ),
    ("Device", "device-name"): lambda r, v: any(matches_text(name, v, "starts") for name in _names(r)),
    ("Device", "device-name:exact"): lambda r, v: any(matches_text(name, v, "exact") for name in _names(r)),
    ("Device", "device-name:contains"): lambda r, v: any(matches_text(name, v, "contains") for name in _names(r)),
    ("Device", "manufacturer"): lambda r, v: matches_text(r["manufacturer"], v, "starts"),
    ("Device", "type"): lambda r, v: matches_token(codings(r, "type"), v),
    ("Device", "status"): _single("status", "http://hl7.org/fhir/device-status"),
    ("DeviceMetric", "source"): lambda r, v: matches_reference([r["source"]["reference"]], v),
    ("DeviceMetric", "type"): lambda r, v: matches_token(codings(r, "type"), v),
}


def rule(resource_type: str, name: str) -> Callable[[Resource, str], bool]:
    return RULES.get((resource_type, name)) or RULES["*", name]


def search(resources: Iterable[Resource], resource_type: str, query: list[tuple[str, list[str]]]) -> set[str]:
    """The ids of the resources of a type that match every parameter of the query by one of its values."""
    return {
        resource["id"]
        for resource in resources
        if resource["resourceType"] == resource_type
        and all(any(rule(resource_type, name)(resource, value) for value in values) for name, values in query)
    }
