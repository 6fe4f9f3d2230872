"""Single values that an import and an app both have: the app's stay (docs/imports.md).

An export cuts times to the minute and keys of an import are its own, so nothing else tells that they are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ddr.durations import MINUTE_MS
from ddr.fhir.representation import exact_json, exact_value
from ddr.imports.calls import KEY

Row = Mapping[str, Any]

ERROR = "entered-in-error"


def minutes_around(times: Sequence[int]) -> tuple[int, int]:
    """From when until when what is stored may be the same as what has one of these times, in ms."""
    return min(times) - MINUTE_MS, max(times) + MINUTE_MS


def told_apart(
    new: list[Row], revised: Iterable[Row], around: Sequence[Row]
) -> tuple[list[Row], dict[str, Row], list[Row]]:
    """Of `new` rows those to store, those of an import that an app has sent already, by key, with the app's row, and
    stored rows of an import that give way to what an app sends or corrects now, as they are to be revised.

    `around`: at least what is stored of their MIVs within the minutes around them, and not deleted.
    Equal is what has one code, one value or set of components, and times less than a minute apart.
    """
    known = _by_content(around)
    kept, there, giving = [], dict[str, Row](), dict[str, Row]()
    for row in new:
        others = [other for other in known.get(_said(row), ()) if _same(row, other)]
        if others and _imported(row):
            there[row["measurement_key"]] = others[0]
            continue
        kept.append(row)
        giving |= {other["measurement_key"]: _withdrawn(other) for other in others}
    for row in revised:
        if not _imported(row) and row["status"] != ERROR:
            others = [other for other in known.get(_said(row), ()) if _same(row, other)]
            giving |= {other["measurement_key"]: _withdrawn(other) for other in others}
    return kept, there, list(giving.values())


def _by_content(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[_said(row)].append(row)
    return found


def _imported(row: Row) -> bool:
    return str(row["measurement_key"]).startswith(KEY)


def _same(row: Row, other: Row) -> bool:
    near = abs(row["effective_ms"] - other["effective_ms"]) < MINUTE_MS
    return near and _imported(row) != _imported(other) and other["status"] != ERROR


def _said(row: Row) -> tuple[Any, ...]:
    """What a measurement says, as numbers: 5.50 and 5.5 are equal."""
    if row["value"] is not None:
        return row["code"], row["unit"], row["comparator"], Decimal(row["value"])
    parts = exact_value(row["content"]).get("component", ())
    return row["code"], frozenset((_code(part), _amount(part)) for part in parts)


def _code(part: Mapping[str, Any]) -> str:
    return str(part["code"]["coding"][0]["code"])


def _amount(part: Mapping[str, Any]) -> Decimal | None:
    quantity = part.get("valueQuantity")
    return None if quantity is None else Decimal(str(quantity["value"]))


def _withdrawn(row: Row) -> Row:
    content = exact_value(row["content"]) | {"status": ERROR}
    return {**row, "status": ERROR, "content": exact_json(content), "version": row["version"] + 1}
