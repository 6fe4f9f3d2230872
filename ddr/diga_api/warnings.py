"""What a searchset says about a search for more than the DiGA may see (HDDT error-codes.md, rows of 200)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ddr.fhir.outcome import code_not_in_valueset, outside_historic_range
from ddr.fhir.search.query import DateValue, Search, TokenValue
from ddr.miv.model import Miv
from ddr.store.search.view import Term

# Prefixes whose matches may reach beyond the searched date.
_OPEN = {"gt", "ge", "sa", "ne"}


def covers(miv: Miv, token: TokenValue) -> bool:
    """True when some code of the MIV matches the token, regardless of case: its code systems are case-insensitive."""
    wanted = token.code and token.code.lower()
    return any(wanted in (None, code.code.lower()) and token.system in (None, code.system) for code in miv.codes)


def codes(search: Search) -> list[list[TokenValue]]:
    """The tokens of each code parameter."""
    return [[value for value in values if isinstance(value, TokenValue)] for values in search.values("code")]


def warnings(search: Search, mivs: Sequence[Miv], terms: Sequence[Term]) -> dict[str, Any] | None:
    """One OperationOutcome with all warnings, or None. Only Observation searches have any."""
    if search.resource_type != "Observation":
        return None
    outcomes = [*_foreign_codes(search, mivs)]
    if _only_expired(search, min(term.floor_ms for term in terms)):
        outcomes.append(outside_historic_range())
    if not outcomes:
        return None
    return {**outcomes[0], "issue": [issue for outcome in outcomes for issue in outcome["issue"]]}


def _foreign_codes(search: Search, mivs: Sequence[Miv]) -> Iterator[dict[str, Any]]:
    valuesets = ", ".join(miv.valueset for miv in mivs)
    for tokens in codes(search):
        for token in tokens:
            if not any(covers(miv, token) for miv in mivs):
                yield code_not_in_valueset(_named(token, mivs), valuesets)


def _named(token: TokenValue, mivs: Sequence[Miv]) -> str:
    """The code alone; with its system when the system is the foreign part, or when no code was given."""
    if token.code is None or any(covers(miv, TokenValue(None, token.code)) for miv in mivs):
        return f"{token.system}|{token.code or ''}"
    return token.code


def _only_expired(search: Search, floor_ms: int) -> bool:
    """True when some date parameter ends before the historic period begins."""
    return any(
        all(isinstance(value, DateValue) and value.prefix not in _OPEN and value.high_ms < floor_ms for value in values)
        for values in search.values("date")
    )
