"""Numbers and units in files: with a decimal point or comma, or a word for out of range. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from ddr.imports.model import HIGH, LOW

_WORDS = {
    LOW: ("low", "lo", "niedrig", "tief", "zu niedrig", "bas", "bajo", "basso", "laag", "<"),
    HIGH: ("high", "hi", "hoch", "zu hoch", "haut", "alto", "hoog", ">"),
}
_BY_WORD = {word: sign for sign, words in _WORDS.items() for word in words}
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:(?: \d{3})+(?:[.,]\d+)?|(?:\.\d{3})+,\d+|(?:,\d{3})+\.\d+)")
_TWOFOLD = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_SHORT = 16
_FAR = 10  # times the largest plausible value: nobody means that
_NUMBER = re.compile(r"[+-]?\d{1,7}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?")

# What a sensor or a meter can show at all; other numbers are codes of the device. Numbers in mmol/L under a heading of
# mg/dL pass here: the gateway API recognises from all of them together that they are in the other unit.
PLAUSIBLE = {
    "mg/dL": (Decimal(1), Decimal(1000)),
    "mmol/L": (Decimal("0.5"), Decimal("56")),
    "mm[Hg]": (Decimal(20), Decimal(350)),
    "L/min": (Decimal(20), Decimal(1000)),
    "L": (Decimal("0.1"), Decimal(12)),
}


def number(text: str) -> Decimal | None:
    """The number that `text` represents, None if it is not one. `1.234,5` and `1,234.5` are equal; so are `5,6` and
    `5.6`.

    `1,000`, which may be a thousand, gives the smaller number; see `doubtful`.
    """
    return _known(text) if len(text) <= _SHORT else _number(text)


def _number(text: str) -> Decimal | None:
    plain = _plain(text)
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(" ", "")
        if "," in plain and "." in plain:
            plain = plain.replace("." if plain.rindex(",") > plain.rindex(".") else ",", "")
    plain = plain.replace(",", ".")
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        found = Decimal(plain)
    except InvalidOperation:
        return None
    return found if not found or -10 < found.adjusted() < 10 else None


_known = lru_cache(maxsize=1024)(_number)  # a file has few different numbers, which are thus kept once


def _plain(text: str) -> str:
    return text.strip().replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-")


def doubtful(text: str, unit: str, converted: Callable[[Decimal], Decimal] = lambda value: value) -> str | None:
    """Why it is unclear whether `1,000` or `1.000` is 1 or 1000 in `unit`; None when only one is possible.

    `converted` converts a number of the file to `unit`.
    """
    text = text.strip().lstrip("<>")
    if unit not in PLAUSIBLE or not _TWOFOLD.fullmatch(_plain(text)) or (found := number(text)) is None:
        return None
    thousands = converted(found * 1000)
    if thousands == converted(found) or abs(thousands) > _FAR * PLAUSIBLE[unit][1]:
        return None
    return f"{text.strip()} may be {found} and {found * 1000:f}; write the number without a separator between thousands"


def beyond(text: str) -> str | None:
    """LOW or HIGH when `text` is a word for it in a language of the exports, or a number after `<` or `>`."""
    word = text.strip().casefold()
    return _BY_WORD.get(word) or (_BY_WORD.get(word[0]) if word[:1] in ("<", ">") and single(word) else None)


def within_limits(text: str, limits: tuple[Decimal, Decimal]) -> str | None:
    """Why `<70` is not LOW, or `>300` not HIGH, for a sensor that measures between `limits`; None if it is."""
    comparator, value = single(text) or ("", Decimal(0))
    if (comparator == "<" and value > limits[0]) or (comparator == ">" and value < limits[1]):
        return f"{text.strip()} is not beyond what the sensor measures ({limits[0]} to {limits[1]})"
    return None


def single(text: str) -> tuple[str, Decimal] | None:
    """Comparator and number of a single value, as in `<20`; None for LO and HI without the limit of the meter."""
    plain = text.strip()
    comparator = plain[:1] if plain[:1] in ("<", ">") else ""
    found = number(plain.removeprefix(comparator))
    return None if found is None else (comparator, found)


def glucose_unit(title: str) -> str:
    """The unit in the title of a column; mg/dL when it contains none."""
    return "mmol/L" if "mmol" in title.casefold() else "mg/dL"


def implausible(value: Decimal, unit: str) -> str | None:
    """Why `value` cannot have been measured in `unit`, None when it can."""
    lowest, highest = PLAUSIBLE.get(unit, (None, None))
    if lowest is None or highest is None or lowest <= value <= highest:
        return None
    return f"{value} {unit} cannot have been measured"
