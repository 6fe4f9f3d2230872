"""The files of an export for research: tables as CSV and, if asked for, Parquet, the data dictionary, the report."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from ddr.operations import research_parquet
from ddr.operations.research import Export, Terms
from ddr.research.tables import DICTIONARY, PersonRow, ValueRow

RULES = (
    "Given are whole weeks of those who agreed, and of accounts that are not disabled.",
    "Persons have an id drawn for this export and for one kind and code; nothing links two of them.",
    "Weeks are moved by a number of weeks that was drawn and forgotten; weeks that are missing are closed up.",
    "Continuous data has one value for each half hour of a week; weeks with a gap are left out.",
    "Single measurements have the hour and the week, not the day.",
    "Values are rounded to two significant digits, and kept within bounds that at least `least` people reach: of"
    " continuous data for each half hour of the week, of single measurements for each code.",
    "A number of weeks, an age group, a code and unit is that of at least `least` people, or is left out.",
    "No week of a person is in two exports.",
    "Names, serial numbers, makers, devices and texts are in no table.",
)


def names(*, parquet: bool) -> tuple[str, ...]:
    """The files of an export."""
    more = ("persons.parquet", "values.parquet") if parquet else ()
    return ("persons.csv", "values.csv", *more, "dictionary.csv", "report.json")


@contextmanager
def written(export: Export, terms: Terms, folder: Path, *, parquet: bool) -> Iterator[None]:
    """The files, readable for their owner only; they bear their names when the block ends well, else they are gone."""
    parts = {name: folder / f".{name}.part" for name in names(parquet=parquet)}
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context(_create(path)) for name, path in parts.items()}
            _table(files["persons.csv"], PersonRow._fields, _persons(export))
            _table(files["values.csv"], ValueRow._fields, _values(export))
            _table(files["dictionary.csv"], ("file", "column", "type", "meaning"), DICTIONARY)
            json.dump(report(export, terms), files["report.json"], indent=2, ensure_ascii=False)
            if parquet:
                research_parquet.write(files["persons.parquet"].buffer, "persons", _persons(export))
                research_parquet.write(files["values.parquet"].buffer, "values", _values(export))
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        yield
        for name, path in parts.items():
            path.rename(folder / name)
    finally:
        for path in parts.values():
            path.unlink(missing_ok=True)


def report(export: Export, terms: Terms) -> dict[str, Any]:
    """What was given under which approval, and what was left out and why."""
    approval = terms.approval
    return {
        "approval": {
            "title": approval.title,
            "reference": approval.reference,
            "recipient": approval.recipient,
            "until": str(approval.until),
            "kinds": list(approval.kinds),
            "weeks": approval.weeks,
            "sha256": approval.sha256.hex(),
        },
        "least": terms.least,
        "agreed": export.agreed if export.agreed >= terms.least else f"fewer than {terms.least}",
        "kinds": export.counts,
        "rules": list(RULES),
    }


def _persons(export: Export) -> Iterator[PersonRow]:
    return (row for part in export.parts for row in part.persons())


def _values(export: Export) -> Iterator[ValueRow]:
    return (row for part in export.parts for row in part.values())


def _create(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline="")


def _table(file: TextIO, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """CSV of RFC 4180; whole numbers without a point."""
    writer = csv.writer(file)
    writer.writerow(heading)
    writer.writerows(map(_texts, rows))


def _texts(row: Sequence[Any]) -> list[str]:
    return [f"{one:g}" if isinstance(one, float) else "" if one is None else str(one) for one in row]
