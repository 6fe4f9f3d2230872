"""The parts of a dossier, and its machine-readable form: facts, chapters of rows, documents, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ddr.dossier.page import html
from ddr.drafts import draft

Row = dict[str, str]


class DossierError(ValueError):
    """Why there is no dossier; one line for the caller."""


@dataclass(frozen=True)
class Chapter:
    """Rows with the same columns. `about`: what they are and where they come from; `by`: the column that groups
    them."""

    name: str
    about: str
    rows: Sequence[Row]
    by: str = ""


@dataclass(frozen=True)
class Dossier:
    """`facts` are on the first page; `documents` are JSON, by file name; `missing` lists what lacks evidence."""

    title: str
    facts: Mapping[str, str]
    chapters: Sequence[Chapter]
    documents: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def with_installation(self, other: Dossier) -> Dossier:
        """This dossier of a release followed by that of an installation, which wins where both have a chapter."""
        own = {one.name for one in other.chapters}
        return replace(
            self,
            facts={**self.facts, **other.facts},
            chapters=[*(one for one in self.chapters if one.name not in own), *other.chapters],
            documents={**self.documents, **other.documents},
            missing=[*self.missing, *other.missing],
        )


def write(dossier: Dossier, folder: Path) -> None:
    """Write dossier.html, dossier.json, and each document to a file of its own. Raises OSError."""
    files = folder / "documents"
    files.mkdir(parents=True, exist_ok=True)
    written = {
        folder / "dossier.html": html(dossier).encode(),
        folder / "dossier.json": as_json(dossier),
        **{files / name: orjson.dumps(one, option=orjson.OPT_INDENT_2) for name, one in dossier.documents.items()},
    }
    for file, content in written.items():
        with draft(file) as out:
            out.write(content)


def as_json(dossier: Dossier) -> bytes:
    """The content of the page, with the documents inside."""
    return orjson.dumps(asdict(dossier), option=orjson.OPT_INDENT_2)


def read(file: Path) -> Dossier:
    """A dossier written earlier. Raises DossierError, OSError."""
    try:
        found = orjson.loads(file.read_bytes())
        return Dossier(**{**found, "chapters": [Chapter(**one) for one in found["chapters"]]})
    except (ValueError, TypeError, KeyError):
        raise DossierError(f"{file}: is not a dossier.json") from None
