"""Numbers as they are written in German and English."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

GROUPED = 10_000  # from here on digits are grouped by three


def local(lang: str, number: str) -> str:
    """A number, given with a decimal point, as this language writes it."""
    return number.replace(".", ",") if lang == "de" else number


def counted(lang: str, number: int) -> str:
    """A count as this language writes it: `25.920`, `25,920`; four digits need no groups."""
    return f"{number:,}".replace(",", "." if lang == "de" else ",") if number >= GROUPED else str(number)


def rounded(lang: str, value: Fraction | float, decimals: int = 0) -> str:
    """A number with this many decimals, as this language writes it."""
    return local(lang, halves_up(value, decimals))


def halves_up(value: Fraction | float, decimals: int) -> str:
    """A number with this many decimals and a decimal point. Halves are rounded up, as in the report that a DiGA
    gets."""
    near = Decimal(f"{float(value):.9f}")  # 8.25 mmol/L is 8.249999999999998 after conversion
    return str(near.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))
