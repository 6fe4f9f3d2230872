"""The content of a file, whatever program saved it: text of any encoding, rows of any separator, or JSON. Pure."""

from __future__ import annotations

import codecs
import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from ddr.imports.json_digits import with_digits
from ddr.imports.model import ImportFileError

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SEPARATORS = (";", "\t", "|")
_SNIFFED = 200
_TIMES = ("time", "date")  # meanings of the columns that say when
_MOST_COLUMNS = 300  # of a heading; sections of a file have some dozens
_MOST_TITLES = 20_000  # in all that may be headings: each is compared with what every reader looks for
_DECIMALS = 3  # of a number in a file; a longer one is a column of its own, but behind
_SMALL = 2  # digits, as of mmol/L that were made of mg/dL and have decimals without end
_SHARED = 4096  # texts of the first rows, of which most are those of further ones
_LETTERS = "äöüÄÖÜßéèàçñ"
_RELATIVE = re.compile(r"%|percent|prozent|\b(?:pred|soll|z-?score|lln|of birth)|^ ?/ ?(?:[if]?vc\b|fev)")
NUMBERED = r"[\s_#.(]*\d[\s.)]*"  # of columns that are called alike, behind the name
ENDS = "the file breaks off in this row"
_NUMERIC = re.compile(r"[\d\s.,:/TZ+-]+")


class Row(NamedTuple):
    """A row of a table, and the number of the line on which it ends."""

    line: int
    cells: tuple[str, ...]


class Content:
    """The bytes of a file as the readers want to see them; each form is made once, when it is first asked for."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @cached_property
    def text(self) -> str:
        """Decoded by its byte order mark, else as UTF-8, else as Windows-1252 or as a Mac's Excel does, whichever gives
        letters; without NUL, which Excel chokes on."""
        for mark, encoding in _MARKS:
            if self.raw.startswith(mark):
                return self.raw[len(mark) :].decode(encoding, "replace").replace("\0", "")
        if self.raw[1:200:2].count(0) > len(self.raw[1:200:2]) // 2:
            return self.raw.decode("utf-16-le", "replace").replace("\0", "")
        try:
            text = codecs.utf_8_decode(self.raw, "strict", False)[0]  # but for a letter in which the file ends
        except UnicodeDecodeError:
            texts = [self.raw.decode(encoding, "replace") for encoding in ("cp1252", "mac_roman")]
            text = max(texts, key=lambda text: sum(map(text.count, _LETTERS)))
        return text.replace("\0", "")

    @cached_property
    def json(self) -> Any:
        """The value of a JSON file, None when it is none. Raises ImportFileError for one that is cut off."""
        if self.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            return orjson.loads(self.text)
        except orjson.JSONDecodeError as error:
            if self.text.lstrip()[:1] == "[" or '"' in self.text[:50]:
                raise ImportFileError(f"the file is not whole: {error}") from None
            return None

    @cached_property
    def exact_json(self) -> Any:
        """`json` with the digits of its decimals: 5.50 is not 5.5. Three times as slow."""
        return None if self.json is None else with_digits(self.text)

    @property
    def separator(self) -> str:
        """What stands between the cells of a table."""
        return self._table[0]

    @property
    def rows(self) -> list[Row]:
        """The rows of a table, those without any text left out."""
        return self._table[1]

    @cached_property
    def _table(self) -> tuple[str, list[Row]]:
        """Separator and rows. Lines end as files end them, and by nothing else: a note may have a line separator of its
        own (U+2028). A text that many cells have is there once."""
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
        """The last row, when it lacks the end of its line and cells that the one above has: a download that broke off
        ends within a row, maybe in a number."""
        whole = len(self.rows) < 3 or self.text[-1:] in ("\n", "\r")  # below a heading alone short rows are usual
        return None if whole or len(self.rows[-1].cells) >= len(self.rows[-2].cells) else self.rows[-1]

    @cached_property
    def headings(self) -> list[tuple[int, _Titles]]:
        """What may be headings, by the place of the row: several cells, no more than one of them a number or time.

        Files have hundreds of thousands of rows, and every reader looks for its headings among these few.
        """
        found, left = [], _MOST_TITLES
        for at, row in enumerate(self.rows):
            if len(row.cells) <= _MOST_COLUMNS and _may_be_heading(row.cells):
                left -= len(row.cells)
                if left < 0:
                    break
                found.append((at, _Titles(row.cells)))
        return found


def _as_shown(cell: str) -> str:
    """What a spreadsheet shows: a text that no program should take for a number or day is often written ="8480-6"."""
    cell = cell.strip()
    return cell[2:-1].replace('""', '"').strip() if cell[:2] == '="' and cell[-1:] == '"' and len(cell) > 2 else cell


class _Titles:
    """The cells of a heading, to be asked for by how a title begins."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._by_letter: dict[str, list[tuple[int, str]]] = {}
        for at, title in enumerate(map(_plain, cells)):
            self._by_letter.setdefault(title[:1], []).append((at, title))

    def place(self, beginning: str) -> int | None:
        """The number of the column that is called so, else of the first one that begins so."""
        alike = self._by_letter.get(beginning[:1], ())
        if (exact := next((at for at, title in alike if title == beginning.removesuffix("$")), None)) is not None:
            return exact
        return next((at for at, title in alike if _begins(title, beginning)), None)


