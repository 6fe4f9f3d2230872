"""Single values that both an import and an app have: the app's stays; of two imports, the first (docs/imports.md).

An export cuts times to the minute and an import has its own keys, so nothing else shows that they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from heapq import nlargest
from itertools import pairwise
from typing import Any, NamedTuple

from ddr.durations import MINUTE_MS
from ddr.fhir.representation import exact_json, exact_value
from ddr.imports.calls import KEY
from ddr.imports.model import BLOOD_GLUCOSE, MEAN
from ddr.imports.naming import value_in
from ddr.store.database.pool import Row

ERROR = "entered-in-error"
MOST_TIMES = 20  # which are looked up at once


def minutes_around(times: Iterable[int]) -> tuple[list[int], list[int]]:
    """The intervals, as their beginnings and ends in ms, in which a stored value may be the same as one of these times.

    They ascend and do not overlap: values of one request may be years apart, and what is stored in between need not be
    read. There are at most MOST_TIMES, separated by the widest gaps, because the database looks each of them up.
    """
    ordered = sorted(times)
    gaps = ((after - before, at) for at, (before, after) in enumerate(pairwise(ordered), 1))
    widest = nlargest(MOST_TIMES - 1, (gap for gap in gaps if gap[0] > 2 * MINUTE_MS))
    parts = [*pairwise([0, *sorted(at for _, at in widest), len(ordered)])]
    return [ordered[at] - MINUTE_MS for at, _ in parts], [ordered[end - 1] + MINUTE_MS for _, end in parts]


class Deduplicated(NamedTuple):
    """What to write so that no value is stored twice."""

    new: list[Row]  # to insert
    same_as: dict[str, Row]  # not to insert, by key: the stored or new row that says the same
    revised: list[Row]  # stored rows that the request changes, in their new form
    giving_way: list[Row]  # further stored rows of imports, in their new form: entered in error


def deduplicated(new: Sequence[Row], revised: Sequence[Row], around: Iterable[Row]) -> Deduplicated:
    """Where an import's row says the same as an app's, the import's is not stored, or becomes entered in error.

    `new`: rows to be stored; `revised`: stored rows in their new form; `around`: at least the stored rows of their MIVs
    within the minutes around them, without deleted ones. Two rows say the same when their `_content` is equal and their
    times are less than a minute apart.
    """
    stored = {row["measurement_no"]: row for row in (*around, *revised)}
    apps = _by_content(row for row in (*stored.values(), *new) if not _is_imported(row) and _is_valid(row))
    imported = {mark: row for row in stored.values() if _is_imported(row) for mark in _marks(row)}
    same_as: dict[str, Row] = {}
    for row in new:
        if _is_imported(row):
            same = _of_app(row, apps) or next((imported[mark] for mark in _marks(row) if mark in imported), None)
            if same is not None:
                same_as[row["measurement_key"]] = same
    written = {row["measurement_key"] for row in (*new, *revised)}
    giving_way = {}
    for number, row in stored.items():
        same = _of_app(row, apps)
        if same is not None and not written.isdisjoint((row["measurement_key"], same["measurement_key"])):
            giving_way[number] = _entered_in_error(row)
    new = [row for row in new if row["measurement_key"] not in same_as]
    revised = [giving_way.pop(row["measurement_no"], row) for row in revised]
    return Deduplicated(new, same_as, revised, list(giving_way.values()))


def _by_content(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[_content(row)].append(row)
    return found


def _is_imported(row: Row) -> bool:
    return str(row["measurement_key"]).startswith(KEY)


def _is_valid(row: Row) -> bool:
    return bool(row["status"] != ERROR)


def _of_app(row: Row, apps: Mapping[tuple[Any, ...], Sequence[Row]]) -> Row | None:
    """The row of an app that says what this valid row of an import says; None for rows of apps."""
    if not _is_imported(row) or not _is_valid(row):
        return None
    near = (app for app in apps.get(_content(row), ()) if abs(row["effective_ms"] - app["effective_ms"]) < MINUTE_MS)
    return next((app for app in near if _components(row) <= _components(app)), None)


def _marks(row: Row) -> tuple[Any, ...]:
    """What two rows of imports have in common when they are one value: what their keys say, or device, instant and all
    that was measured. The keys of one value differ if a file words it differently, or an earlier version named it
    differently."""
    at = row["device_no"], row["effective_ms"]
    return value_in(row["measurement_key"]), (*at, row["code"], _content(row), _components(row))


def _content(row: Row) -> tuple[Any, ...]:
    """What was measured, for comparison: code, unit, comparator and number, or code and components.

    Numbers are compared by value: 5.50 and 5.5 are equal. A file does not say in which blood a meter measured, and
    rarely has the mean of a blood pressure: a value of an app that knows more is still the same.
    """
    if row["value"] is not None:
        code = "glucose" if row["code"] in BLOOD_GLUCOSE else row["code"]
        return code, row["unit"], row["comparator"], Decimal(row["value"])
    return row["code"], frozenset(part for part in _components(row) if part[0] != MEAN)


def _components(row: Row) -> frozenset[tuple[str, Decimal | None]]:
    """Code and number of each component; none of a measurement that has a value itself."""
    parts = () if row["value"] is not None else exact_value(row["content"]).get("component", ())
    return frozenset((_code(part), _number(part)) for part in parts)


def _code(component: Mapping[str, Any]) -> str:
    return str(component["code"]["coding"][0]["code"])


def _number(component: Mapping[str, Any]) -> Decimal | None:
    quantity = component.get("valueQuantity")
    return None if quantity is None else Decimal(str(quantity["value"]))


def _entered_in_error(row: Row) -> Row:
    content = exact_value(row["content"]) | {"status": ERROR}
    return {**row, "status": ERROR, "content": exact_json(content)}
