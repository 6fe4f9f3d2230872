"""Descriptions of our tables for data people: each column is named, and the pandas examples read what we write."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ddr.cli.clients.output import COLUMNS
from ddr.client.files import Output
from ddr.patient_pages.table_forms import HEADING, Exact, Excel

DOCS = Path(__file__).parents[2] / "docs"
Rows = list[tuple[Any, ...]]


def read(page: str, file: str) -> Rows:
    """What the page's piece of code that reads `file` leaves in `frame`: time, value as read, code or id."""
    pieces = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    (piece,) = (one for one in pieces if f'"{file}"' in one)
    names: dict[str, Any] = {}
    exec(piece, names)
    frame = names["frame"]
    assert str(frame["time"].dtype).endswith("UTC]")
    return [tuple(row[name] for name in frame.columns) for row in frame.to_dict("records")]


def column(rows: Rows, at: int) -> list[Any]:
    return [row[at] for row in rows]


def test_each_column_of_the_patients_table_is_named() -> None:
    told = (DOCS / "imports.md").read_text().partition("## The neutral table\n")[2].partition("## Any other table")[0]
    _, block, text = told.split("```\n", 2)
    assert set(HEADING) <= {*block.partition("\n")[0].split(","), *re.findall(r"`(\w+)`", text)}
    assert f"`{Exact().file}`" in text and f"`{Excel().file}`" in text


def test_the_patients_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = Exact()
    about = ("NA", "00123", "Glucose", "", "yes", "M", "700585005", "40", "400")
    rows = [
        ("2026-11-20T07:05:00.000Z", "99504-3", "L", "mg/dL", *about),
        ("2026-11-20T07:00:00.250Z", "99504-3", "101", "mg/dL", *about),
        ("2026-11-20T07:00:00.500Z", "99504-3", "7", "mg/dL", *about[:4], "no", *about[5:]),
        ("2026-07-20T07:00:00.000Z", "15074-8", "5.6", "mmol/L", *about),
    ]
    (tmp_path / form.file).write_bytes(form.begin() + form.write(rows))
    monkeypatch.chdir(tmp_path)
    found = read("imports.md", form.file)
    assert column(found, 2) == ["5.6", "101", "L"] and column(found, -1)[:2] == [5.6, 101.0]
    assert found[-1][-1] != found[-1][-1]  # no number
    assert {row[4:6] for row in found} == {("NA", "00123")} and {row[10] for row in found} == {"700585005"}


def test_what_the_client_wrote_is_read_as_it_holds_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of an id take the place of earlier ones, come twice after a crash, and times are of several forms."""
    out = Output(tmp_path / "news.csv", "csv", COLUMNS)

    def told(name: str, change: str, version: str | None, *values: tuple[str, str | None]) -> None:
        about = {"pairing": "0012", "change": change, "observation_id": name, "version": version}
        base = dict.fromkeys(COLUMNS) | about
        rows = [
            {**base, "time": datetime.fromisoformat(time), "value": None if value is None else Decimal(value)}
            for time, value in values
        ]
        out.write(rows or [base])

    winter, summer = "2026-11-20T07:00:00+01:00", "2026-07-20T07:00:00.250+02:00"
    told("chunk", "new", "1", (winter, "100"), ("2026-11-20T07:05:00+01:00", "110"))
    told("chunk", "changed", "2", (winter, "101"), ("2026-11-20T07:05:00+01:00", None))
    told("chunk", "changed", "2", (winter, "101"), ("2026-11-20T07:05:00+01:00", None))  # after a crash
    told("old", "new", "1", (summer, "5.6"))
    told("old", "gone", None)
    told("wrong", "new", "1", (winter, "9"))
    told("wrong", "deleted", None)
    monkeypatch.chdir(tmp_path)
    at = COLUMNS.index
    found = read("client.md", "news.csv")
    ids, values = column(found, at("observation_id")), column(found, at("value"))
    assert ids == ["chunk", "chunk", "old"] and values[0] == 101 and values[1] != values[1] and values[2] == 5.6
    assert {row[at("pairing")] for row in found} == {"0012"}
    assert [str(time) for time in column(found, at("time"))] == [
        "2026-11-20 06:00:00+00:00",
        "2026-11-20 06:05:00+00:00",
        "2026-07-20 05:00:00.250000+00:00",
    ]
