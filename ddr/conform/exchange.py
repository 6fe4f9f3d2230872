"""One request and its response, as sent over the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ddr.conform.verdict import Failed

Json = dict[str, Any]


class Answered(Json):
    """An object in a response: when a check reads a missing member, the recorder is at fault."""

    def __missing__(self, name: str) -> object:
        raise Failed(f"a response is malformed: `{name}` is missing")


@dataclass(frozen=True)
class Exchange:
    """`status` is 0 when there was no response; then `error` says why. Header names are in lower case."""

    number: int
    method: str
    url: str
    identity: str  # client_id whose certificate was presented, "" for none
    sent: Mapping[str, str]
    body: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    seconds: float = 0.0
    error: str = ""

    @property
    def text(self) -> str:
        """The body of the response."""
        return self.content.decode("utf-8", "replace")

    @property
    def json(self) -> Json:
        """The JSON object in the response, decimals exact; {} when there is none."""
        try:
            found = json.loads(self.content, parse_float=Decimal, object_hook=Answered)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def media_type(self) -> str:
        """Content-Type without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def issue(self) -> Json:
        """The first error of an OperationOutcome in JSON, or its first issue; {} when there is none. A server may add
        other issues to an error, in any order."""
        found = self.json
        issues = found.get("issue") if found.get("resourceType") == "OperationOutcome" else None
        known = [one for one in issues if isinstance(one, dict)] if isinstance(issues, list) else []
        return next((one for one in known if one.get("severity") in ("error", "fatal")), known[0] if known else {})

    @property
    def refused(self) -> bool:
        """Whether there was no response (an aborted handshake), or the status is a refusal."""
        return self.status == 0 or 400 <= self.status < 500

    @property
    def told(self) -> str:
        """Request and result in one line: "GET /fhir/Device → 200"."""
        path = self.url.split("://", 1)[-1].partition("/")[2]
        return f"{self.method} /{path} → {self.status or self.error}"
