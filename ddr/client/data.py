"""A patient's data as changes make it: replaced by id, dropped when in error, as readings, rows, frames and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from ddr.client.errors import Unreadable
from ddr.client.pull import Change, Kind
from ddr.client.series import Expected, Json, Reading, expected_of, readings_of

Row = dict[str, Any]
UNREADABLE = "unreadable"  # in the place of a Kind
COLUMNS = (
    *("time", "value", "unit", "sign", "limit", "code", "status", "final"),
    *("serial", "calibration", "observation_id", "version"),
)


class Series:
    """The Observations that a pairing has at present. What is gone from the recorder's history stays, what was deleted
    or entered in error does not.

    Chunks of two devices that overlap stay apart, by `serial`; readings come in order of time. An Observation of
    another form than FHIR gives it has none; `unreadable` names it. `unshown`: so many more the recorder said that it
    has, and did not show (`Client.series`).
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.observations: dict[str, Json] = {}
        self.unshown = 0
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
        found = [one for each in self.observations.values() for one in _of(each, self._related) or ()]
        found.sort(key=lambda one: (one.time, one.serial or "", one.code))
        return [one.within(unit) if unit else one for one in found if not wanted or one.code in wanted]

    def expected(self) -> list[Expected]:
        """Spans for which values are expected and none has arrived."""
        found = list[Expected]()
        for each in self.observations.values():
            with suppress(Unreadable):
                one = expected_of(each, self._related)
                found += [one] if one is not None else []
        return sorted(found, key=lambda one: one.start)

    def unreadable(self) -> list[str]:
        """The ids of those whose readings cannot be told."""
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
    """A reading by the names of COLUMNS."""
    return {name: _written(getattr(reading, name)) for name in COLUMNS}


def _written(value: Any) -> Any:
    """A text as files can have it: JSON may have halves of characters, for which there is no UTF-8."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def rows_of(changes: Iterable[Change], unit: str = "") -> Iterator[Row]:
    """Readings as rows of COLUMNS with one column more, `change`, for who keeps them elsewhere.

    Replace all rows of an `observation_id` by those that come last; a row without `time` says that the id has none any
    more. Its `change` is UNREADABLE where the Observation has a form that FHIR does not give it. Glucose is in `unit`
    (mg/dL or mmol/L) if given, else in that of the device; times have the offset that the recorder gives them.
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
    """The readings; None where nobody can tell them."""
    try:
        return list(readings_of(observation, related))
    except Unreadable:
        return None


def plain(row: Row) -> Row:
    """Decimals as floats."""
    return {
        name: float(value) if name in ("value", "limit") and value is not None else value for name, value in row.items()
    }
