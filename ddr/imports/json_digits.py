"""JSON whose decimals keep the digits that are written: 5.50 of a file is not 5.5."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

_LONG = 20  # digits from which an integer is a float, as in orjson


def with_digits(text: str) -> Any:
    """The value of `text`, decimals as Decimal. Raises ValueError, and RecursionError for deep lists."""
    return json.loads(text, parse_float=_decimal, parse_int=_whole)


def _decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that no value has
        return float(text)


def _whole(text: str) -> int | float:
    return int(text) if len(text) < _LONG else float(text)
