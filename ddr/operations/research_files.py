"""The files of an export for research: tables as CSV and, on request, Parquet, the data dictionary, the report."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from ddr.appending import keep_names
from ddr.drafts import naming
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

_PART = re.compile(r"\.(.+)\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([0-9]+)\.part")


def names(*, parquet: bool) -> tuple[str, ...]:
    """The files of an export."""
    more = ("persons.parquet", "values.parquet") if parquet else ()
    return ("persons.csv", "values.csv", *more, "dictionary.csv", "report.json")


def write(export: Export, terms: Terms, folder: Path, export_id: UUID, *, parquet: bool) -> None:
    """Write the files to the disk, readable by their owner only; `put_in_place` gives them their final names.

    On failure no file is left.
    """
    parts = {name: folder / f".{name}.{export_id}.{len(export.weeks)}.part" for name in names(parquet=parquet)}
    try:
        with naming(folder), ExitStack() as stack:
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
        keep_names(folder)
    except BaseException:
        take_back(folder, export_id)
        raise


def put_in_place(folder: Path, export_id: UUID) -> list[Path]:
    """Give the files of an export their final names; those that already have them are left."""
    placed = []
    for name, path in sorted(_parts(folder, export_id).items()):
        placed.append(path.rename(folder / name))
    keep_names(folder)
    return placed


def take_back(folder: Path, export_id: UUID) -> None:
    """Delete the files that do not have their final names yet."""
    for path in _parts(folder, export_id).values():
        path.unlink(missing_ok=True)


def withhold(folder: Path, export_id: UUID) -> None:
    """Delete what an interrupted export has left, first the files with final names: only this export can have made
    them."""
    for name in names(parquet=True):
        (folder / name).unlink(missing_ok=True)
    take_back(folder, export_id)


def unfinished(folder: Path) -> dict[UUID, int]:
    """The exports that were interrupted before all files had their final names, with the number of their people."""
    return {UUID(found[2]): int(found[3]) for path in folder.glob(".*.part") if (found := _PART.fullmatch(path.name))}


def _parts(folder: Path, export_id: UUID) -> dict[str, Path]:
    """The drafts, by final name."""
    found = ((_PART.fullmatch(path.name), path) for path in folder.glob(f".*.{export_id}.*.part"))
    return {match[1]: path for match, path in found if match}


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
    """CSV of RFC 4180; integers without a decimal point."""
    writer = csv.writer(file)
    writer.writerow(heading)
    writer.writerows(map(_texts, rows))


def _texts(row: Sequence[Any]) -> list[str]:
    return [f"{one:g}" if isinstance(one, float) else "" if one is None else str(one) for one in row]
