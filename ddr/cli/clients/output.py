"""Where rows go: a file in one of the formats, or the terminal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from ddr.cli.errors import CommandError
from ddr.client.data import COLUMNS as READING
from ddr.client.data import Row
from ddr.client.files import FORMATS, OtherColumns, Output, as_json, as_text

COLUMNS = ("pairing", "change", *READING)


class Printed:
    """Writes rows to stdout."""

    def __init__(self, form: str) -> None:
        self._lines = form == "jsonl"
        self._csv = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        if not self._lines:
            self._csv.writeheader()

    def write(self, rows: Iterable[Row]) -> int:
        """Write rows; returns their number."""
        number = 0
        for row in rows:
            number += 1
            if self._lines:
                print(json.dumps(row, default=as_json, ensure_ascii=False))
            else:
                self._csv.writerow(as_text(row))
        sys.stdout.flush()
        return number


def opened(path: Path | None, form: str | None) -> Output | Printed:
    """The output. Raises CommandError for an unknown format, a file with other columns, or Parquet without pyarrow."""
    ending = path.suffix.removeprefix(".") if path else ""
    form = form or (ending if ending in FORMATS else "csv")
    if path is None:
        if form == "parquet":
            raise CommandError("Parquet needs --out FOLDER")
        return Printed(form)
    try:
        return Output(path, form, COLUMNS)
    except OtherColumns as error:
        raise CommandError(str(error)) from None
    except ImportError:
        raise CommandError("Parquet needs pyarrow: pip install 'ddr[parquet]'") from None
