"""The two forms of the patient's table: exact for programs (RFC 4180), and as a German Excel opens it. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

# The neutral table that `ddr import` reads (docs/imports.md), in German, too: another recorder takes all of it over.
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
NUMBERS = tuple(HEADING.index(name) for name in ("value", "lower_limit", "upper_limit"))


@dataclass(frozen=True)
class Exact:
    """Commas, decimal points, UTC."""

    file: str = "messwerte.csv"
    mark: str = ""
    separator: str = ","
    heading: Sequence[str] = HEADING

    def row(self, cells: Sequence[str]) -> Sequence[str]:
        """The cells as they are."""
        return cells

    def write(self, rows: Iterable[Sequence[str]]) -> bytes:
        """Lines of the file."""
        written = io.StringIO()
        csv.writer(written, delimiter=self.separator).writerows(map(self.row, rows))
        return written.getvalue().encode()

    def begin(self) -> bytes:
        """The first line."""
        written = io.StringIO()
        csv.writer(written, delimiter=self.separator).writerow(self.heading)
        return (self.mark + written.getvalue()).encode()


@dataclass(frozen=True)
class Excel(Exact):
    """Semicolons, decimal commas, German time; the mark at the beginning says UTF-8."""

    file: str = "messwerte-excel.csv"
    mark: str = "\ufeff"
    separator: str = ";"
    heading: Sequence[str] = GERMAN

    def row(self, cells: Sequence[str]) -> Sequence[str]:
        """Time and numbers as German programs write them."""
        changed = list(cells)
        local = datetime.fromisoformat(cells[TIME]).astimezone(ZoneInfo("Europe/Berlin"))
        changed[TIME] = f"{local:%d.%m.%Y %H:%M:%S}"
        for at in NUMBERS:
            changed[at] = cells[at].replace(".", ",")
        return changed
