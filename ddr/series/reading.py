"""Reading the items of an upload: validated readings, or the reason why an item is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ddr.series.instants import instant_ms
from ddr.series.packing import ERROR, HIGH, LARGEST, LOW, Reading
from ddr.series.plausible import Plausible

_WORDS = {"L": LOW, "U": HIGH, "E": ERROR}
_MEMBERS = frozenset(("time", "value", "unit"))
# How far value · 10^decimals may be from a whole number: far more than a float's error, far less than a digit.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an item was not taken: a stable code and a text for the developer.

    `retry`: the same item may be accepted later, as the text says; otherwise it never is.
    """

    reason: str
    detail: str
    retry: bool = False


MALFORMED = Rejection("malformed", "an item must be an object with time and value")
TIME = Rejection("time", "time must be an RFC 3339 instant with seconds and time zone, as in 2026-11-22T10:00:00+01:00")
FUTURE = Rejection("future", "time is in the future", retry=True)
VALUE = Rejection("value", 'value must be a number or "L" (below the limit), "U" (above it), "E" (sensor error)')
RANGE = Rejection("range", "value is too large for this sensor's number of decimals")
NO_LIMIT = {
    word: Rejection(
        "range",
        f'"{word}" means nothing without limits.{side} of the sensor: PUT the sensor again with limits (which can be'
        " added once), then send this reading again",
        retry=True,
    )
    for word, side in (("L", "lower"), ("U", "upper"))
}
BEFORE_START = Rejection("before-start", "the sensor was not yet in use at this time")
TOO_OLD = Rejection("too-old", "time is before what this recorder keeps")
DELETED = Rejection(
    "deleted", "an upload with this reading was deleted; if the reading is right, send it under another upload key"
)
AFTER_END = Rejection("after-end", "the sensor was no longer in use at this time")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sensor's readings must look like. `lowest` and `highest` are raw values, None without a limit.

    `plausible` bounds what such values can be; None when the MIV does not say.
    """

    unit: str
    decimals: int
    lowest: int | None = None
    highest: int | None = None
    plausible: Plausible | None = None

    @classmethod
    def of(cls, unit: str, decimals: int, lower: Decimal | None, upper: Decimal | None) -> Rules:
        """From a sensor's UCUM unit, number of decimals, and limits in that unit."""
        factor = 10**decimals
        return cls(
            unit,
            decimals,
            None if lower is None else math.ceil(lower * factor),
            None if upper is None else math.floor(upper * factor),
        )

    def within(self, raw: int) -> int:
        """A raw value as stored under these limits: one beyond them becomes LOW or HIGH, as in `raw_value`."""
        if raw in (LOW, ERROR, HIGH):
            return raw
        if self.lowest is not None and raw < self.lowest:
            return LOW
        return HIGH if self.highest is not None and raw > self.highest else raw

    def among(self, plausible: Plausible | None) -> Rules:
        """These rules together with what is plausible for the values of the MIV."""
        return self if plausible is self.plausible else replace(self, plausible=plausible)


def read_items(
    items: Iterable[Any], unit: Any, rules: Rules, latest_ms: int, future: Rejection = FUTURE, earliest_ms: int = 0
) -> list[Reading | Rejection]:
    """Each item as a reading or a rejection; one bad item never blocks the others.

    `unit` is that of the upload; an item's own unit takes precedence. A reading after `latest_ms` gets the rejection
    `future`, one before `earliest_ms` TOO_OLD.
    """
    return [_read(item, unit, rules, latest_ms, future, earliest_ms) for item in items]


def _read(
    item: Any, unit: Any, rules: Rules, latest_ms: int, future: Rejection, earliest_ms: int
) -> Reading | Rejection:
    if not isinstance(item, dict):
        return MALFORMED
    if not _MEMBERS.issuperset(item):
        return _unknown(item)
    if (given := item.get("unit", unit)) != rules.unit:
        return _unit(given, rules.unit)
    time = instant_ms(item.get("time"))
    if time is None:
        return TIME
    if time > latest_ms:
        return future
    if time < earliest_ms:
        return TOO_OLD
    raw = raw_value(item.get("value"), rules)
    return raw if isinstance(raw, Rejection) else (time, raw)


def future_at(now_ms: int, tolerance_seconds: int) -> Rejection:
    """FUTURE with the recorder's time and tolerance, by which a gateway can correct its clock."""
    seconds = datetime.fromtimestamp(now_ms // 1000, UTC).isoformat()[:19]
    detail = (
        f"time is in the future: the recorder's clock shows {seconds}Z, and readings may be up to {tolerance_seconds} s"
        " ahead of it; keep this reading, correct the clock and send it again"
    )
    return Rejection("future", detail, retry=True)


def _unknown(item: dict[str, Any]) -> Rejection:
    name = min(item.keys() - _MEMBERS)[:40].encode("ascii", "backslashreplace").decode()
    return Rejection("unknown-member", f"{name} is not a member of a reading; the members are time, value and unit")


def _unit(given: Any, unit: str) -> Rejection:
    found = "unit is missing" if given is None else "unit differs"
    return Rejection("unit", f"the readings of this sensor are in {unit}, but {found}; values are not converted")


def raw_value(value: Any, rules: Rules) -> int | Rejection:
    """The raw value of a JSON number or of `L`, `U`, `E`; a number beyond the limits is `L` or `U` (CGM-008)."""
    if isinstance(value, str):
        return _word(value, rules)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return VALUE
    plausible = rules.plausible
    if plausible is not None and not plausible.usual(value) and (problem := plausible.problem(value)):
        return Rejection("implausible", problem)
    scaled: float = value * 10**rules.decimals
    if rules.lowest is not None and scaled < rules.lowest - _ROUNDING:
        return LOW
    if rules.highest is not None and scaled > rules.highest + _ROUNDING:
        return HIGH
    if not -LARGEST - _ROUNDING <= scaled <= LARGEST + _ROUNDING:
        return RANGE
    raw = round(scaled)
    if abs(scaled - raw) > _ROUNDING:
        return Rejection("precision", f"value has more than {rules.decimals} decimals")
    return raw


def _word(value: str, rules: Rules) -> int | Rejection:
    """`L` and `U` mean nothing without the limit that they refer to (CGM-009, FHIR R4 SampledData.lowerLimit)."""
    raw = _WORDS.get(value, VALUE)
    if (raw == LOW and rules.lowest is None) or (raw == HIGH and rules.highest is None):
        return NO_LIMIT[value]
    return raw


def in_other_unit(items: Sequence[Any], unit: Any, rules: Rules) -> str | None:
    """The sentence that refuses an upload of at least two numbers that all look like those of the other unit."""
    plausible = rules.plausible
    if plausible is None or unit != rules.unit or len(items) < 2:
        return None
    numbers = _numbers(items)
    first = next(numbers, None)
    if first is None or plausible.usual(first):  # nearly always; the other items are not looked at
        return None
    values = [first, *numbers]
    return plausible.other_unit(values) if len(values) > 1 else None


def _numbers(items: Iterable[Any]) -> Iterator[float]:
    for item in items:
        value = item.get("value") if isinstance(item, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield value
