"""Numbers as they are written in German and English."""

from __future__ import annotations

from fractions import Fraction


def local(lang: str, number: str) -> str:
    """A number with a decimal point, as this language writes it."""
    return number.replace(".", ",") if lang == "de" else number


def rounded(lang: str, value: Fraction | float, decimals: int = 0) -> str:
    """A number with so many decimals."""
    return local(lang, f"{float(value):.{decimals}f}")
