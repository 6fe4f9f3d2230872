"""Tells UCUM units from typing errors: the grammar of ucum.org with the units used in measurements of patients."""

from __future__ import annotations

import re

_PREFIXES = ("Y", "Z", "E", "P", "T", "G", "M", "k", "h", "da", "d", "c", "m", "u", "n", "p", "f", "a")
# fmt: off
_METRIC = (
    "g", "L", "l", "m", "s", "mol", "eq", "osm", "Hz", "Pa", "bar", "J", "cal", "W", "V", "A", "K", "Cel", "U", "[iU]",
    "[IU]", "m[Hg]", "m[H2O]", "kat", "Bq", "Gy", "Sv", "B", "Ohm",
)
# fmt: on
_OTHER = ("min", "h", "d", "wk", "mo", "a", "%", "deg", "[degF]", "[ppm]", "[pH]", "[in_i]", "[ft_i]", "[lb_av]")


def _any(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_ANNOTATION = r"\{[!-z|~]+\}"
_ATOM = rf"(?:(?:{_any(_PREFIXES)})?(?:{_any(_METRIC)})|{_any(_OTHER)})(?:[+-]?[1-9])?(?:{_ANNOTATION})?"
_PART = rf"(?:{_ATOM}|10\*[+-]?[1-9][0-9]?|[1-9][0-9]*|{_ANNOTATION})"
_UNIT = re.compile(rf"/?{_PART}(?:[./]{_PART})*")


_LITRE = re.compile(r"(?<!mo)l\b")


def with_litre(text: str) -> str:
    """The same unit with the litre written as L, as in all units of the MIVs; UCUM allows l and L."""
    return _LITRE.sub("L", text)


def is_unit(text: str) -> bool:
    """True for a case-sensitive UCUM code such as mg/dL, mm[Hg], kg/m2, {beats}/min or 10*3/uL."""
    return _UNIT.fullmatch(text) is not None
