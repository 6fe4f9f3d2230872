"""For whom a user of the provider acts, as listed in a claim of the ID token (docs/representatives.md). Pure.

The claim is an array of objects, or a JSON text of one: `sub` of the patient at the same issuer, `relation`, `name`,
`birthdate` (OpenID Connect Core 1.0 section 5.1), `since`, `until` (days as in ISO 8601).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeGuard

MOST = 50
LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0 section 2


@dataclass(frozen=True)
class Represented:
    """One entry: who is represented, in which role, by which name, and from which day until which day."""

    subject: str
    relation: str
    name: str
    born: date | None = None
    since: date | None = None
    until: date | None = None


def represented(claim: Any) -> Iterator[Represented | str]:
    """Each entry of the claim, or what is wrong with it, without personal data. Nothing without the claim."""
    if isinstance(claim, str):
        try:
            claim = json.loads(claim)
        except (ValueError, RecursionError):
            claim = {}
    if claim is None:
        return
    if not isinstance(claim, list):
        yield "the claim is no array"
        return
    yield from map(_entry, claim[:MOST])
    if len(claim) > MOST:
        yield f"more than {MOST} entries"


def _entry(entry: Any) -> Represented | str:
    if not isinstance(entry, dict):
        return "an entry is no object"
    subject = entry.get("sub")
    if not is_subject(subject):
        return "an entry has no sub"
    relation, name = entry.get("relation"), entry.get("name")
    if not isinstance(relation, str) or not isinstance(name, str):
        return "an entry has no relation or no name"
    try:
        days = [_day(entry.get(field)) for field in ("birthdate", "since", "until")]
    except ValueError:
        return "an entry has a day that is none"
    return Represented(subject, relation, name, *days)


def is_subject(value: Any) -> TypeGuard[str]:
    """True for what can name a user; it contains no control characters, because it is shown on operators' terminals."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_SUBJECT and value.isprintable()


def _day(text: Any) -> date | None:
    """A day; None if absent. Raises ValueError."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError
    return date.fromisoformat(text)
