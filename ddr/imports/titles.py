"""The titles of columns, by which the readers of tables find what they look for. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RELATIVE = re.compile(r"%|percent|prozent|\b(?:pred|soll|z-?score|lln|of birth)|^ ?/ ?(?:[if]?vc\b|fev)")
_NUMERIC = re.compile(r"[\d\s.,:/TZ+-]+")


class Titles:
    """The cells of a heading, to be asked for by how a title begins."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._by_letter: dict[str, list[tuple[int, str]]] = {}
        for at, title in enumerate(map(plain, cells)):
            self._by_letter.setdefault(title[:1], []).append((at, title))

    def place(self, beginning: str) -> int | None:
        """The number of the column that is called so, else of the first one that begins so."""
        alike = self._by_letter.get(beginning[:1], ())
        if (exact := next((at for at, title in alike if title == beginning.removesuffix("$")), None)) is not None:
            return exact
        return next((at for at, title in alike if begins(title, beginning)), None)


def plain(cell: str) -> str:
    """A cell of a heading as titles are compared."""
    return " ".join(cell.strip('\ufeff" ').casefold().split())


def may_be_heading(cells: Sequence[str]) -> bool:
    """True for several cells, no more than one of them a number or time."""
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


def begins(title: str, beginning: str) -> bool:
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
