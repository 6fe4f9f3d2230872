"""The requirements of HDDT 1.0.1 in the catalogue: id, level, area, page, wording, and how each can be observed."""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
# In the wheel it is beside this module; in a checkout, where the tests of our own server read it.
PLACES = (HERE / "requirements.csv", HERE.parent.parent / "docs" / "conformance" / "requirements.csv")


@dataclass(frozen=True)
class Requirement:
    """A row. `level` is MUST, MUST NOT, SHOULD, SHOULD NOT, MAY, or NOTE: a contradiction and how it is read."""

    id: str
    level: str
    chapter: str
    page: str
    words: str
    seen: str

    @property
    def binds(self) -> bool:
        """Whether it demands something: it is neither a permission nor a note."""
        return self.level not in ("MAY", "NOTE")


@cache
def catalogue() -> dict[str, Requirement]:
    """All rows by id, in the catalogue's order."""
    file = next(place for place in PLACES if place.exists())
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [
            Requirement(row["id"], row["level"], row["area"], row["page"], row["requirement"], row["how_to_verify"])
            for row in csv.DictReader(lines)
        ]
    return {row.id: row for row in rows}


@cache
def unseen() -> dict[str, str]:
    """Why no check covers a requirement, by its id."""
    found = tomllib.loads((HERE / "unseen.toml").read_text("utf-8"))
    return {name: reason for reason, row in found.items() for name in row["requirements"]}
