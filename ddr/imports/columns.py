"""The tables of a file: rows below a heading, with cells found by the meaning of their columns. Pure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ddr.imports.content import Content, Row
from ddr.imports.titles import Titles, begins, plain

_TIMES = ("time", "date")  # meanings of the columns with the time
_DECIMALS = 3  # at most this many digits after a comma are decimals, more are another column; but
_SMALL = 2  # any number of them are after at most this many digits, as in mmol/L converted from mg/dL
NUMBERED = r"[\s_#.(]*\d[\s.)]*"  # the number after the name of columns with the same name
ENDS = "the file ends in the middle of this row"

Columns = Mapping[str, Sequence[str]]  # meaning → possible beginnings of the column's title, in lower case


class Table:
    """Rows below a heading, with cells found by the meaning of their columns."""

    def __init__(self, content: Content, at: int, end: int, columns: Mapping[str, int], names: Columns) -> None:
        """The heading is in row `at`; `end` follows the last row. `columns` has the column numbers by meaning."""
        self.rows = content.rows[at + 1 : end]
        self._heading = content.rows[at].cells
        self._columns = columns
        self._names = names
        self._separator = content.separator
        self._cut_off = content.cut_off

    def __contains__(self, meaning: str) -> bool:
        return meaning in self._columns

    def alike(self, meaning: str) -> dict[int, str]:
        """Every column whose title begins with a name of this meaning, and the rest of its title."""
        found = dict[int, str]()
        for at, title in enumerate(map(plain, self._heading)):
            if (name := next((one for one in self._names.get(meaning, ()) if begins(title, one)), None)) is not None:
                found[at] = title.removeprefix(name.removesuffix("$"))
        return found

    def several(self, places: Iterable[int]) -> str:
        """The message about a row with different values in these columns, which have the same name."""
        titles = ", ".join(self.title_at(at) for at in places)
        return f"several values for the same time ({titles[:90]}); it is unclear which one is meant"

    def title_at(self, at: int) -> str:
        """The title of a column by its number from the left."""
        return self._heading[at]

    def title(self, meaning: str) -> str:
        """The title of a column, which often contains the unit."""
        return self._heading[self._columns[meaning]]

    def place(self, meaning: str) -> int:
        """The number of a column from the left."""
        return self._columns[meaning]

    def cell(self, row: Row, meaning: str) -> str:
        """The text in a column; "" when the row is too short or has no such column."""
        return self.cell_at(row, self._columns.get(meaning, len(row.cells)))

    def cell_at(self, row: Row, at: int) -> str:
        """The text in a column by its number from the left."""
        return row.cells[at] if at < len(row.cells) else ""

    def amount(self, row: Row, meaning: str) -> str:
        """The text of a number; a text that is not a number where an unquoted comma may have split it."""
        return self.amount_at(row, self._columns[meaning])

    def amount_at(self, row: Row, at: int) -> str:
        """The same for a column by its number from the left; also not a number in a row where the file breaks off."""
        if at < len(row.cells) and self.ends_in(row):
            return ENDS
        return cut_in_two(row.cells, at, len(self._heading), self._separator) or self.cell_at(row, at)

    def ends_in(self, row: Row) -> bool:
        """True for a row in which the file breaks off: the cell 12 may have been 123."""
        return row is self._cut_off and len(row.cells) < len(self._heading)

    def cells(self, meanings: Sequence[str]) -> Iterator[list[str]]:
        """The texts in these columns, row by row: `cell` for each, made for files of hundreds of thousands of rows."""
        places = [self._columns.get(meaning, sys.maxsize) for meaning in meanings]
        for row in self.rows:
            cells = row.cells
            width = len(cells)
            yield [cells[at] if at < width else "" for at in places]

    def moment(self, row: Row) -> str:
        """Date and time of a row, from one column `time`, or from `date` and `clock`."""
        return self.cell(row, "time") or f"{self.cell(row, 'date')} {self.cell(row, 'clock')}".strip()


def tables(content: Content, columns: Columns, needed: Callable[[Mapping[str, int]], bool]) -> Iterator[Table]:
    """Every table of a file whose heading has what is `needed`. A table ends at the next heading, even one of a
    different table (weights after blood pressures), whose numbers are in the same columns."""
    rows = content.rows
    heads: list[tuple[int, dict[str, int] | None]] = []  # the row, and columns by meaning; None: other table
    for at, titles in content.headings:
        if needed(found := _found(titles, columns)):
            heads.append((at, found))
        elif heads and (above := heads[-1][1]) is not None and _is_title(rows[at].cells, above, columns):
            heads.append((at, None))
    ends = [*(at for at, _ in heads[1:]), len(rows)]
    for (at, places), end in zip(heads, ends, strict=False):  # without headings there is still an end
        if places is not None:
            yield Table(content, at, end, places, columns)


def _is_title(cells: Sequence[str], above: Mapping[str, int], columns: Columns) -> bool:
    """True for a row that has the title of a time in a column with the table's times."""
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
    """The message about `5,6` that became two cells, in a row with more cells than its heading; "" otherwise.

    The first cell would give 5. Nor is 5.6 certain: some rows have an extra comma at the end.
    """
    if separator != "," or not at + 1 < len(cells) > width:
        return ""
    whole, part = cells[at], cells[at + 1]
    if not (whole.isdecimal() and part.isdecimal() and (len(part) <= _DECIMALS or len(whole) <= _SMALL)):
        return ""
    return f"{whole},{part} without quotation marks is read as two columns"
