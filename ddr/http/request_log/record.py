"""One record of the request log as a line of JSON (HDDT operational-requirements.md, Scope of Logging). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

# After one of these, a text of ours continues with what a caller sent; the log keeps the part before.
_VARIABLE = re.compile(
    r"""[:'"“`=<{\[].*|(?<=\bResource ).*|(?<=\bparameter ).*|(?<=\bpath ).*|(?<=\bCode ).*|(?<=\bVersion ).*"""
    r"""|(?<=\bInvalid )_.*|(?<=\bvalue ).*""",
    re.DOTALL,
)
DESCRIPTION = 200  # characters


@dataclass(frozen=True)
class Operator:
    """What is the same in all records of a listener: who operates the interface, and the name of its host."""

    interface_id: str
    host: str


@dataclass(frozen=True)
class Call:
    """A request and its answer for the log; `status` is None when no answer was sent."""

    transaction_id: str
    at_ms: int
    event_type: str
    endpoint: str
    message: str
    status: int | None
    response_time_ms: int
    data_volume_bytes: int
    client_id: str | None = None
    pairing_id: str | None = None
    error_code: str | None = None
    error_description: str | None = None


def line(call: Call, operator: Operator) -> bytes:
    """The record of `call`: the attributes of the specification and `client_id`, sorted, without a line feed."""
    record = {
        "client_id": call.client_id,
        "data_volume_bytes": call.data_volume_bytes,
        "error_code": call.error_code,
        "error_description": None if call.error_description is None else described(call.error_description),
        "event_type": call.event_type,
        "interface_id": operator.interface_id,
        "message": call.message,
        "pairing_id": call.pairing_id,
        "partner_id": operator.host + call.endpoint,
        "response_time_ms": call.response_time_ms,
        "status": call.status,
        "timestamp": stamp(call.at_ms),
        "transaction_id": call.transaction_id,
    }
    return orjson.dumps(record)


def described(text: str) -> str:
    """The part of an error's text that does not come from a caller: without values of parameters and ids."""
    return _VARIABLE.sub("…", text)[:DESCRIPTION]


def stamp(at_ms: int) -> str:
    """An instant as ISO 8601 with zone, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def at_ms_of(record: dict[str, Any]) -> int:
    """The instant of a record."""
    return round(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
