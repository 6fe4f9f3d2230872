"""What a search asks for, as immutable values that the store turns into SQL.

Prefixes are those of FHIR R4 search.html#prefix; instants are milliseconds UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ddr.fhir.subset import WHOLE, Subset


@dataclass(frozen=True)
class DateValue:
    """`prefix` and the first and last millisecond that the text covers (for ap, already widened by a tenth)."""

    prefix: str
    low_ms: int
    high_ms: int


@dataclass(frozen=True)
class QuantityValue:
    """`prefix`, the number and its implicit range [low, high) (for ap: ± a tenth), in the UCUM unit `unit`.

    `unit` None means any unit; `unit` "" means that nothing can match, because the system or unit is not one of ours.
    `stated`: it was given without a system, so it may also be the human-readable unit (Quantity.unit;
    search.html#quantity).
    """

    prefix: str
    number: Decimal
    low: Decimal
    high: Decimal
    unit: str | None
    stated: bool = False


@dataclass(frozen=True)
class TokenValue:
    """[system]|[code]. `system` None: any system; "": explicitly none. `code` None: any code of the system."""

    system: str | None
    code: str | None


@dataclass(frozen=True)
class StringValue:
    """A text and how it must match: starts | contains (regardless of case, accents and punctuation) | exact."""

    match: str
    text: str


@dataclass(frozen=True)
class ReferenceValue:
    """A relative reference; `type` None when only the id was given, `id` "" when it points elsewhere."""

    type: str | None
    id: str


@dataclass(frozen=True)
class CompositeValue:
    """A code and a value that one component must have together."""

    token: TokenValue
    quantity: QuantityValue


Value = DateValue | QuantityValue | TokenValue | StringValue | ReferenceValue | CompositeValue


@dataclass(frozen=True)
class Filter:
    """One parameter of the query: at least one of `values` must match."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Has:
    """_has: some `source` that points here by `reference` satisfies `filter`; never if its type is not `granted`."""

    source: str
    reference: str
    filter: Filter
    granted: bool = True


@dataclass(frozen=True)
class Sort:
    """One key of _sort."""

    name: str
    descending: bool


@dataclass(frozen=True)
class Include:
    """_include or _revinclude along `source`:`name`; `target` None: all types it points to."""

    source: str
    name: str
    target: str | None
    iterate: bool = False


@dataclass(frozen=True)
class Search:
    """A whole search; all of `filters` and `has` must hold. `count` None: the server chooses the page size."""

    resource_type: str
    filters: tuple[Filter, ...] = ()
    has: tuple[Has, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int | None = None
    includes: frozenset[Include] = frozenset()
    revincludes: frozenset[Include] = frozenset()
    subset: Subset = WHOLE
    total: bool = True  # whether the Bundle says how many there are

    def values(self, name: str) -> tuple[tuple[Value, ...], ...]:
        """The values of every filter on parameter `name`."""
        return tuple(item.values for item in self.filters if item.name == name)
