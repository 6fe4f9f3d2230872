"""One searched value compared with columns, as SQL (FHIR R4 search.html#prefix). Values only ever travel as parameters.

A time is the range of two columns, a quantity with a comparator the range above or below its number; the prefixes
compare ranges by FHIR's formal definitions.
"""

from __future__ import annotations

from typing import Any

from ddr.fhir.search.query import DateValue, QuantityValue, StringValue, TokenValue

NEVER = "false"


class Parameters:
    """The parameters of one statement, in order."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def bind(self, value: Any, sql_type: str) -> str:
        """`value` as the next parameter."""
        self.values.append(value)
        return f"${len(self.values)}::{sql_type}"


def date(parameters: Parameters, low: str, high: str, value: DateValue) -> str:
    """The range from column `low` to column `high`, both inclusive, compared with a date."""
    start, end = parameters.bind(value.low_ms, "bigint"), parameters.bind(value.high_ms, "bigint")
    inside = f"{low} >= {start} AND {high} <= {end}"
    return {
        "eq": inside,
        "ne": f"NOT ({inside})",
        "gt": f"{high} > {end}",
        "ge": f"{high} > {end} OR ({inside})",
        "lt": f"{low} < {start}",
        "le": f"{low} < {start} OR ({inside})",
        "sa": f"{low} > {end}",
        "eb": f"{high} < {start}",
        "ap": f"{low} <= {end} AND {high} >= {start}",
    }[value.prefix]


def quantity(parameters: Parameters, number: str, unit: str, comparator: str, value: QuantityValue) -> str:
    """The quantity in `number` (null matches nothing), `unit` and `comparator` compared with a searched one."""
    if value.unit == "":
        return NEVER
    low = f"CASE WHEN {comparator} = '<' THEN '-Infinity' ELSE {number} END"
    high = f"CASE WHEN {comparator} = '>' THEN 'Infinity' ELSE {number} END"
    n, lower, upper = (parameters.bind(part, "numeric") for part in (value.number, value.low, value.high))
    inside = f"{low} >= {lower} AND {high} < {upper}"
    exactly = f"{comparator} IS NULL AND {number} = {n}"
    compared = {
        "eq": inside,
        "ne": f"NOT ({inside})",
        "gt": f"{high} > {n}",
        "ge": f"{high} > {n} OR ({exactly})",
        "lt": f"{low} < {n}",
        "le": f"{low} < {n} OR ({exactly})",
        "sa": f"{low} > {n}",
        "eb": f"{high} < {n}",
        "ap": f"{low} <= {upper} AND {high} >= {lower}",
    }[value.prefix]
    same_unit = f" AND {unit} = {parameters.bind(value.unit, 'text')}" if value.unit else ""
    return f"{number} IS NOT NULL AND ({compared}){same_unit}"


def token(parameters: Parameters, system: str, code: str, value: TokenValue) -> str:
    """The coding in `system` and `code`; a system searched as "" means none, and all of ours have one."""
    parts = [f"{system} = {parameters.bind(value.system, 'text')}"] if value.system is not None else []
    if value.code is not None:
        parts.append(f"{code} = {parameters.bind(value.code, 'text')}")
    return " AND ".join(parts)


def string(parameters: Parameters, column: str, value: StringValue) -> str:
    """The text in `column`, folded as ddr.fhir.search.values.fold does unless the match is exact."""
    text = parameters.bind(value.text, "text")
    folded = f"lower(regexp_replace(normalize({column}, NFKD), '[\u0300-\u036f]', '', 'g'))"
    return {
        "exact": f"{column} = {text}",
        "starts": f"starts_with({folded}, {text})",
        "contains": f"strpos({folded}, {text}) > 0",
    }[value.match]
