"""Single values that an import and an app both have: the app's stay; of two imports the first (docs/imports.md).

An export cuts times to the minute and keys of an import are its own, so nothing else tells that they are the same.
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

Row = Mapping[str, Any]

ERROR = "entered-in-error"
MOST_TIMES = 20  # that are asked for at once


def minutes_around(times: Iterable[int]) -> tuple[list[int], list[int]]:
    """The spans, as their begins and their ends in ms, in which a stored value may be the same as one of these times.

    They ascend and do not overlap: values of one request may lie years apart, and what is stored between them need not
    be read. There are MOST_TIMES at most, apart by the widest gaps: the database looks for each of them anew.
    """
    ordered = sorted(times)
    gaps = ((after - before, at) for at, (before, after) in enumerate(pairwise(ordered), 1))
    widest = nlargest(MOST_TIMES - 1, (gap for gap in gaps if gap[0] > 2 * MINUTE_MS))
    parts = [*pairwise([0, *sorted(at for _, at in widest), len(ordered)])]
    return [ordered[at] - MINUTE_MS for at, _ in parts], [ordered[end - 1] + MINUTE_MS for _, end in parts]


class Told(NamedTuple):
    """What is to be done: rows to store, those not to store by key, each with the row that says the same, rows to
    revise as they are wanted, and further stored ones that give way, as they are to be revised."""

    new: list[Row]
    there: dict[str, Row]
    revised: list[Row]
    giving: list[Row]


def told_apart(new: Sequence[Row], revised: Sequence[Row], around: Iterable[Row]) -> Told:
    """What to store so that no value is there twice: an import's gives way to an app's that says the same.

    `new`: rows to be stored; `revised`: stored rows as they are to become; `around`: at least what is stored of their
    MIVs within the minutes around them, and not deleted. The same is what has one code, one value or set of components
    (see `_said`), and times less than a minute apart.
    """
    stored = {row["measurement_no"]: row for row in (*around, *revised)}
    apps = _by_content(row for row in (*stored.values(), *new) if not _imported(row) and _stands(row))
    files = {value_in(row["measurement_key"]): row for row in stored.values() if _imported(row)}
    there = {
        row["measurement_key"]: same for row in new if (same := _same(row, apps) or _brought(row, files)) is not None
    }
    written = {row["measurement_key"] for row in (*new, *revised)}
    giving = {}
    for number, row in stored.items():
        same = _same(row, apps)
        if same is not None and not written.isdisjoint((row["measurement_key"], same["measurement_key"])):
            giving[number] = _withdrawn(row)
    wanted = [giving.pop(row["measurement_no"], row) for row in revised]
    return Told([row for row in new if row["measurement_key"] not in there], there, wanted, list(giving.values()))


def _brought(row: Row, files: Mapping[str, Row]) -> Row | None:
    """What another file has brought of this value."""
    return files.get(value_in(row["measurement_key"])) if _imported(row) else None


def _by_content(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[_said(row)].append(row)
    return found


def _imported(row: Row) -> bool:
    return str(row["measurement_key"]).startswith(KEY)


def _stands(row: Row) -> bool:
    return bool(row["status"] != ERROR)


def _same(row: Row, apps: Mapping[tuple[Any, ...], Sequence[Row]]) -> Row | None:
    """The app's row that says what this one of an import says."""
    if not _imported(row) or not _stands(row):
        return None
    near = (app for app in apps.get(_said(row), ()) if abs(row["effective_ms"] - app["effective_ms"]) < MINUTE_MS)
    return next((app for app in near if _parts(row) <= _parts(app)), None)


def _said(row: Row) -> tuple[Any, ...]:
    """What a measurement says, as numbers: 5.50 and 5.5 are equal.

    A file does not tell in what blood a meter measured, and seldom has the mean of a blood pressure: an app that knows
    more says the same.
    """
    if row["value"] is not None:
        code = "glucose" if row["code"] in BLOOD_GLUCOSE else row["code"]
        return code, row["unit"], row["comparator"], Decimal(row["value"])
    return row["code"], frozenset(part for part in _parts(row) if part[0] != MEAN)


def _parts(row: Row) -> frozenset[tuple[str, Decimal | None]]:
    """The components of a measurement; none of one that has a value."""
    parts = () if row["value"] is not None else exact_value(row["content"]).get("component", ())
    return frozenset((_code(part), _amount(part)) for part in parts)


def _code(part: Mapping[str, Any]) -> str:
    return str(part["code"]["coding"][0]["code"])


def _amount(part: Mapping[str, Any]) -> Decimal | None:
    quantity = part.get("valueQuantity")
    return None if quantity is None else Decimal(str(quantity["value"]))


def _withdrawn(row: Row) -> Row:
    content = exact_value(row["content"]) | {"status": ERROR}
    return {**row, "status": ERROR, "content": exact_json(content)}
