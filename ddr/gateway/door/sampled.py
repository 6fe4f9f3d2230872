"""SampledData as readings: each token at its own instant, origin and factor applied exactly (FHIR R4 datatypes.html).

As in the PHD guide, limits are in the unit of `origin`, like the resulting values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from ddr.aside import LARGE_ITEMS
from ddr.durations import DAY_MS
from ddr.fhir.instants import date_time
from ddr.gateway.door.codes import Json
from ddr.gateway.fields import MAX_NUMBER, Fields, Number, decimals_of
from ddr.gateway.problem import Problem, invalid
from ddr.gateway.registration import MAX_DECIMALS

MAX_TOKENS = 100_000  # in all SampledData of a Bundle
DIGITS = 100  # more than any product of numbers of these sizes needs, so nothing is rounded
_TOKEN = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?")
_WORDS = ("E", "L", "U")
BOUNDS = ("lower", "upper")
# Values in mmol/L have a decimal, even if the first ones have none.
_LEAST_DECIMALS = {"mmol/L": 1}


@dataclass(frozen=True)
class Samples:
    """Readings as the JSON API accepts them. `period_ms` is None for a single value.

    `limits` are those of the sensor; `beyond` is what a single value is below or above, which may be a limit.
    """

    unit: str | None
    readings: Sequence[Json]
    period_ms: int | None = None
    limits: Json | None = None
    beyond: Json | None = None

    def decimals(self) -> int:
        """The decimals that these values need, within what a sensor can have."""
        needed = max(map(decimals_of, [*self.numbers(), *self.bounds()]), default=0)
        return min(MAX_DECIMALS, max(needed, _LEAST_DECIMALS.get(self.unit or "", 0)))

    def numbers(self) -> list[Number]:
        """The values that are numbers."""
        return [reading["value"] for reading in self.readings if isinstance(reading["value"], int | float)]

    def bounds(self) -> list[Number]:
        """The limits, and what the value is beyond."""
        return [*(self.limits or {}).values(), *(self.beyond or {}).values()]


def single(value: Any, comparator: str | None, unit: str | None, time: str) -> Samples:
    """One reading; a comparator says that the value is beyond what the sensor can measure. Raises Problem 422."""
    words = {"<": "L", ">": "U", None: value}
    if comparator not in words:
        raise invalid("valueQuantity.comparator", "must be < or >")
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_NUMBER:
        raise invalid("valueQuantity.value", f"must be a number of at most {MAX_NUMBER}")
    beyond = {side: value for side, sign in zip(BOUNDS, ("<", ">"), strict=True) if sign == comparator}
    return Samples(unit, [{"time": time, "value": words[comparator]}], beyond=beyond or None)


def is_large(samples: Iterable[Samples]) -> bool:
    """Whether there are so many values that they are processed outside the event loop."""
    return sum(len(part.readings) for part in samples) > LARGE_ITEMS


def lacking(samples: Iterable[Samples], known: Json, decimals: int) -> Json:
    """The limits that values state, the first of several, where a sensor with so many decimals has none."""
    found: Json = {}
    for part in samples:
        for side, value in (part.limits or {}).items():
            if side not in known:
                found.setdefault(side, rounded(value, decimals))
    return found


def farthest(samples: Iterable[Samples], known: Json, decimals: int) -> Json:
    """What single values are said to be beyond, the farthest on each side, where a sensor has no limit."""
    found: Json = {}
    for part in samples:
        for side, value in (part.beyond or {}).items():
            if side not in known:
                found[side] = (min if side == "lower" else max)(found.get(side, value), value)
    return {side: rounded(value, decimals) for side, value in found.items()}


def rounded(value: Number, decimals: int) -> Number:
    """A limit with the decimals of its sensor."""
    return _number(round(Decimal(repr(value)), decimals))


def failed(unit: str | None, time: str) -> Samples:
    """One reading that failed."""
    return Samples(unit, [{"time": time, "value": "E"}])


def sampled(data: Fields, unit: str | None, start_ms: int) -> Samples:
    """The readings of SampledData that begins at `start_ms`. Raises Problem 422."""
    data.need("dimensions", data.raw)
    if _exact(data, "dimensions") != 1:
        raise invalid(data.at("dimensions"), "must be 1")
    period_ms = _period(data)
    origin = _exact(data.need("origin", data.object), "value")
    factor = _exact(data, "factor") if data.raw("factor") is not None else Decimal(1)
    limits = {name: _number(_exact(data, f"{name}Limit")) for name in BOUNDS if data.raw(f"{name}Limit") is not None}
    tokens = _tokens(data)
    with localcontext(prec=DIGITS):
        values = [_value(token, origin, factor) for token in tokens]
    readings = [{"time": date_time(start_ms + i * period_ms), "value": value} for i, value in enumerate(values)]
    return Samples(unit, readings, period_ms, limits or None)


def _tokens(data: Fields) -> list[str]:
    text = data.raw("data")
    if not isinstance(text, str) or not text.split():
        raise invalid(data.at("data"), "must be numbers, E, L or U, separated by blanks")
    return text.split()


def tokens_of(observation: Fields) -> int:
    """How many values the SampledData of an Observation has, at most one more than MAX_TOKENS; none is parsed."""
    data = observation.raw("valueSampledData")
    text = data.get("data") if isinstance(data, dict) else None
    return len(text.split(None, MAX_TOKENS)) if isinstance(text, str) else 0


def check_count(count: int) -> None:
    """Raise Problem 413 for more values than one Bundle may have: each is an object for some seconds."""
    if count > MAX_TOKENS:
        raise Problem(413, "too-many-items", f"The Bundle has more than {MAX_TOKENS} values in SampledData")


def _value(token: str, origin: Decimal, factor: Decimal) -> Any:
    """A number or E, L, U; anything else stays as it is and is rejected as a reading."""
    if token in _WORDS or not _TOKEN.fullmatch(token):
        return token
    return _number(origin + factor * Decimal(token))


def _number(value: Decimal) -> int | float:
    """The decimal as a number of a JSON body."""
    return int(value) if value == value.to_integral_value() and value.adjusted() < 15 else float(value)


def _exact(fields: Fields, name: str) -> Decimal:
    value = fields.raw(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise invalid(fields.at(name), "must be a number")
    if not -12 <= (found := Decimal(value)).adjusted() <= 12 or len(found.as_tuple().digits) > 24:
        raise invalid(fields.at(name), "has too many digits")
    return found


def _period(data: Fields) -> int:
    period = _exact(data, "period")
    if period != period.to_integral_value() or not 1 <= period <= DAY_MS:
        raise invalid(data.at("period"), "must be a whole number of milliseconds, at most a day")
    return int(period)
