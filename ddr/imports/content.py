"""The content of a file, whatever program saved it: text in any encoding, rows with any separator, or JSON. Pure."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from ddr.imports.json_digits import with_digits
from ddr.imports.model import ImportFileError
from ddr.imports.titles import Titles, may_be_heading

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SEPARATORS = (";", "\t", "|")
_SNIFFED = 200
_MOST_COLUMNS = 300  # of a heading; sections of a file have some dozens
_MOST_TITLES = 20_000  # in all possible headings: each is compared with what every reader looks for
_SHARED = 4096  # texts of the first rows; later rows mostly repeat them
_LETTERS = "äöüÄÖÜßéèàçñ"


class Row(NamedTuple):
    """A row of a table, and the number of the line on which it ends."""

    line: int
    cells: tuple[str, ...]


class Content:
    """The bytes of a file in the forms that readers need; each form is made once, on first use."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @cached_property
    def text(self) -> str:
        """The text: by its byte order mark, else as UTF-8, else as Windows-1252 or Mac Roman (Excel on a Mac),
        whichever gives letters; without NUL, on which Excel fails."""
        for mark, encoding in _MARKS:
            if self.raw.startswith(mark):
                return self.raw[len(mark) :].decode(encoding, "replace").replace("\0", "")
        if self.raw[1:200:2].count(0) > len(self.raw[1:200:2]) // 2:
            return self.raw.decode("utf-16-le", "replace").replace("\0", "")
        try:
            text = codecs.utf_8_decode(self.raw, "strict", False)[0]  # allows a cut-off last character
        except UnicodeDecodeError:
            texts = [self.raw.decode(encoding, "replace") for encoding in ("cp1252", "mac_roman")]
            text = max(texts, key=lambda text: sum(map(text.count, _LETTERS)))
        return text.replace("\0", "")

    @cached_property
    def json(self) -> Any:
        """The value of a JSON file, None if it is not JSON. Raises ImportFileError when it is cut off."""
        if self.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            return orjson.loads(self.text)
        except orjson.JSONDecodeError as error:
            if self.text.lstrip()[:1] == "[" or '"' in self.text[:50]:
                raise ImportFileError(f"the file is incomplete: {error}") from None
            return None

    @cached_property
    def exact_json(self) -> Any:
        """`json` with the digits of its decimals: 5.50 is not 5.5. Three times as slow."""
        return None if self.json is None else with_digits(self.text)

    @property
    def separator(self) -> str:
        """The separator between the cells of a table."""
        return self._table[0]

    @property
    def rows(self) -> list[Row]:
        """The rows of a table, without empty ones."""
        return self._table[1]

    @cached_property
    def _table(self) -> tuple[str, list[Row]]:
        """Separator and rows. Only the file's own line ends count: a note may contain a line separator (U+2028). Texts
        that occur in many cells are kept once."""
        lines = self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        separator, rows, known = _separator(lines), list[Row](), dict[str, str]()
        text_of = _as_shown if '="' in self.text else str.strip
        for line, cells in _read_rows(lines, separator):
            stripped = [text_of(cell) for cell in cells]
            if any(stripped):
                share = known.setdefault if len(known) < _SHARED else known.get
                rows.append(Row(line, tuple([share(cell, cell) for cell in stripped])))
        return separator, rows

    @cached_property
    def cut_off(self) -> Row | None:
        """The last row, when it has no line end and lacks cells that the row above has: an interrupted download ends
        within a row, perhaps within a number."""
        whole = len(self.rows) < 3 or self.text[-1:] in ("\n", "\r")  # directly below a heading short rows are usual
        return None if whole or len(self.rows[-1].cells) >= len(self.rows[-2].cells) else self.rows[-1]

    @cached_property
    def headings(self) -> list[tuple[int, Titles]]:
        """Possible headings by row number: several cells, at most one of them a number or time.

        Files have hundreds of thousands of rows, and every reader searches its headings among these few.
        """
        found, left = [], _MOST_TITLES
        for at, row in enumerate(self.rows):
            if len(row.cells) <= _MOST_COLUMNS and may_be_heading(row.cells):
                left -= len(row.cells)
                if left < 0:
                    break
                found.append((at, Titles(row.cells)))
        return found


def _as_shown(cell: str) -> str:
    """The text as a spreadsheet shows it: a text that must not become a number or date is often written ="8480-6"."""
    cell = cell.strip()
    return cell[2:-1].replace('""', '"').strip() if cell[:2] == '="' and cell[-1:] == '"' and len(cell) > 2 else cell


def _read_rows(lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row and the number of its last line. A quote that is never closed does not swallow further rows."""
    reader, before = csv.reader(lines, delimiter=separator, strict=False), 0
    while True:
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a field of more than 131,072 characters
            pass
        if reader.line_num == before + 1:
            yield reader.line_num, cells
        else:
            alone = [_alone(line, separator) for line in lines[before : reader.line_num]]
            if any(len(one) >= len(cells) for one in alone[1:]):  # these are rows, not the lines of a note
                yield from enumerate(alone, before + 1)
            else:
                yield reader.line_num, cells
        before = reader.line_num


def _alone(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, strict=False))
    except csv.Error:
        return []


def _separator(lines: Sequence[str]) -> str:
    """The separator in most lines. A comma may be a decimal comma, so it comes last."""
    told = [line for line in lines[:_SNIFFED] if line.strip()]
    if told and told[0].lower().startswith("sep=") and len(told[0]) == len("sep=;"):
        return told[0][-1]
    for separator in _SEPARATORS:
        if sum(separator in line for line in told) * 2 > len(told):
            return separator
    return ","
