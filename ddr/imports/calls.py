"""Requests of an import to the gateway API, the meaning of their responses, and the report. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from ddr.imports.model import Value

KEY = "import-"  # the prefix of an import's keys, which no app uses
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """A request below /gateway/v1; `values` is the number of values it carries, for a progress bar."""

    method: str
    path: str
    body: Json | None = None
    values: int = 0

    @property
    def content(self) -> bytes | None:
        """The body as JSON, numbers with the digits of the file."""
        return None if self.body is None else orjson.dumps(self.body)


@dataclass(frozen=True)
class Answer:
    """Status and JSON of the response to a Call."""

    status: int
    body: Any = None


@dataclass(frozen=True)
class Refusal:
    """A value that the recorder did not take: its line in the file, a stable reason, a sentence."""

    line: int
    reason: str
    detail: str


@dataclass
class Report:
    """What became of the values: `taken`, `hidden` (stored, but another of the same time is shown), `there`,
    refusals."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, values: Iterable[Value], reason: str, detail: str) -> None:
        """Note that none of `values` was taken."""
        self.refusals += [Refusal(value.line, reason, detail) for value in values]


class Refused(Exception):
    """The recorder refused a whole request; the message is one line. `lasting` if the cause is what was sent."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the recorder answered {status}: {detail}".rstrip(": "))
        self.code, self.detail = code or f"status-{status}", detail or f"the recorder answered {status}"
        self.lasting = status in _LASTING


_LASTING = (400, 409, 422)

Steps = Generator[Call, Answer, Report]


def checked(answer: Answer) -> Any:
    """The content of a successful response. Raises Refused."""
    if answer.status >= 400:
        told = answer.body if isinstance(answer.body, dict) else {}
        raise Refused(answer.status, str(told.get("code", "")), str(told.get("detail", "")))
    return answer.body


def as_json(value: Decimal | str | None) -> Any:
    """A value for a body: a number keeps its digits (5.50 stays 5.50)."""
    return orjson.Fragment(format(value, "f").encode()) if isinstance(value, Decimal) else value


def instant(time_ms: int) -> str:
    """RFC 3339 in UTC, no finer than the precision of the time."""
    fine = "milliseconds" if time_ms % 1000 else "seconds"
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec=fine).replace("+00:00", "Z")


def milliseconds(text: str) -> int:
    """The inverse of `instant`."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
