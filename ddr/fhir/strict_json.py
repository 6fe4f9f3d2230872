"""JSON from outside, read in the same way everywhere: bounded, and refused where parsers could disagree. Pure.

If an object has a member twice, some parsers take the first value, some the last. So it is refused (RFC 8259 section 4,
RFC 7493 section 2.3; FHIR R4 json.html has each property once): a value must not depend on the parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from math import isinf
from typing import Any, Final, NoReturn

import orjson

from ddr.fhir.bounds import check_json

# How the name of a member ends. Strings may contain the same, so there are at least as many of these as members.
_NAME_ENDS = (b'":', b" :", b"\t:", b"\n:", b"\r:")
# An exponent that no real value has, and that Decimal may refuse.
LARGE_EXPONENT = re.compile("[eE][+-]?[0-9]{4}")

# One half of a surrogate pair; Python's parser does not check whether the other half is there.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

# What may be a number too large for a double.
_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{309}")
_LONG = 20  # digits from which on an integer is read as a float, as orjson does

Number = Callable[[str], Any]


class Beyond:
    """Stands for a number too large for a double: JSON allows it, but our code takes it for no number and no text."""


BEYOND: Final = Beyond()


class NotJson(ValueError):
    """A text that is not JSON, or whose meaning is ambiguous; the message says why and is safe to show."""


def read(body: bytes) -> Any:
    """The content; decimals as float, BEYOND for those too large (1e400). Raises NotJson and TooMuch."""
    check_json(body)
    try:
        found = _loads(body)
    except NotJson:
        if not _HUGE.search(body):
            raise
        return read_exact(body, _within, whole)  # orjson refuses a whole body because of one number
    if sum(map(body.count, _NAME_ENDS)) != _members(found):  # hardly ever; then it is checked in detail
        read_exact(body)
    return found


def read_exact(body: bytes, decimal: Number = float, integer: Number = int) -> Any:
    """The content, with numbers made from their digits by `decimal` and `integer`. Raises NotJson and TooMuch.

    Three times as slow as `read`. Exceptions of the two functions are passed on.
    """
    check_json(body)
    if _SURROGATE.search(body):
        _loads(body)
    try:
        text = body.decode("utf-8-sig")
        return json.loads(
            text, parse_float=decimal, parse_int=integer, parse_constant=_refuse, object_pairs_hook=_object
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJson(str(error)) from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None


def with_digits(digits: str) -> Decimal | float | Beyond:
    """A JSON number that is not an integer, with its digits; one with a large exponent as a float, or BEYOND."""
    near = _within(digits)
    return near if near is BEYOND or LARGE_EXPONENT.search(digits) else Decimal(digits)


def whole(digits: str) -> int | float | Beyond:
    """A JSON integer; a long one as a float, or BEYOND."""
    return int(digits) if len(digits) < _LONG else _within(digits)


def _within(digits: str) -> float | Beyond:
    value = float(digits)
    return BEYOND if isinf(value) else value


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None


def _members(content: Any) -> int:
    """How many members all objects of `content` have together."""
    found, left = 0, [content]
    while left:
        value = left.pop()
        if type(value) is dict:
            found += len(value)
            left.extend(value.values())
        elif type(value) is list:
            left.extend(value)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"an object has the member {json.dumps(twice[:40])} more than once")
    return found


def _refuse(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is not a JSON number")
