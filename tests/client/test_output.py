"""Rows and progress on the terminal of `ddr client`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

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


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("rest", ["p,ne", '{"pairing": "p', "x" * 200_000])
def test_a_line_that_a_crash_has_cut_is_written_anew(form: str, rest: str, tmp_path: Path) -> None:
    file = tmp_path / "news"
    assert opened(file, form).write([ROW]) == 1
    whole = file.read_text()
    file.write_text(whole + rest)
    assert opened(file, form).write([ROW]) == 1
    assert file.read_text() == whole + whole.splitlines(keepends=True)[-1]
    file.write_text(rest)
    assert opened(file, form).write([ROW]) == 1
    assert file.read_text() == whole


def test_half_a_character_is_written_as_one_that_is_not_known(tmp_path: Path) -> None:
    assert opened(tmp_path / "news", "jsonl").write([{**ROW, "serial": "S\ud800"}]) == 1
    assert json.loads((tmp_path / "news").read_text())["serial"] == "S?"


@pytest.mark.parametrize(("name", "kind"), [("", IsADirectoryError), ("absent/news.csv", FileNotFoundError)])
def test_where_no_file_can_be_is_said_before_anything_is_pulled(name: str, kind: type[OSError], tmp_path: Path) -> None:
    with pytest.raises(kind):
        opened(tmp_path / name, "csv")


def test_a_file_of_somebody_else_in_a_folder_of_tables_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "2026-11.parquet").touch()
    assert opened(tmp_path, "parquet").write([ROW]) == 1
    assert (tmp_path / "00000001.parquet").exists()
