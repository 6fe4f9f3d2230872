"""One request while it is answered: where its time goes, what it asks of the database, why it is refused.

The rooms that work on it note here what metrics and traces report. A note is one of our own words, never personal data.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from ddr.remembering import of_short_texts

MOST_STEPS = 64  # of a request that are kept individually; one of a bridge may have thousands
KINDS, LONGEST = 128, 24_000  # statements whose kind is remembered, and their maximal length: 3 MB at most
BODY, TURN, CONNECTION, DATABASE = "body", "turn", "connection", "database"  # phases; the rest is our own work
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|JOIN)\s+(?:ONLY\s+)?([a-z_]+)")
_WORD = re.compile(r"\s*(?:--[^\n]*\n\s*)*([A-Za-z]+)")


class Step(NamedTuple):
    """A part of a request. `began` and `seconds` are relative to the start of the request."""

    phase: str
    what: str  # for DATABASE the kind of statement, otherwise empty
    began: float
    seconds: float


class Call:
    """What has been noted of one request so far."""

    __slots__ = ("_begun", "began_ns", "phases", "reason", "statements", "steps")

    def __init__(self) -> None:
        self.began_ns = time.time_ns()
        self._begun = time.perf_counter()
        self.phases: dict[str, float] = {}
        self.steps: list[Step] = []
        self.statements = 0  # that succeeded
        self.reason: str | None = None  # why it is refused

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.perf_counter() - self._begun

    def spent(self, phase: str, seconds: float, what: str = "") -> None:
        """A step of this many seconds has just ended."""
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds
        if len(self.steps) < MOST_STEPS:
            self.steps.append(Step(phase, what, self.seconds - seconds, seconds))


CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)


def refused(reason: str) -> None:
    """The current request is refused for this reason, one of a small set of words."""
    if (call := CURRENT.get()) is not None:
        call.reason = reason


def refused_unless_told(reason: str) -> None:
    """The same, unless a more specific reason has been noted."""
    if (call := CURRENT.get()) is not None and call.reason is None:
        call.reason = reason


def spent(phase: str, seconds: float) -> None:
    """The current request has spent this time in a phase."""
    if (call := CURRENT.get()) is not None:
        call.spent(phase, seconds)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Whatever runs inside counts as this phase of the current request, however it ends."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        spent(name, time.perf_counter() - begun)


class _Statement:
    """The time of a statement, within a request."""

    __slots__ = ("_begun", "_call", "_query")

    def __init__(self, query: str) -> None:
        self._query, self._call = query, CURRENT.get()
        self._begun = time.perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(self, error: object, *more: object) -> None:
        if (call := self._call) is None:
            return
        if error is None:
            call.statements += 1
        what = kind(self._query) if len(call.steps) < MOST_STEPS else ""
        call.spent(DATABASE, time.perf_counter() - self._begun, what)


def statement(query: str) -> AbstractContextManager[None]:
    """A statement of the current request."""
    return _Statement(query)


@of_short_texts(KINDS, LONGEST)
def kind(query: str) -> str:
    """Verb and first table of a statement: `select consent`. Values are parameters and never part of a text."""
    verb, table = _WORD.match(query), _TABLE.search(query)
    return " ".join(filter(None, (verb[1].lower() if verb else "", table[1] if table else "")))
