"""Numbers and units as people's programs write them: with a decimal point or comma, or as a word for beyond. Pure."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from ddr.imports.model import HIGH, LOW

_WORDS = {
    LOW: ("low", "lo", "niedrig", "tief", "zu niedrig", "bas", "bajo", "basso", "laag", "<"),
    HIGH: ("high", "hi", "hoch", "zu hoch", "haut", "alto", "hoog", ">"),
}
_BY_WORD = {word: sign for sign, words in _WORDS.items() for word in words}
_NUMBER = re.compile(r"[+-]?\d{1,7}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?")

# What a sensor or a meter can have shown at all; what lies beyond is a code of the device. Numbers of mmol/L under a
# heading of mg/dL pass here: the gateway API sees by all of them together that they are in the other unit.
PLAUSIBLE = {
    "mg/dL": (Decimal(1), Decimal(1000)),
    "mmol/L": (Decimal("0.5"), Decimal("56")),
    "mm[Hg]": (Decimal(20), Decimal(350)),
    "L/min": (Decimal(20), Decimal(1000)),
    "L": (Decimal("0.1"), Decimal(12)),
}


def number(text: str) -> Decimal | None:
    """The number that `text` is, None when it is none. `1.234,5` and `1,234.5` are the same; so are `5,6` and `5.6`."""
    plain = text.strip().replace("\u00a0", "").replace("\u202f", "").replace(" ", "").replace("\u2212", "-")
    if "," in plain and "." in plain:
        thousands = "." if plain.rindex(",") > plain.rindex(".") else ","
        plain = plain.replace(thousands, "")
    plain = plain.replace(",", ".")
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        found = Decimal(plain)
    except InvalidOperation:
        return None
    return found if not found or -10 < found.adjusted() < 10 else None


def beyond(text: str) -> str | None:
    """LOW or HIGH when `text` is a word for it in a language of the exports, or begins with `<` or `>`."""
    word = text.strip().casefold()
    return _BY_WORD.get(word) or (_BY_WORD.get(word[0]) if word[:1] in ("<", ">") else None)


def glucose_unit(title: str) -> str:
    """The unit that the title of a column names; mg/dL when it names none."""
    return "mmol/L" if "mmol" in title.casefold() else "mg/dL"


def implausible(value: Decimal, unit: str) -> str | None:
    """Why `value` cannot have been measured in `unit`, None when it can."""
    lowest, highest = PLAUSIBLE.get(unit, (None, None))
    if lowest is None or highest is None or lowest <= value <= highest:
        return None
    return f"{value} {unit} cannot have been measured"
