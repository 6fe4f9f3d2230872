"""JSON whose decimals keep the digits as written: 5.50 in a file is not 5.5."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

_LONG = 20  # integers with this many digits become floats, as in orjson


def with_digits(text: str) -> Any:
    """The value of `text`, with decimals as Decimal. Raises ValueError, and RecursionError for deep lists."""
    return json.loads(text, parse_float=_decimal, parse_int=_whole)


def _decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an impossible exponent
        return float(text)


def _whole(text: str) -> int | float:
    return int(text) if len(text) < _LONG else float(text)
