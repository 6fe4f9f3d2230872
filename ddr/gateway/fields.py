"""Reads the members of a JSON object one by one; every error is a Problem 422 that names the member."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from ddr.fhir.characters import FORBIDDEN
from ddr.fhir.instants import parse_date_time, parse_instant
from ddr.gateway.problem import Problem, invalid

T = TypeVar("T")

KEY = re.compile(r"[A-Za-z0-9._~-]{1,64}")
MAX_TEXT = 250
MAX_NOTE = 4000

# Values of devices, not of physics: enough for every unit in use, and never written with an exponent.
MAX_NUMBER = 1_000_000_000
MAX_DECIMALS = 4

_CODE = re.compile(r"\S+( \S+)*")
_WRONG_URN = re.compile(
    r"urn:oid:(?![0-2](\.(0|[1-9][0-9]*))+$)|urn:uuid:(?![0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$)"
)

MAX_DIGITS = 18  # that a decimal may be written with, including trailing zeros (FHIR R4 datatypes.html#decimal)

Number = int | float
Exact = int | float | Decimal


class Fields:
    """One JSON object at the path `where`. Absent members and nulls read as None; `done()` refuses unread members.

    `name` is the object's name where no path leads to it.
    """

    def __init__(self, data: Any, where: str = "", name: str = "body") -> None:
        if not isinstance(data, Mapping):
            raise invalid(where or name, "must be a JSON object")
        self.data: Mapping[str, Any] = data
        self.where = where
        self.seen: set[str] = set()

    def at(self, name: str) -> str:
        """The path of a member, for messages."""
        return f"{self.where}.{name}" if self.where else name

    def raw(self, name: str) -> Any:
        """The member as it is, or None."""
        self.seen.add(name)
        return self.data.get(name)

    def need(self, name: str, read: Callable[[str], T | None]) -> T:
        """The member read by `read`, a method of this object; 422 when it is absent."""
        value = read(name)
        if value is None:
            raise invalid(self.at(name), "is required")
        return value

    def done(self) -> None:
        """Check that every member has been read; 422 otherwise, because a misspelt member must not be lost silently."""
        if unknown := sorted(set(self.data) - self.seen):
            member = FORBIDDEN.sub("\ufffd", unknown[0][:MAX_TEXT])
            raise invalid(self.at(member), "is not a known member", "unknown-member")

    def text(self, name: str, longest: int = MAX_TEXT) -> str | None:
        """A text of 1 to `longest` characters without control characters and without blanks around it."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise invalid(self.at(name), "must be a string")
        if not value or value != value.strip() or len(value) > longest or FORBIDDEN.search(value):
            raise invalid(
                self.at(name), f"must have 1 to {longest} printable characters and no leading or trailing blanks"
            )
        return value

    def note(self, name: str) -> str | None:
        """A longer text."""
        return self.text(name, MAX_NOTE)

    def uri(self, name: str) -> str | None:
        """A URI: without blanks, and with a valid OID or UUID in a URN (FHIR R4 datatypes.html#uri)."""
        value = self.text(name)
        if value is not None and (":" not in value or any(char.isspace() for char in value) or _WRONG_URN.match(value)):
            raise invalid(self.at(name), "must be an absolute URI")
        return value

    def code(self, name: str) -> str | None:
        """A FHIR code: no whitespace except single blanks inside (FHIR R4 datatypes.html#code)."""
        value = self.text(name)
        if value is not None and not _CODE.fullmatch(value):
            raise invalid(self.at(name), "must be a code: no whitespace except single blanks inside")
        return value

    def key(self, name: str) -> str | None:
        """A gateway's own name for something."""
        value = self.text(name)
        return None if value is None else check_key(value, self.at(name))

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """One of the `allowed` texts."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise invalid(self.at(name), f"must be one of {', '.join(sorted(allowed))}")
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number within both limits."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise invalid(self.at(name), f"must be a whole number from {least} to {most}")
        return value

    def number(self, name: str) -> Number | None:
        """A number: an integer stays one, and a decimal is printed with the shortest digits that represent it."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(self.at(name), "must be a number")
        if abs(value) > MAX_NUMBER or decimals_of(value) > MAX_DECIMALS:
            raise invalid(self.at(name), f"must be at most {MAX_NUMBER} with at most {MAX_DECIMALS} decimals")
        return value

    def exact(self, name: str) -> Exact | None:
        """A number with the digits with which it was sent, including trailing zeros."""
        value = self.raw(name)
        if not isinstance(value, Decimal):
            return self.number(name)
        within = value.is_finite() and abs(value) <= MAX_NUMBER and int(value.as_tuple().exponent) >= -MAX_DIGITS
        if not within or decimals_of(value) > MAX_DECIMALS:
            raise invalid(self.at(name), f"must be at most {MAX_NUMBER} with at most {MAX_DECIMALS} decimals")
        return Decimal(f"{value:f}")  # never written with an exponent

    def instant(self, name: str, latest_ms: int | None = None) -> int | None:
        """A date-time with seconds and zone, in milliseconds since 1970, not after `latest_ms`."""
        value = self.text(name)
        if value is None:
            return None
        try:
            ms = parse_instant(value)
        except ValueError:
            raise invalid(
                self.at(name), "must be a date-time with seconds and time zone, as in 2026-11-22T10:00:00+01:00"
            ) from None
        if ms < 0:
            raise invalid(self.at(name), "must not be before 1970")
        if latest_ms is not None and ms > latest_ms:
            raise invalid(self.at(name), "must not be in the future", "future")
        return ms

    def instant_text(self, name: str) -> str | None:
        """The text of a member that `instant` reads, in FHIR's form."""
        value = self.text(name)
        return value and value.upper()

    def date_time(self, name: str) -> tuple[str, int, int] | None:
        """A FHIR dateTime, possibly only a date: its text in FHIR's form, its first and its last millisecond."""
        value = self.text(name)
        if value is None:
            return None
        value = value.upper()  # RFC 3339 allows lower-case "t" and "z", FHIR does not
        try:
            return (value, *parse_date_time(value))
        except ValueError:
            raise invalid(self.at(name), "must be a date, or a date-time with seconds and time zone") from None

    def object(self, name: str) -> Fields | None:
        """A nested object, to be read and finished separately."""
        value = self.raw(name)
        return None if value is None else Fields(value, self.at(name))

    def array(self, name: str, most: int | None) -> list[Any] | None:
        """An array of 1 to `most` entries; without a limit if `most` is None."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, list) or not 1 <= len(value) <= (most or len(value)):
            raise invalid(self.at(name), f"must be an array of 1 to {most or 'any number of'} entries")
        return value

    def objects(self, name: str, most: int) -> list[Fields] | None:
        """An array of objects."""
        entries = self.array(name, most)
        return entries and [Fields(entry, f"{self.at(name)}[{i}]") for i, entry in enumerate(entries)]


def decimal(value: Exact) -> Decimal:
    """`value` as the decimal that was sent: a float prints as the shortest digits that represent it."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def decimals_of(value: Exact) -> int:
    """Decimal places of `value`, without trailing zeros."""
    exponent = decimal(value).normalize().as_tuple().exponent
    return max(0, -int(exponent))


def items_of(body: Any, name: str, most: int) -> list[Any]:
    """The items of a body with only the array `name`. Raises Problem 413 for more than `most`, otherwise 422."""
    fields = Fields(body)
    items: list[Any] = fields.need(name, lambda name: fields.array(name, None))
    fields.done()
    if len(items) > most:
        raise Problem(413, "too-many-items", f"{name} has more than {most} items")
    return items


def given(members: Mapping[str, T | None]) -> dict[str, T]:
    """`members` without those that are None."""
    return {name: value for name, value in members.items() if value is not None}


def check_key(value: str, field: str) -> str:
    """`value` if it can be a key in a path, else 422."""
    if not KEY.fullmatch(value) or value in {".", ".."}:
        raise invalid(field, "must have 1 to 64 characters of A-Z a-z 0-9 . _ ~ -", "invalid-key")
    return value
