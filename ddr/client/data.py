"""A patient's data, built from changes: replaced by id, dropped when in error; as readings, rows, frames and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from ddr.client.errors import Unreadable
from ddr.client.pull import Change, Kind
from ddr.client.series import Expected, Json, Reading, expected_of, readings_of

Row = dict[str, Any]
UNREADABLE = "unreadable"  # in place of a Kind
COLUMNS = (
    *("time", "value", "unit", "sign", "limit", "code", "status", "final"),
    *("serial", "calibration", "observation_id", "version"),
)


class Series:
    """The Observations that a pairing has at present. Those that have left the recorder's history stay; those that were
    deleted or entered in error do not.

    Overlapping chunks of two devices stay apart, by `serial`. Readings are in order of time. An Observation that does
    not have the form FHIR requires gives no readings; `unreadable` lists it. `unshown` is the number of further
    Observations that the recorder said it has but did not show (`Client.series`).
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.observations: dict[str, Json] = {}
        self.unshown = 0
        self._related: dict[str, Json] = {}
        for change in changes:
            self.apply(change)

    def apply(self, change: Change) -> None:
        """Apply a change. Applying the same one again changes nothing."""
        self._related.update(change.related)
        if change.kind in (Kind.ENTERED_IN_ERROR, Kind.DELETED):
            self.observations.pop(change.id, None)
        elif change.resource is not None:
            self.observations[change.id] = change.resource

    def readings(self, unit: str = "", codes: Iterable[str] = ()) -> list[Reading]:
        """Readings in order of time, only of these codes if given; glucose in `unit` (mg/dL or mmol/L) if given."""
        wanted = set(codes)
        found = [one for each in self.observations.values() for one in _of(each, self._related) or ()]
        found.sort(key=lambda one: (one.time, one.serial or "", one.code))
        return [one.within(unit) if unit else one for one in found if not wanted or one.code in wanted]

    def expected(self) -> list[Expected]:
        """Spans in which values are expected and none has arrived."""
        found = list[Expected]()
        for each in self.observations.values():
            with suppress(Unreadable):
                one = expected_of(each, self._related)
                found += [one] if one is not None else []
        return sorted(found, key=lambda one: one.start)

    def unreadable(self) -> list[str]:
        """The ids of the Observations that cannot be read."""
        return [name for name, each in self.observations.items() if _of(each, self._related) is None]

    def rows(self, unit: str = "") -> list[Row]:
        """The readings as dicts with the keys COLUMNS; values are Decimal, times have UTC offsets."""
        return [row_of(one) for one in self.readings(unit)]

    def to_pandas(self, unit: str = "") -> Any:
        """A DataFrame with the columns COLUMNS, values as floats, `time` in UTC. Needs pandas (extra `pandas`)."""
        import pandas

        frame = pandas.DataFrame([plain(one) for one in self.rows(unit)], columns=list(COLUMNS))
        frame["time"] = pandas.to_datetime(frame["time"], utc=True)
        return frame.astype({"value": "float64", "limit": "float64"})

    def to_arrow(self, unit: str = "") -> Any:
        """A pyarrow Table with the columns COLUMNS. Needs pyarrow (extra `parquet`)."""
        from ddr.client.files import arrow_table

        return arrow_table(self.rows(unit))


def row_of(reading: Reading) -> Row:
    """A reading as a row with the names in COLUMNS."""
    return {name: _written(getattr(reading, name)) for name in COLUMNS}


def _written(value: Any) -> Any:
    """Text that a file can hold: JSON may contain lone surrogates, which UTF-8 cannot encode."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def rows_of(changes: Iterable[Change], unit: str = "") -> Iterator[Row]:
    """Readings as rows of COLUMNS and a further column, `change`, for callers that store them elsewhere.

    Replace all rows of an `observation_id` by the latest ones; a row without `time` says that the id has no readings
    any more. Its `change` is UNREADABLE where the Observation does not have the form FHIR requires. Glucose is in
    `unit` (mg/dL or mmol/L) if given, else in the device's unit; times have the offset that the recorder gives them.
    """
    for change in changes:
        found = [] if change.resource is None else _of(change.resource, change.related)
        for reading in found or ():
            yield {"change": change.kind.value, **row_of(reading.within(unit) if unit else reading)}
        if not found:
            status = (change.resource or {}).get("status")
            empty: Row = dict.fromkeys(COLUMNS)
            about = {"observation_id": _written(change.id), "status": None if status is None else _written(str(status))}
            yield {"change": UNREADABLE if found is None else change.kind.value, **empty, **about}


def _of(observation: Json, related: Mapping[str, Json]) -> list[Reading] | None:
    """The readings; None where the Observation cannot be read."""
    try:
        return list(readings_of(observation, related))
    except Unreadable:
        return None


def plain(row: Row) -> Row:
    """The row with floats for Decimals."""
    return {
        name: float(value) if name in ("value", "limit") and value is not None else value for name, value in row.items()
    }
