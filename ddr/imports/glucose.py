"""From rows of glucose values to a file: times read as a column, numbers checked, the maker's limits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal

from ddr.imports.makers import USUAL_LIMITS, Maker
from ddr.imports.model import CGM, METER, ImportFile, Source, Value
from ddr.imports.numbers import beyond, doubtful, implausible, number, single, within_limits
from ddr.imports.times import instants

_OTHER = ("calib", "kalib", "alert", "alarm", "warn")  # beginnings of kinds of rows whose number is something else


@dataclass(frozen=True, slots=True)
class Reading:
    """One row that should be a glucose value, as its texts; `meter`: measured in a drop of blood."""

    line: int
    time: str
    value: str
    unit: str
    source: Source
    maker: Maker
    meter: bool = False
    tick: int | None = None  # seconds of the device's own clock


def is_other(kind: str) -> bool:
    """True for a kind of row with a number that is not a sensor value: a calibration, the limit of an alert."""
    return kind.casefold().startswith(_OTHER)


def glucose_file(name: str, readings: Sequence[Reading], zone: tzinfo, skipped: int) -> ImportFile:
    """The file made from `readings`; rows without a valid time or value are listed as bad."""
    file = ImportFile(name, skipped=skipped)
    groups, ticks = [(one.source, one.meter) for one in readings], [one.tick for one in readings]
    times = instants([one.time for one in readings], groups, zone, ticks)
    for reading, time_ms in zip(readings, times, strict=True):
        if time_ms is None:
            file.reject(reading.line, f"no time: {reading.time or 'empty'}"[:80])
            continue
        comparator, value = _value(reading)
        if reason := _fault(reading, value):
            file.reject(reading.line, reason)
            continue
        code = (METER if reading.meter else CGM)[reading.unit]
        one = Value(reading.line, time_ms, code, reading.unit, value, reading.source, comparator=comparator)
        file.values.append(one)
        if reading.maker.limits and not reading.meter:
            file.limit(reading.source, reading.maker.limits)
    return file


def _value(reading: Reading) -> tuple[str, Decimal | str | None]:
    """Comparator and value: for a meter's `<40` both, for a sensor only LOW, as for a word; None if there is no
    value."""
    word = beyond(reading.value)
    if word and reading.meter:
        return single(reading.value) or ("", word)
    return "", word or number(reading.value)


def _fault(reading: Reading, value: Decimal | str | None) -> str | None:
    """Why the value is rejected; None when it is valid."""
    if value is None:
        return f"no value: {reading.value or 'empty'}"[:80]
    if isinstance(value, Decimal):
        return doubtful(reading.value, reading.unit) or implausible(value, reading.unit)
    if reading.meter:
        return "a single value must be a number"
    return within_limits(reading.value, reading.maker.limits.get(reading.unit, USUAL_LIMITS[reading.unit]))
