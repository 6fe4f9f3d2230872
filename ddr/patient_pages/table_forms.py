"""The two forms of the patient's tables: exact for programs (RFC 4180), and as a German Excel opens it. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from ddr.imports.table import FORMULA
from ddr.patient_pages.dates import which_clock
from ddr.patient_pages.texts.devices import called

# The neutral table that `ddr import` reads (docs/imports.md), also in German: another recorder can import all of it.
_COLUMNS = {
    "time": "Zeit",
    "code": "Code",
    "value": "Wert",
    "unit": "Einheit",
    "device": "Gerät",
    "serial": "Seriennummer",
    "kind": "Art",
    "name": "Name",
    "shown": "gezeigt",
    "manufacturer": "Hersteller",
    "device_type": "Geräteart",
    "lower_limit": "Untergrenze",
    "upper_limit": "Obergrenze",
}
HEADING, GERMAN = tuple(_COLUMNS), tuple(_COLUMNS.values())
TIME = HEADING.index("time")
EXACT = "Zeit (UTC)"  # for spreadsheets: programs that show times to the minute also save them so
NUMBERS = tuple(HEADING.index(name) for name in ("value", "lower_limit", "upper_limit"))
NAMES = tuple(HEADING.index(name) for name in ("device", "manufacturer"))
TEXTS = (*NAMES, *(HEADING.index(name) for name in ("code", "serial", "device_type")))
SHOWN = HEADING.index("shown")
ANSWERS = {"yes": "ja", "no": "nein"}
LONGEST_TEXT = 255  # characters of a text in a formula


def harmless(given: str) -> str:
    """The text of a cell, made so that no spreadsheet takes it for a formula, nor a piece of it after splitting the
    file at the wrong separator."""
    return FORMULA.sub("'", given)


def csv_lines(rows: Iterable[Sequence[str]], separator: str = ",") -> bytes:
    """The rows as lines of a file (RFC 4180)."""
    written = io.StringIO()
    csv.writer(written, delimiter=separator).writerows(rows)
    return written.getvalue().encode()


@dataclass(frozen=True)
class Exact:
    """Commas, decimal points, UTC."""

    file: str = "messwerte.csv"
    mark: str = ""
    separator: str = ","
    heading: Sequence[str] = HEADING

    def row(self, cells: Sequence[str]) -> Sequence[str]:
        """The cells unchanged."""
        return cells

    def write(self, rows: Iterable[Sequence[str]]) -> bytes:
        """Lines of the file."""
        return csv_lines(map(self.row, rows), self.separator)

    def begin(self) -> bytes:
        """The first line."""
        return self.mark.encode() + csv_lines([self.heading], self.separator)


@dataclass(frozen=True)
class Excel(Exact):
    """Semicolons, decimal commas, German time; a byte order mark at the beginning says UTF-8."""

    file: str = "messwerte-excel.csv"
    mark: str = "\ufeff"
    separator: str = ";"
    heading: Sequence[str] = (*GERMAN, EXACT)

    def row(self, cells: Sequence[str]) -> Sequence[str]:
        """Time, numbers, and names given by an import in German; texts in a form that stays text; then the exact
        time."""
        changed = list(cells)
        changed[TIME] = _german(cells[TIME])
        for at in NUMBERS:
            changed[at] = cells[at].replace(".", ",")
        for at in NAMES:
            changed[at] = called("de", cells[at])
        for at in TEXTS:
            changed[at] = _as_text(changed[at])
        changed[SHOWN] = ANSWERS[cells[SHOWN]]
        return [*changed, _as_text(cells[TIME])]


def _as_text(cell: str) -> str:
    """A cell that Excel leaves as it is: it would turn the code 8480-6 into June 8480, and the serial number 0012 into
    12."""
    plain = cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell  # quotes do the same at the beginning
    return f'="{plain.replace(chr(34), chr(34) * 2)}"' if 0 < len(cell) <= LONGEST_TEXT else cell


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def _german(instant: str) -> str:
    """An instant in German time; unchanged where there is no German day (the last hour of the year 9999)."""
    try:
        local = datetime.fromisoformat(instant).astimezone(ZoneInfo("Europe/Berlin"))
    except OverflowError:
        return instant
    return f"{local:%d.%m.%Y %H:%M:%S}"


def _told(instant: str) -> str:
    """The same for tables without the exact time: in the hour that occurs twice in autumn it says which one it is."""
    found = datetime.fromisoformat(instant)
    return _german(instant) + which_clock("de", round(found.timestamp() * 1000))


async def for_excel(
    lines: AsyncIterator[bytes], heading: Sequence[str], in_german: Callable[[Sequence[str]], Sequence[str]] = tuple
) -> AsyncIterator[bytes]:
    """A table of texts and instants as a German Excel opens it, from its exact form.

    The first piece of `lines` is the heading; `heading` is the German one, and `in_german` translates the tags in a
    row. Each piece holds whole rows.
    """
    form = Excel(heading=heading)
    await anext(lines)
    yield form.begin()
    async for piece in lines:
        rows = csv.reader(io.StringIO(piece.decode(), newline=""))
        changed = ([_told(cell) if _INSTANT.fullmatch(cell) else cell for cell in in_german(row)] for row in rows)
        yield csv_lines(changed, form.separator)
