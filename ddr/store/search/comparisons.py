"""Compares one searched value with columns, as SQL (FHIR R4 search.html#prefix). Values are always parameters.

A time is the range between two columns; a quantity with a comparator is the range above or below its number. The
prefixes compare ranges by FHIR's formal definitions.
"""

from __future__ import annotations

from typing import Any

from ddr.fhir.search.query import DateValue, QuantityValue, StringValue, TokenValue

NEVER = "false"


class Parameters:
    """The parameters of one statement, in order; `types` are the SQL types of those bound here."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.types: list[str] = []

    def bind(self, value: Any, sql_type: str) -> str:
        """`value` as the next parameter."""
        self.values.append(value)
        self.types.append(sql_type)
        return f"${len(self.values)}::{sql_type}"


class _Operands(dict[str, str]):
    """What the templates below name: columns, and searched values, which become parameters when they are first named.

    PostgreSQL rejects a statement with a parameter that it does not use.
    """

    def __init__(self, parameters: Parameters, sql_type: str, values: dict[str, Any], **columns: str) -> None:
        super().__init__(columns)
        self._parameters, self._type, self._values = parameters, sql_type, values

    def __missing__(self, name: str) -> str:
        self[name] = self._parameters.bind(self._values[name], self._type)
        return self[name]


_DATE = {
    "eq": "{low} >= {start} AND {high} <= {end}",
    "ne": "NOT ({low} >= {start} AND {high} <= {end})",
    "gt": "{high} > {end}",
    "ge": "{high} > {end} OR ({low} >= {start} AND {high} <= {end})",
    "lt": "{low} < {start}",
    "le": "{low} < {start} OR ({low} >= {start} AND {high} <= {end})",
    "sa": "{low} > {end}",
    "eb": "{high} < {start}",
    "ap": "{low} <= {end} AND {high} >= {start}",
}


def date(parameters: Parameters, low: str, high: str, value: DateValue) -> str:
    """The range from column `low` to column `high`, both inclusive, compared with a date."""
    bounds = {"start": value.low_ms, "end": value.high_ms}
    return _DATE[value.prefix].format_map(_Operands(parameters, "bigint", bounds, low=low, high=high))


_QUANTITY = {
    "eq": "{low} >= {lower} AND {high} < {upper}",
    "ne": "NOT ({low} >= {lower} AND {high} < {upper})",
    "gt": "{high} > {exact}",
    "ge": "{high} > {exact} OR ({comparator} IS NULL AND {number} = {exact})",
    "lt": "{low} < {exact}",
    "le": "{low} < {exact} OR ({comparator} IS NULL AND {number} = {exact})",
    "sa": "{low} > {exact} OR ({comparator} = '>' AND {number} = {exact})",  # all that is above 600 starts after it
    "eb": "{high} < {exact} OR ({comparator} = '<' AND {number} = {exact})",
    "ap": "{low} <= {upper} AND {high} >= {lower}",
}


def quantity(parameters: Parameters, number: str, unit: str, comparator: str, value: QuantityValue) -> str:
    """The quantity in `number` (null matches nothing), `unit` and `comparator` compared with a searched one."""
    if value.unit == "":
        return NEVER
    columns = {
        "number": number,
        "comparator": comparator,
        "low": f"CASE WHEN {comparator} = '<' THEN '-Infinity' ELSE {number} END",
        "high": f"CASE WHEN {comparator} = '>' THEN 'Infinity' ELSE {number} END",
    }
    bounds = {"exact": value.number, "lower": value.low, "upper": value.high}
    compared = _QUANTITY[value.prefix].format_map(_Operands(parameters, "numeric", bounds, **columns))
    same_unit = f" AND {unit} = {parameters.bind(value.unit, 'text')}" if value.unit else ""
    return f"{number} IS NOT NULL AND ({compared}){same_unit}"


def token(parameters: Parameters, system: str, code: str, value: TokenValue) -> str:
    """The coding in `system` and `code`. A system searched as "" means none, and ours always have one."""
    parts = [f"{code} IS NOT NULL" if value.code is None else f"{code} = {parameters.bind(value.code, 'text')}"]
    if value.system is not None:
        parts.append(f"{system} = {parameters.bind(value.system, 'text')}")
    return " AND ".join(parts)


_PUNCTUATION = "!\"#%&''()*,-./:;?@[\\]_{}¡§«¶·»¿‐–—‘’‚“”„†‡•‹›"  # as SQL, after folding


def string(parameters: Parameters, column: str, value: StringValue) -> str:
    """The text in `column`, compared without regard to case, accents, punctuation, and the number and kind of blanks,
    unless the match is exact (search.html#string)."""
    text = parameters.bind(value.text, "text")
    plain = f"(SELECT {_plain(text)})"  # computed once: a text may be long, and there are many rows
    return {
        "exact": f"{column} = {text}",
        "starts": f"starts_with({_plain(column)}, {plain})",
        "contains": f"strpos({_plain(column)}, {plain}) > 0",
    }[value.match]


def _plain(text: str) -> str:
    return f"btrim(regexp_replace(translate(folded({text}), '{_PUNCTUATION}', ''), '[[:space:]]+', ' ', 'g'))"
