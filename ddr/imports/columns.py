"""The tables of a file: rows below a heading, whose cells are asked for by what their columns mean. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ddr.imports.content import Content, Row
from ddr.imports.titles import Titles, begins, plain

_TIMES = ("time", "date")  # meanings of the columns that say when
_DECIMALS = 3  # of a number in a file; a longer one is a column of its own, but behind
_SMALL = 2  # digits, as of mmol/L that were made of mg/dL and have decimals without end
NUMBERED = r"[\s_#.(]*\d[\s.)]*"  # of columns that are called alike, behind the name
ENDS = "the file breaks off in this row"

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
        for at, title in enumerate(map(plain, self._heading)):
            if (name := next((one for one in self._names.get(meaning, ()) if begins(title, one)), None)) is not None:
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
    titles = [plain(cells[at]) for at in places if at < len(cells)]
    return any(begins(title, name) for title in titles for name in names)


def _found(titles: Titles, columns: Columns) -> dict[str, int]:
    found: dict[str, int] = {}
    for meaning, beginnings in columns.items():
        for beginning in beginnings:
            at = titles.place(beginning)
            if at is not None and at not in found.values():
                found[meaning] = at
                break
    return found


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
