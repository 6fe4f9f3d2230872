"""What a search must find, by checking every resource: one function per type of parameter (FHIR R4 search.html).

Written for clarity, and independent of the server's search, which it judges.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from ddr.conform.exchange import Json
from ddr.conform.laws.times import Range

Predicate = Callable[[Json], bool]


@dataclass(frozen=True)
class Case:
    """A query and what it must find among everything; whether it finds the `open` ones is up to the recorder."""

    query: str
    wanted: Predicate
    open: Predicate = lambda one: False


def in_range(prefix: str, of: Range, asked: Range) -> bool:
    """Whether the time `of` a resource matches a date search (search.html#prefix); bounds in milliseconds,
    inclusive."""
    low, high = of
    contained = asked[0] <= low and high <= asked[1]
    match prefix:
        case "eq":
            return contained
        case "ne":
            return not contained
        case "gt":
            return high > asked[1]
        case "ge":
            return high > asked[1] or contained
        case "lt":
            return low < asked[0]
        case "le":
            return low < asked[0] or contained
        case "sa":
            return low > asked[1]
        case "eb":
            return high < asked[0]
    raise ValueError(prefix)


def compared(prefix: str, value: Decimal, asked: Decimal) -> bool:
    """Whether a number matches a search with gt, ge, lt or le."""
    return {"gt": value > asked, "ge": value >= asked, "lt": value < asked, "le": value <= asked}[prefix]


def codings(concept: object) -> Iterator[tuple[str, str]]:
    """System and code of each coding."""
    found = concept.get("coding") if isinstance(concept, dict) else None
    for one in found or ():
        yield str(one.get("system", "")), str(one.get("code", ""))


def has_code(concept: object, *codes: str) -> bool:
    """Whether a concept has one of these codes, whatever the system."""
    return any(code in codes for _, code in codings(concept))


def quantities(resource: Json, components: bool = False) -> Iterator[tuple[str, Decimal]]:
    """UCUM code and value of valueQuantity, or of those of the components."""
    for holder in resource.get("component") or () if components else (resource,):
        found = holder.get("valueQuantity")
        if isinstance(found, dict) and "value" in found and "comparator" not in found:
            yield str(found.get("code", "")), Decimal(str(found["value"]))


def bounded(resource: Json) -> bool:
    """Whether its value is only a limit (< or >): FHIR leaves to the server how that compares."""
    return "comparator" in (resource.get("valueQuantity") or {})


def folded(text: str) -> str:
    """The text without case and accents, for searches by string."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(char for char in plain if not unicodedata.combining(char)).casefold()


def starts(values: Iterable[object], asked: str) -> bool:
    """Whether a string search finds one of the values, which must start with the given text."""
    return any(folded(str(value)).startswith(folded(asked)) for value in values)


def near(values: Iterable[object], asked: str) -> bool:
    """The same without punctuation and spaces, which FHIR says should also be ignored: a server may find it."""
    return any(_letters(str(value)).startswith(_letters(asked)) for value in values)


def _letters(text: str) -> str:
    return "".join(char for char in folded(text) if unicodedata.category(char)[0] not in "PZC")


def references(resource: Json, *path: str) -> Iterator[str]:
    """`<Type>/<id>` of the references in an element; `<Type>/#<id>` for contained resources."""
    found: object = resource
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, dict) and isinstance(one.get("reference"), str):
            yield _target(resource, one["reference"])


def _target(resource: Json, reference: str) -> str:
    """The target of an absolute, versioned or contained reference."""
    if reference.startswith("#"):
        contained = [one for one in resource.get("contained") or () if f"#{one.get('id')}" == reference]
        return f"{contained[0].get('resourceType')}/{reference}" if contained else reference
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])
