"""Rows and progress on the terminal of `ddr client`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ddr.cli.clients.output import COLUMNS, opened
from ddr.cli.clients.progress import Progress
from ddr.cli.errors import CommandError

ROW = {**dict.fromkeys(COLUMNS), "pairing": "p", "change": "new", "value": Decimal("5.10")}
ROW["time"] = datetime(2026, 11, 28, 1, 2, 3, tzinfo=UTC)


def test_rows_are_printed_as_csv_with_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert opened(None, None).write([ROW, ROW]) == 2
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading == ",".join(COLUMNS)
    assert lines[0] == lines[1] and lines[0].startswith("p,new,") and "5.10" in lines[0]


def test_rows_are_printed_as_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert opened(None, "jsonl").write([ROW]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found == {**ROW, "value": 5.1, "time": "2026-11-28T01:02:03+00:00"}


def test_parquet_is_no_form_of_a_terminal() -> None:
    with pytest.raises(CommandError, match=r"^Parquet needs --out FOLDER$"):
        opened(None, "parquet")


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        (4, "\r\x1b[KRead [######..................] 1/4, one"),
        (None, "\r\x1b[KRead 1, one"),
    ],
)
def test_a_terminal_is_shown_how_far_it_is(
    total: int | None, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("Read", total)
    progress.show(1, "one")
    assert capsys.readouterr().err == shown
    progress.end("done")
    assert capsys.readouterr().err == "\r\x1b[Kdone\n"


def test_elsewhere_only_the_end_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("Read", 4)
    progress.show(1, "one")
    progress.clear()
    progress.end("done")
    assert capsys.readouterr().err == "done\n"
