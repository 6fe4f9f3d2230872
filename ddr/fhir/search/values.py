"""From texts of single search values to value objects, by type of parameter (FHIR R4 search.html, section 3.1.1.4).

Each function raises FhirError 400 for a text that is not such a value.
"""

from __future__ import annotations

import re
from decimal import Decimal

from ddr.fhir.instants import parse_search_date
from ddr.fhir.outcome import invalid_date, invalid_value
from ddr.fhir.search.grammar import Parameter
from ddr.fhir.search.query import (
    CompositeValue,
    DateValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    Value,
)
from ddr.fhir.search.units import to_common
from ddr.miv.model import UCUM

PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")

_PREFIX = re.compile(f"({'|'.join(PREFIXES)})?(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_SINGLE_DIGIT = re.compile(r"[+-]?0*[0-9][eE].*")
_ABSOLUTE = re.compile(r"(?:https?|urn):[^\s]+", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:([A-Z][A-Za-z]*)/)?([A-Za-z0-9.-]{1,64})")
# None of our texts contains NUL, and PostgreSQL does not accept it; U+FFFD replaces bytes that are not UTF-8 (Latin-1's
# %DF).
_UNREADABLE = re.compile("[\\0\ufffd]")
_ESCAPED = re.compile(r"\\([\\,$|])")  # a backslash before anything else is illegal (search.html#escaping)


def split(text: str, separator: str) -> list[str]:
    """`text` at every `separator` that no backslash escapes; the parts keep their escapes (search.html#escaping)."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == separator:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def unescape(text: str) -> str:
    r"""`text` with \, \$ \| and \\ replaced by the characters that they stand for."""
    return _ESCAPED.sub(r"\1", text)


def parse_value(parameter: Parameter, modifier: str | None, text: str, now_ms: int, base: str) -> Value:
    """One value, still escaped, of `parameter`; raises FhirError 400.

    `now_ms` is the instant from which ap measures dates; absolute references below `base`, our FHIR base URL, are ours.
    """
    if not text or _UNREADABLE.search(text) or "\\" in _ESCAPED.sub("", text):
        raise invalid_date(text) if parameter.type == "date" else invalid_value(parameter.name, text)
    match parameter.type:
        case "date":
            return date_value(text, now_ms)
        case "quantity":
            return quantity_value(parameter, text)
        case "string":
            return StringValue(modifier or "starts", unescape(text))
        case "reference":
            return reference_value(parameter, text, base)
        case "composite":
            return composite_value(parameter, text)
        case _:
            return token_value(parameter, text)


def _prefixed(text: str) -> tuple[str, str]:
    prefix, rest = _PREFIX.fullmatch(text).groups()  # type: ignore[union-attr]  # matches every text
    return prefix or "eq", rest


def date_value(text: str, now_ms: int) -> DateValue:
    """[prefix]date, dateTime or instant of any precision; without a zone it is UTC."""
    prefix, rest = _prefixed(text)
    try:
        # An unescaped + in a query arrives as a blank.
        low, high = parse_search_date(rest.replace(" ", "+"))
    except ValueError:
        raise invalid_date(text) from None
    if prefix == "ap":  # 10 % of the time between now and the date
        gap = abs(now_ms - low) // 10
        low, high = low - gap, high + gap
    return DateValue(prefix, low, high)


def quantity_value(parameter: Parameter, text: str) -> QuantityValue:
    """[prefix][number] or [prefix][number]|[system]|[code], with the implicit precision of the number."""
    number, *unit = split(text, "|")
    prefix, digits = _prefixed(number)
    if len(unit) not in (0, 2) or not _NUMBER.fullmatch(digits):
        raise invalid_value(parameter.name, text)
    value = Decimal(digits)
    half = abs(value) / 10 if prefix == "ap" else Decimal(5).scaleb(_precision(value, digits) - 1)
    common, factor = _unit(*map(unescape, unit)) if unit else (None, Decimal(1))
    low, high = (value - half) * factor, (value + half) * factor
    return QuantityValue(prefix, value * factor, low, high, common, bool(common) and not unit[0])


def _precision(value: Decimal, digits: str) -> int:
    """The power of ten of the last significant digit.

    A single digit with an exponent counts as two: in the table of search.html#number, 1e2 is [95, 105), like 1.0e2.
    """
    exponent = int(value.as_tuple().exponent)
    return exponent - 1 if _SINGLE_DIGIT.fullmatch(digits) else exponent


def _unit(system: str, code: str) -> tuple[str | None, Decimal]:
    if system not in ("", UCUM):
        return "", Decimal(1)
    return to_common(code) if code else (None, Decimal(1))


def token_value(parameter: Parameter, text: str) -> TokenValue:
    """code, system|code, |code or system|."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) > 2 or parts == ["", ""]:
        raise invalid_value(parameter.name, text)
    if len(parts) == 1:
        return TokenValue(None, parts[0])
    return TokenValue(parts[0], parts[1] or None)


def reference_value(parameter: Parameter, text: str, base: str) -> ReferenceValue:
    """[id], [type]/[id], or [url]: one below `base` equals the relative reference, others match nothing."""
    reference = unescape(text).removeprefix(f"{base}/")
    if _ABSOLUTE.fullmatch(reference):
        return ReferenceValue(None, "")
    match = _REFERENCE.fullmatch(reference)
    if match is None or (match[1] and match[1] not in parameter.targets):
        raise invalid_value(parameter.name, text)
    return ReferenceValue(match[1], match[2])


def composite_value(parameter: Parameter, text: str) -> CompositeValue:
    """[token]$[quantity]."""
    parts = split(text, "$")
    if len(parts) != 2 or not all(parts):
        raise invalid_value(parameter.name, text)
    return CompositeValue(token_value(parameter, parts[0]), quantity_value(parameter, parts[1]))
