"""A patient's data as changes make it: replaced by id, dropped when in error, as readings, rows, frames and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ddr.client.pull import Change, Kind
from ddr.client.series import Expected, Json, Reading, expected_of, readings_of

Row = dict[str, Any]
COLUMNS = (
    *("time", "value", "unit", "sign", "limit", "code", "status", "final"),
    *("serial", "calibration", "observation_id", "version"),
)


class Series:
    """The Observations that a pairing has at present. What is gone from the recorder's history stays, what was deleted
    or entered in error does not.

    Chunks of two devices that overlap stay apart, by `serial`; readings come in order of time.
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.observations: dict[str, Json] = {}
        self._related: dict[str, Json] = {}
        for change in changes:
            self.apply(change)

    def apply(self, change: Change) -> None:
        """Take a change over. The same one again changes nothing."""
        self._related.update(change.related)
        if change.kind in (Kind.ENTERED_IN_ERROR, Kind.DELETED):
            self.observations.pop(change.id, None)
        elif change.resource is not None:
            self.observations[change.id] = change.resource

    def readings(self, unit: str = "", codes: Iterable[str] = ()) -> list[Reading]:
        """In order of time; glucose in `unit` (mg/dL or mmol/L) if given, and only these codes."""
        wanted = set(codes)
        found = [one for each in self.observations.values() for one in readings_of(each, self._related)]
        found.sort(key=lambda one: (one.time, one.serial or "", one.code))
        return [one.within(unit) if unit else one for one in found if not wanted or one.code in wanted]

    def expected(self) -> list[Expected]:
        """Spans for which values are expected and none has arrived."""
        found = (expected_of(each, self._related) for each in self.observations.values())
        return sorted((one for one in found if one is not None), key=lambda one: one.start)

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
    """A reading by the names of COLUMNS."""
    return {name: getattr(reading, name) for name in COLUMNS}


def rows_of(changes: Iterable[Change]) -> Iterator[Row]:
    """Rows with two more columns: `change`, and `pairing`-free identity `observation_id`: replace all rows of an id by
    those that come last; a row without `time` says that the id has none any more."""
    for change in changes:
        found = [] if change.resource is None else list(readings_of(change.resource, change.related))
        for reading in found:
            yield {"change": change.kind.value, **row_of(reading)}
        if not found:
            resource: Mapping[str, Any] = change.resource or {}
            empty: Row = dict.fromkeys(COLUMNS)
            about = {"observation_id": change.id, "status": resource.get("status")}
            yield {"change": change.kind.value, **empty, **about}


def plain(row: Row) -> Row:
    """Decimals as floats."""
    return {
        name: float(value) if name in ("value", "limit") and value is not None else value for name, value in row.items()
    }
