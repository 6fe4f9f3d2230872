"""Reading the items of an upload: validated readings, or the reason why an item is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ddr.series.packing import ERROR, HIGH, LARGEST, LOW, Reading

_WORDS = {"L": LOW, "U": HIGH, "E": ERROR}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# value · 10^decimals may be this far from a whole number: far more than a float's error, far less than a digit
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an item was not taken: a stable code and a text for the developer."""

    reason: str
    detail: str


MALFORMED = Rejection("malformed", "an item must be an object with time and value")
TIME = Rejection("time", "time must be an RFC 3339 instant with seconds and time zone")
FUTURE = Rejection("future", "time lies in the future")
VALUE = Rejection("value", 'value must be a number or "L" (below the limit), "U" (above it), "E" (sensor error)')
RANGE = Rejection("range", "value is too large for this sensor's number of decimals")
BEFORE_START = Rejection("before-start", "the sensor was not in use yet at this time")
DELETED = Rejection(
    "deleted", "an upload with this reading was deleted; send it with another upload key if it is right"
)
AFTER_END = Rejection("after-end", "the sensor was not in use any more at this time")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sensor's readings must look like. `lowest` and `highest` are raw values, None without a limit."""

    unit: str
    decimals: int
    lowest: int | None = None
    highest: int | None = None

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


def read_items(items: Iterable[Any], unit: Any, rules: Rules, latest_ms: int) -> list[Reading | Rejection]:
    """Each item as a reading or a rejection; one bad item never blocks the others.

    `unit` is that of the upload, an item's own comes first; a reading after `latest_ms` is in the future.
    """
    return [_read(item, unit, rules, latest_ms) for item in items]


def _read(item: Any, unit: Any, rules: Rules, latest_ms: int) -> Reading | Rejection:
    if not isinstance(item, dict):
        return MALFORMED
    if item.get("unit", unit) != rules.unit:
        return Rejection("unit", f"the readings of this sensor are in {rules.unit}")
    time = instant_ms(item.get("time"))
    if time is None:
        return TIME
    if time > latest_ms:
        return FUTURE
    raw = raw_value(item.get("value"), rules)
    return raw if isinstance(raw, Rejection) else (time, raw)


def instant_ms(text: Any) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 instant, digits past the millisecond cut; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    # fromisoformat knows more of ISO 8601 than RFC 3339 does: week dates, dates without dashes, times without seconds
    if moment.tzinfo is None or len(text) < 20 or text[7:17:3] != "-T::":
        return None
    return (moment - _EPOCH) // _MILLISECOND


def raw_value(value: Any, rules: Rules) -> int | Rejection:
    """The raw value of a JSON number or of `L`, `U`, `E`; a number beyond the limits is `L` or `U` (CGM-008)."""
    if isinstance(value, str):
        return _WORDS.get(value, VALUE)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return VALUE
    scaled: float = value * 10**rules.decimals
    if rules.lowest is not None and scaled < rules.lowest - _ROUNDING:
        return LOW
    if rules.highest is not None and scaled > rules.highest + _ROUNDING:
        return HIGH
    if not -LARGEST <= scaled <= LARGEST:
        return RANGE
    raw = round(scaled)
    if abs(scaled - raw) > _ROUNDING:
        return Rejection("precision", f"value has more than {rules.decimals} decimals")
    return raw
