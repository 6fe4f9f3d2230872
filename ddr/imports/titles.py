"""The titles of columns, by which the readers of tables find their columns. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RELATIVE = re.compile(r"%|percent|prozent|\b(?:pred|soll|z-?score|lln|of birth)|^ ?/ ?(?:[if]?vc\b|fev)")
_NUMERIC = re.compile(r"[\d\s.,:/TZ+-]+")


class Titles:
    """The cells of a heading, found by the beginning of a title."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._by_letter: dict[str, list[tuple[int, str]]] = {}
        for at, title in enumerate(map(plain, cells)):
            self._by_letter.setdefault(title[:1], []).append((at, title))

    def place(self, beginning: str) -> int | None:
        """The number of the column with this title, else of the first one that begins with it."""
        alike = self._by_letter.get(beginning[:1], ())
        if (exact := next((at for at, title in alike if title == beginning.removesuffix("$")), None)) is not None:
            return exact
        return next((at for at, title in alike if begins(title, beginning)), None)


def plain(cell: str) -> str:
    """A cell of a heading in the form in which titles are compared."""
    return " ".join(cell.strip('\ufeff" ').casefold().split())


def may_be_heading(cells: Sequence[str]) -> bool:
    """True for several cells, at most one of them a number or time."""
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
    """Whether `title` begins with `beginning` as whole words; if that ends in `$`, only a unit may follow.

    Predicted values, or a share of something else (FEV1/FVC, PEF %), are not measurements; a date of birth is not the
    time.
    """
    wanted = beginning.removesuffix("$")
    if not title.startswith(wanted):
        return False
    rest = title[len(wanted) :]
    if beginning.endswith("$"):
        return not rest or rest.lstrip()[:1] in ("(", "[")
    return not rest[:1].isalpha() and not _RELATIVE.search(rest)