def _plain(cell: str) -> str:
    """A cell of a heading as titles are compared."""
    return " ".join(cell.strip('\ufeff" ').casefold().split())


def _may_be_heading(cells: Sequence[str]) -> bool:
    numbers = texts = 0
    for cell in cells:
        if not cell:
            continue
        if _NUMERIC.fullmatch(cell):
            numbers += 1
            if numbers > 1:
                return False
        else:
            texts += 1
    return texts > 1


def _read_rows(lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row and the number of its last line. A quote that nothing closes takes no further rows with it."""
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
    """What most lines are divided by; a comma may be the decimal sign of the others, so it comes last."""
    told = [line for line in lines[:_SNIFFED] if line.strip()]
    if told and told[0].lower().startswith("sep=") and len(told[0]) == len("sep=;"):
        return told[0][-1]
    for separator in _SEPARATORS:
        if sum(separator in line for line in told) * 2 > len(told):
            return separator
    return ","


Columns = Mapping[str, Sequence[str]]  # meaning → how the title of its column begins, in lower case


class Table:
    """Rows below a heading, whose cells are asked for by what they mean."""

    def __init__(self, content: Content, at: int, end: int, columns: Mapping[str, int], names: Columns) -> None:
        """The heading is in row `at`; `end` is behind the last row. `columns` has the places by meaning."""
        self.rows = content.rows[at + 1 : end]
        self._heading = content.rows[at].cells
        self._columns = columns
        self._names = names
        self._separator = content.separator
        self._cut_off = content.cut_off

    def __contains__(self, meaning: str) -> bool:
        return meaning in self._columns

    def alike(self, meaning: str) -> dict[int, str]:
        """Every column whose title begins with a name of this meaning, and what it says behind the name."""
        found = dict[int, str]()
        for at, title in enumerate(map(_plain, self._heading)):
            if (name := next((one for one in self._names.get(meaning, ()) if _begins(title, one)), None)) is not None:
                found[at] = title.removeprefix(name.removesuffix("$"))
        return found

    def several(self, places: Iterable[int]) -> str:
        """What to say of a row with other values in each of these columns, which are called alike."""
        titles = ", ".join(self.title_at(at) for at in places)
        return f"several values of one time ({titles[:90]}); which one is meant cannot be told"

    def title_at(self, at: int) -> str:
        """The text above a column by its number from the left."""
        return self._heading[at]

    def title(self, meaning: str) -> str:
        """The text above a column, which often has the unit."""
        return self._heading[self._columns[meaning]]

    def place(self, meaning: str) -> int:
        """The number of a column from the left."""
        return self._columns[meaning]

    def cell(self, row: Row, meaning: str) -> str:
        """The text in a column; "" when the row is too short or there is no such column."""
        return self.cell_at(row, self._columns.get(meaning, len(row.cells)))

    def cell_at(self, row: Row, at: int) -> str:
        """The same of a column by its number from the left."""
        return row.cells[at] if at < len(row.cells) else ""

    def amount(self, row: Row, meaning: str) -> str:
        """The text of a number; where a comma without quotes may have cut it in two, a text that is no number."""
        return self.amount_at(row, self._columns[meaning])

    def amount_at(self, row: Row, at: int) -> str:
        """The same of a column by its number from the left; text for a row in which the file breaks off, too."""
        if at < len(row.cells) and self.ends_in(row):
            return ENDS
        return cut_in_two(row.cells, at, len(self._heading), self._separator) or self.cell_at(row, at)

    def ends_in(self, row: Row) -> bool:
        """True for a row in which the file breaks off: what stands there as 12 may have been 123."""
        return row is self._cut_off and len(row.cells) < len(self._heading)

    def cells(self, meanings: Sequence[str]) -> Iterator[list[str]]:
        """The texts in these columns, row by row: `cell` of each, for files of hundreds of thousands of rows."""
        places = [self._columns.get(meaning, sys.maxsize) for meaning in meanings]
        for row in self.rows:
            cells = row.cells
            width = len(cells)
            yield [cells[at] if at < width else "" for at in places]

    def moment(self, row: Row) -> str:
        """Date and time of a row, from one column `time`, or from `date` and `clock`."""
        return self.cell(row, "time") or f"{self.cell(row, 'date')} {self.cell(row, 'clock')}".strip()


def tables(content: Content, columns: Columns, needed: Callable[[Mapping[str, int]], bool]) -> Iterator[Table]:
    """Every table of a file whose heading has what is `needed`; a table ends where the next heading begins, also that
    of a table of something else (weights behind blood pressures), whose numbers stand in the same columns."""
    rows = content.rows
    heads: list[tuple[int, dict[str, int] | None]] = []  # the row, and the places by meaning; None: of something else
    for at, titles in content.headings:
        if needed(found := _found(titles, columns)):
            heads.append((at, found))
        elif heads and (above := heads[-1][1]) is not None and _is_title(rows[at].cells, above, columns):
            heads.append((at, None))
    ends = [*(at for at, _ in heads[1:]), len(rows)]
    for (at, places), end in zip(heads, ends, strict=False):  # without heads there is an end
        if places is not None:
            yield Table(content, at, end, places, columns)


def _is_title(cells: Sequence[str], above: Mapping[str, int], columns: Columns) -> bool:
    """True for a row with the title of a time where the rows of a table have their time."""
    places = {above[meaning] for meaning in _TIMES if meaning in above}
    names = [name for meaning in _TIMES for name in columns.get(meaning, ())]
    titles = [_plain(cells[at]) for at in places if at < len(cells)]
    return any(_begins(title, name) for title in titles for name in names)


def cut_in_two(cells: Sequence[str], at: int, width: int, separator: str) -> str:
    """What to say of `5,6` that became two cells, in a row that has more of them than its heading; "" otherwise.

    Taken as it stands the value would be 5. Nor is 5.6 sure: there are rows with a comma too many at their end.
    """
    if separator != "," or not at + 1 < len(cells) > width:
        return ""
    whole, part = cells[at], cells[at + 1]
    if not (whole.isdecimal() and part.isdecimal() and (len(part) <= _DECIMALS or len(whole) <= _SMALL)):
        return ""
    return f"{whole},{part} without quotes is two columns"


def _found(titles: _Titles, columns: Columns) -> dict[str, int]:
    found: dict[str, int] = {}
    for meaning, beginnings in columns.items():
        for beginning in beginnings:
            at = titles.place(beginning)
            if at is not None and at not in found.values():
                found[meaning] = at
                break
    return found


def _begins(title: str, beginning: str) -> bool:
    """`beginning` stands at the start of `title` as whole words; with a `$` behind it is all but a unit.

    What is predicted, or a share of something else (FEV1/FVC, PEF %), is not what was measured; a date of birth is not
    when.
    """
    wanted = beginning.removesuffix("$")
    if not title.startswith(wanted):
        return False
    rest = title[len(wanted) :]
    if beginning.endswith("$"):
        return not rest or rest.lstrip()[:1] in ("(", "[")
    return not rest[:1].isalpha() and not _RELATIVE.search(rest)
