"""Rows and progress on the terminal of `ddr client`."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO

import pytest

from ddr.cli.clients.output import COLUMNS, opened
from ddr.cli.clients.progress import Progress
from ddr.cli.errors import CommandError
from ddr.client import files
from ddr.client.data import Row

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


def _serials(folder: Path) -> list[str]:
    from pyarrow import parquet

    return [row["serial"] for one in sorted(folder.glob("*.parquet")) for row in parquet.read_table(one).to_pylist()]


def test_two_that_write_tables_into_one_folder_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: both saw the same files, took the same number, and one replaced the file of the other."""
    one, other, table = opened(tmp_path, "parquet"), opened(tmp_path, "parquet"), files.arrow_table

    def meanwhile(rows: Sequence[Row], columns: Sequence[str]) -> object:
        monkeypatch.setattr(files, "arrow_table", table)
        assert other.write([{**ROW, "serial": "other"}]) == 1
        return table(rows, columns)

    monkeypatch.setattr(files, "arrow_table", meanwhile)
    assert one.write([{**ROW, "serial": "one"}]) == 1
    assert sorted(_serials(tmp_path)) == ["one", "other"]


def test_a_number_that_was_taken_while_it_was_looked_for_stays_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, touch = opened(tmp_path, "parquet"), opened(tmp_path, "parquet"), Path.touch

    def late(path: Path, mode: int, exist_ok: bool) -> None:
        monkeypatch.setattr(Path, "touch", touch)
        assert other.write([{**ROW, "serial": "other"}]) == 1
        touch(path, mode, exist_ok=exist_ok)

    monkeypatch.setattr(Path, "touch", late)
    assert one.write([{**ROW, "serial": "one"}]) == 1
    assert _serials(tmp_path) == ["other", "one"] and not list(tmp_path.glob("*.part"))


def test_a_folder_of_many_tables_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: all of its files for each further one, which held the polling up longer and longer."""
    (tmp_path / "00000007.parquet").touch()
    one, other, looked, glob = opened(tmp_path, "parquet"), opened(tmp_path, "parquet"), list[str](), Path.glob

    def counted(path: Path, pattern: str) -> object:
        looked.append(pattern)
        return glob(path, pattern)

    monkeypatch.setattr(Path, "glob", counted)
    assert [out.write([ROW]) for out in (one, one, other, one, other, other)] == [1] * 6
    assert len(looked) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{number:08}.parquet" for number in range(7, 14)]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(rows: Sequence[Row], columns: Sequence[str]) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "arrow_table", full)
    with pytest.raises(OSError, match="No space"):
        opened(tmp_path, "parquet").write([ROW])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_that_somebody_is_writing_is_not_taken_for_a_cut_one(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: of two processes one cut the half of the other's line off, or both wrote a heading."""
    file, looked, locked = tmp_path / "news", files._without_torn_line, list[bool]()

    def look(out: IO[bytes]) -> None:
        with file.open("rb") as theirs:
            try:
                fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)
        looked(out)

    monkeypatch.setattr(files, "_without_torn_line", look)
    assert opened(file, form).write([ROW]) == 1
    assert locked == [True]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_has_its_name_on_the_disk_before_anybody_goes_on(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: after a power failure the rows could be without a file, and the cursor was behind them."""
    kept, real = list[list[str]](), os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            kept.append(sorted(one.name for one in folder.iterdir()))
        real(descriptor)

    folder = tmp_path / "news" if form == "parquet" else tmp_path
    out = opened(tmp_path / "news", form)
    monkeypatch.setattr(os, "fsync", fsync)
    out.write([ROW])
    names = ["00000001.parquet"] if form == "parquet" else ["news"]
    assert kept == [names]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_readings_are_for_the_owner_of_the_file_only(form: str, tmp_path: Path) -> None:
    """Before: whatever the umask leaves, with which everybody on the host mostly may read."""
    masked = os.umask(0o022)
    try:
        opened(tmp_path / "news", form).write([ROW])
    finally:
        os.umask(masked)
    file = tmp_path / "news" / "00000001.parquet" if form == "parquet" else tmp_path / "news"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_shared_on_purpose_stays_so(tmp_path: Path) -> None:
    file = tmp_path / "news.csv"
    file.touch()
    file.chmod(0o640)
    opened(file, None).write([ROW])
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("content", "good"),
    [
        ("", True),
        (",".join(COLUMNS) + "\n", True),
        ("\ufeff" + ",".join(COLUMNS) + "\r\n", True),
        ('"' + '","'.join(COLUMNS) + '"\n', True),
        ("pairing,cha", True),  # a crash has cut it
        (",".join(COLUMNS[:-1]) + "\n", False),
        (",".join(reversed(COLUMNS)) + "\n", False),
        ('{"pairing": "p"}\n', False),
    ],
)
def test_rows_do_not_come_under_the_names_of_others(content: str, good: bool, tmp_path: Path) -> None:
    """As of a version with other columns, or of somebody else. Before: they were appended as they are."""
    file = tmp_path / "news.csv"
    file.write_bytes(content.encode())
    if good:
        assert opened(file, None).write([ROW]) == 1
        assert file.read_text().count("pairing") == 1
    else:
        with pytest.raises(CommandError, match="does not name these columns"):
            opened(file, None)
        assert file.read_bytes() == content.encode()
    assert opened(file, "jsonl")
