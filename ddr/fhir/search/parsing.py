"""From the parameters of a request to a Search. What is not understood is refused (RS-024 to RS-026, RS-048)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ddr.fhir.outcome import (
    implicit_patient,
    invalid_date,
    invalid_include,
    invalid_value,
    malformed,
    too_costly,
    unknown_parameter,
)
from ddr.fhir.search.grammar import (
    CONTROLS,
    IMPLICIT,
    PARAMETERS,
    REPRESENTATION,
    Parameter,
    parameter_called,
    references,
)
from ddr.fhir.search.query import DateValue, Filter, Has, Include, Search, Sort, StringValue
from ddr.fhir.search.values import parse_value, split
from ddr.fhir.subset import read_subset

# Each value or condition is some work for the database; no genuine search has more than this.
MOST_VALUES = 1000
TOTALS = ("none", "estimate", "accurate")
# These count as several values: `_has` looks at all resources of the other type, a text is compared with names letter
# by letter, and a component is searched within the document of each Observation.
HAS_VALUES, TEXT_VALUES, COMPONENT_VALUES = 50, 20, 10
TEXT_LETTERS = 100  # of a text that count as one text

PLAIN = CONTROLS - {"_include", "_revinclude", "_has"}  # which take no modifier
LOWER, UPPER = frozenset({"gt", "ge", "sa"}), frozenset({"lt", "le", "eb"})

Pairs = Iterable[tuple[str, str]]


def parse_search(resource_type: str, pairs: Pairs, now_ms: int, base: str) -> Search:
    """The search that `pairs` ask for (names and values, decoded, in order, with repetitions).

    `base` is our FHIR base URL: absolute references below it are understood.

    Raises FhirError 400 with the texts of HDDT error-codes.md.
    """
    pairs = [(name, value) for name, value in pairs if name not in REPRESENTATION]
    if len(pairs) > MOST_VALUES:
        raise too_costly(MOST_VALUES)
    pairs = list(_with_value(resource_type, pairs))
    filters = tuple(_filter(resource_type, name, value, now_ms, base) for name, value in pairs if _is_filter(name))
    _check_ranges(filters)
    controls = [(name, value) for name, value in pairs if not _is_filter(name)]
    has = tuple(_has(resource_type, name, value, now_ms, base) for name, value in controls if name.startswith("_has:"))
    _check_cost(filters, has)
    subset = read_subset(resource_type, controls)
    count = 0 if subset.counts_only else _count(_once(controls, "_count"))
    sort = _sort(resource_type, [value for name, value in controls if name == "_sort"])
    for name, _ in controls:
        _check_modifier(name)
    found = Search(
        resource_type,
        filters,
        has,
        sort,
        count,
        frozenset(include for name, value in controls for include in _includes(resource_type, name, value)),
        frozenset(include for name, value in controls for include in _revincludes(name, value)),
        subset,
        _total(_once(controls, "_total")) or count == 0,  # which only asks for the total
    )
    if subset.summary == "text" and (found.includes or found.revincludes):  # search.html#summary forbids that
        raise invalid_value("_summary", "text cannot be combined with _include or _revinclude")
    return found


def flat_json(body: Any) -> list[tuple[str, str]]:
    """The pairs of a search sent as flat JSON, as in HDDT's examples of POST _search (RS-046). Raises FhirError."""
    if not isinstance(body, Mapping):
        raise malformed("The search must be a flat JSON object of parameters")
    pairs: list[tuple[str, str]] = []
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                raise malformed(f"Parameter {name} must be a string, a number, or an array of these")
            pairs.append((name, str(item)))
    return pairs


def _with_value(resource_type: str, pairs: Pairs) -> Iterator[tuple[str, str]]:
    """The pairs with a value. Those without are ignored (search.html#errors), unless the name is unknown."""
    for name, value in pairs:
        if value:
            yield name, value
        else:
            _check_name(resource_type, name)


def _check_name(resource_type: str, name: str) -> None:
    if _is_filter(name):
        _parameter(resource_type, name)
    elif name.startswith("_has:"):
        source, _, target = _reverse_chain(resource_type, name)
        _parameter(source, target)
    elif name not in PLAIN | {"_include", "_include:iterate", "_revinclude"}:
        raise unknown_parameter(name)


def _is_filter(name: str) -> bool:
    return name.partition(":")[0] not in CONTROLS


def _once(controls: Pairs, name: str) -> str | None:
    values = [value for key, value in controls if key == name]
    if len(values) > 1:
        raise malformed(f"Parameter {name} must not be repeated")
    return values[0] if values else None


def _filter(resource_type: str, name: str, text: str, now_ms: int, base: str) -> Filter:
    parameter, modifier = _parameter(resource_type, name)
    values = (parse_value(parameter, modifier, part, now_ms, base) for part in split(text, ","))
    return Filter(parameter.name, tuple(values))


def _parameter(resource_type: str, name: str) -> tuple[Parameter, str | None]:
    """The parameter that a name means, and its modifier."""
    plain, _, modifier = name.partition(":")
    if re.split(r"[:.]", name)[0] in IMPLICIT:
        raise implicit_patient(plain)
    parameter = parameter_called(resource_type, plain)
    if parameter is None or ((modifier or name.endswith(":")) and modifier not in parameter.modifiers):
        raise unknown_parameter(name, [*sorted(PARAMETERS[resource_type]), *sorted(CONTROLS)])
    return parameter, modifier or None


