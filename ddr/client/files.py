"""Readings as files: CSV, JSON Lines, Parquet. What was written is durable when `write` returns.

Readings are health data: a new file is for its owner only; an existing one keeps its mode.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from ddr.appending import keep_names
from ddr.client.data import COLUMNS, Row, plain
from ddr.drafts import OWN

FORMATS = ("csv", "jsonl", "parquet")
PIECE = 65_536  # bytes read at once in search of the end of a line


class OtherColumns(ValueError):
    """A CSV file to which these rows cannot be added; the message is one line that says why."""


class Output:
    """Writes rows into one file, which grows (CSV, JSON Lines), or into a folder of files (Parquet, which cannot grow).
    Several processes may write to the same one.

    `columns` are those of the rows. Raises ImportError when Parquet is wanted and pyarrow is missing, OSError for a
    path that cannot be such a file or folder, OtherColumns for a CSV file with other columns: better now than after the
    first pull.
    """

    def __init__(self, path: Path, form: str, columns: Sequence[str]) -> None:
        self._path, self._form, self._columns = path, form, tuple(columns)
        self._number = 0  # of the last file in the folder that was claimed
        if form == "parquet":
            import pyarrow  # noqa: F401

            path.mkdir(parents=True, exist_ok=True)
        elif path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        else:
            path.parent.stat()
            if form == "csv" and path.is_file():
                self._compare()

    def _compare(self) -> None:
        """Raise when the file is of a version with other columns, or not ours: values would stand under wrong names."""
        with self._path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            head = lines.readline(PIECE)
        if head.endswith("\n") and next(csv.reader([head]), []) != list(self._columns):
            raise OtherColumns(f"{self._path}: its first line does not name these columns; choose another file")

    def write(self, rows: Iterable[Row]) -> int:
        """Append rows and return their number. Without rows nothing is written."""
        found = list(rows)
        if found:
            self._parquet(found) if self._form == "parquet" else self._append(found)
        return len(found)

    def _append(self, rows: Sequence[Row]) -> None:
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, OWN), "a+b") as out:
            with suppress(OSError):  # a file system without locks: then only one process may write
                fcntl.flock(out, fcntl.LOCK_EX)  # half a line may be one that another process is writing
            _without_torn_line(out)
            text = io.StringIO()
            first = out.tell() == 0
            if self._form == "csv":
                writer = csv.DictWriter(text, self._columns, lineterminator="\n")
                if first:
                    writer.writeheader()
                writer.writerows(map(as_text, rows))
            else:
                text.writelines(json.dumps(row, default=as_json, ensure_ascii=False) + "\n" for row in rows)
            out.write(text.getvalue().encode("utf-8", "replace"))  # UTF-8 cannot encode lone surrogates
            out.flush()
            os.fsync(out.fileno())
        if first:
            keep_names(self._path.resolve().parent)

    def _parquet(self, rows: Sequence[Row]) -> None:
        from pyarrow import parquet

        target, part = self._claimed()
        try:
            parquet.write_table(arrow_table(rows, self._columns), part)
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(target)
            keep_names(self._path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _claimed(self) -> tuple[Path, Path]:
        """The next file, and its draft, which no other process writes: two processes see the same files and would take
        the same number. A draft left by a crash keeps its number taken."""
        if not self._number:  # only once: a service fills the folder
            names = [one.stem for one in self._path.glob("*.parquet")]
            self._number = max((int(one) for one in names if re.fullmatch("[0-9]{1,9}", one)), default=0)
        while True:
            self._number += 1
            target = self._path / f"{self._number:08}.parquet"
            part = target.with_suffix(".part")
            try:
                part.touch(OWN, exist_ok=False)
            except FileExistsError:
                continue
            if not target.exists():
                return target, part
            part.unlink()  # another process has just finished this file


def _without_torn_line(out: IO[bytes]) -> None:
    """Position `out` at its end, after removing a last line that a crash or a full disk has cut: its row comes
    again."""
    end = out.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - PIECE)
        out.seek(begin)
        end = begin + out.read(end - begin).rfind(b"\n") + 1
        if end > begin:
            break
    out.seek(0, os.SEEK_END)
    if end < out.tell():
        out.truncate(end)
        out.seek(end)


def arrow_table(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> Any:
    """A pyarrow Table; values as float64, times as timestamps in UTC."""
    import pyarrow

    kinds = {
        "time": pyarrow.timestamp("us", tz="UTC"),
        "value": pyarrow.float64(),
        "limit": pyarrow.float64(),
        "final": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns])
    return pyarrow.Table.from_pylist([plain(row) for row in rows], schema=schema)


def as_text(row: Row) -> Row:
    """A row as texts, as written to CSV."""
    return {name: _text(value) for name, value in row.items()}


def as_json(value: Any) -> Any:
    """The JSON form of types that json does not know. Raises TypeError."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return ("true" if value else "false") if isinstance(value, bool) else value
