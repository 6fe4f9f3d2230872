"""The approval for giving readings to research, as a file states it (docs/research.md)."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

TEXTS = ("title", "reference", "recipient")
MEMBERS = (*TEXTS, "until", "kinds", "weeks")
LONGEST = 200  # characters of a text
MOST_WEEKS = 52


class ApprovalError(ValueError):
    """What is wrong with an approval; one clear line."""


@dataclass(frozen=True)
class Approval:
    """Who may get what, on whose authority: `reference` of the committee or law, `until` the last day of its
    validity."""

    title: str
    reference: str
    recipient: str
    until: date
    kinds: tuple[str, ...]  # names of MIV packages
    weeks: int  # of each person, at most
    sha256: bytes  # of the file


def approval(content: bytes, today: date, known: Collection[str]) -> Approval:
    """The approval in a TOML file, which must be valid `today`; `known` are the names of MIVs. Raises ApprovalError."""
    try:
        said = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ApprovalError(f"is not TOML: {error}") from None
    if unknown := said.keys() - set(MEMBERS):
        raise ApprovalError(f"{sorted(unknown)[0]!r} is unknown; known are {', '.join(MEMBERS)}")
    if missing := [name for name in MEMBERS if name not in said]:
        raise ApprovalError(f"{missing[0]} is missing")
    until, weeks = said["until"], said["weeks"]
    if not isinstance(until, date) or isinstance(until, datetime):
        raise ApprovalError("until must be a day, such as until = 2027-12-31")
    if until < today:
        raise ApprovalError(f"has ended on {until}")
    if not isinstance(weeks, int) or isinstance(weeks, bool) or not 1 <= weeks <= MOST_WEEKS:
        raise ApprovalError(f"weeks must be a number from 1 to {MOST_WEEKS}")
    texts = {name: _text(said, name) for name in TEXTS}
    return Approval(
        **texts, until=until, kinds=_kinds(said["kinds"], known), weeks=weeks, sha256=hashlib.sha256(content).digest()
    )


def _text(said: Mapping[str, Any], name: str) -> str:
    text = said[name].strip() if isinstance(said[name], str) else ""
    if not 0 < len(text) <= LONGEST or not text.isprintable():
        raise ApprovalError(f"{name} must be a text of 1 to {LONGEST} characters, all printable")
    return text


def _kinds(said: Any, known: Collection[str]) -> tuple[str, ...]:
    if not isinstance(said, list) or not said or not all(isinstance(one, str) for one in said):
        raise ApprovalError('kinds must be a list of names, such as kinds = ["continuous-glucose-measurement"]')
    if unknown := [one for one in said if one not in known]:
        raise ApprovalError(f"kinds names {unknown[0]!r}, which is unknown; known are {', '.join(sorted(known))}")
    return tuple(dict.fromkeys(said))