def _check_ranges(filters: Iterable[Filter]) -> None:
    """Refuse an end before the start: the latest lower bound of a date parameter after its earliest upper bound."""
    bounds: dict[str, list[DateValue]] = {}
    for item in filters:
        if len(item.values) == 1 and isinstance(value := item.values[0], DateValue):
            bounds.setdefault(item.name, []).append(value)
    for name, values in bounds.items():
        starts = [value.low_ms for value in values if value.prefix in LOWER]
        ends = [value.high_ms for value in values if value.prefix in UPPER]
        if starts and ends and max(starts) > min(ends):
            raise invalid_date(f"{name}: the end is before the start")


def _check_cost(filters: Iterable[Filter], has: Iterable[Has]) -> None:
    """Refuse a search that would keep the database busy, or that does not fit into a statement."""
    costs = [_cost(item) for item in filters] + [HAS_VALUES + _cost(item.filter) for item in has]
    if sum(costs) > MOST_VALUES:
        text = f"a text value counts as {TEXT_VALUES} per {TEXT_LETTERS} letters"
        raise too_costly(MOST_VALUES, f"{text}, a component value as {COMPONENT_VALUES}")


def _cost(item: Filter) -> int:
    """How many values those of a parameter count as."""
    if texts := [value.text for value in item.values if isinstance(value, StringValue)]:
        return sum(TEXT_VALUES * (1 + len(text) // TEXT_LETTERS) for text in texts)
    return (COMPONENT_VALUES if item.name.startswith("component-") else 1) * len(item.values)


def _has(resource_type: str, name: str, text: str, now_ms: int, base: str) -> Has:
    source, reference, target = _reverse_chain(resource_type, name)
    return Has(source, reference, _filter(source, target, text, now_ms, base))


def _reverse_chain(resource_type: str, name: str) -> tuple[str, str, str]:
    """The parts of `_has:[type]:[reference]:[parameter]`: `type` refers to `resource_type` by this reference."""
    parts = name.split(":", 3)
    if len(parts) != 4 or parts[1] not in PARAMETERS or parts[3].startswith("_has"):
        raise unknown_parameter(name)
    _, source, reference, target = parts
    if not any(p.name == reference and resource_type in p.targets for p in references(source)):
        raise unknown_parameter(name)
    return source, reference, target


def _sort(resource_type: str, texts: Iterable[str]) -> tuple[Sort, ...]:
    """The keys, outer ones first; the parameter may be repeated for inner keys (search.html#table)."""
    names = dict.fromkeys(key for text in texts for key in text.split(","))  # a repeated key decides nothing more
    keys = []
    for key in names:
        name = key.removeprefix("-")
        parameter = parameter_called(resource_type, name)
        if parameter is None or not parameter.sortable:
            raise invalid_value("_sort", name)
        keys.append(Sort(parameter.name, key.startswith("-")))
    return tuple(keys)


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise invalid_value("_count", text)
    return int(text)


def _total(text: str | None) -> bool:
    """Whether the total is wanted. It is always counted, so it is accurate even where an estimate would do."""
    if text not in (None, *TOTALS):
        raise invalid_value("_total", text)
    return text != "none"


def _check_modifier(name: str) -> None:
    """Refuse a modifier of a control parameter that takes none, and `_has` without its path."""
    base, colon, _ = name.partition(":")
    if (colon and base in PLAIN) or name == "_has":
        raise unknown_parameter(name)


def _includes(resource_type: str, name: str, text: str) -> list[Include]:
    """The includes of `_include` or `_include:iterate`; none for any other parameter."""
    base, _, modifier = name.partition(":")
    if base != "_include":
        return []
    if modifier not in ("", "iterate") or name.endswith(":"):
        raise invalid_include(name, text)
    return _paths(resource_type, name, text, iterate=modifier == "iterate")


def _revincludes(name: str, text: str) -> list[Include]:
    """The includes of `_revinclude`; none for any other parameter."""
    if not name.startswith("_revinclude"):
        return []
    if name != "_revinclude":
        raise invalid_include(name, text)
    return _paths(None, name, text, iterate=False)


def _paths(resource_type: str | None, name: str, text: str, *, iterate: bool) -> list[Include]:
    """The includes that `source:parameter[:target]` names. `*` instead of a parameter means every reference of the
    source (search.html#include); alone, every reference of the searched type, or, with :iterate, of whatever is
    reached."""
    if text == "*" and resource_type is not None:
        sources = PARAMETERS if iterate else (resource_type,)
        return [path for source in sources for path in _paths(None, name, f"{source}:*", iterate=iterate)]
    source, _, rest = text.partition(":")
    path, _, target = rest.partition(":")
    known = references(source) if source in PARAMETERS else ()
    found = [
        Include(source, p.name, target or None, iterate)
        for p in known
        if path in ("*", p.name) and target in ("", *p.targets)
    ]
    every = source in PARAMETERS and rest == "*"  # also of a type without any
    if text.endswith(":") or not (found or every):
        raise invalid_include(name, text)
    return found
