"""The current request: its id, and what the rooms find out about it for the request log.

It is kept in a context variable, so that the technical log and errors raised deep inside use the same id.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

import asyncpg

from ddr.store.audit.request_log import Retired
from ddr.store.audit.trail import NewEntry, add

HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")  # a FHIR id, because it becomes the id of OperationOutcomes


class Withheld(Exception):
    """The answer must not leave, because what it rests on cannot be stored now with the request's record."""


@dataclass
class Exchange:
    """One request and its answer."""

    transaction_id: str
    client_id: str | None = None  # when more is known than the connection's certificate tells
    pairing_id: str | None = None
    named_pairing: str | None = None  # named by an authentic token or code, whoever presents it; not for the log
    error: tuple[str, str] | None = None  # code and text, as answered
    entries: list[NewEntry] | None = None  # of the audit trail, if they are stored with the request's record
    retired: Retired | None = None  # the answer may only leave once its record is in the database that knows this


CURRENT: ContextVar[Exchange | None] = ContextVar("ddr.exchange", default=None)


def transaction_id(given: list[str]) -> str:
    """The id that a client gave in X-Request-Id, if it is a single one in the right form; otherwise a new one."""
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return given[0]
    return secrets.token_hex(16)


def request_id() -> str | None:
    """The id of the current request; None outside of one."""
    exchange = CURRENT.get()
    return exchange.transaction_id if exchange else None


def concerns(pairing_id: str | None = None, client_id: str | None = None) -> None:
    """The request concerns this pairing, or comes from this DiGA; this is proven, so the request log says it."""
    if exchange := CURRENT.get():
        exchange.pairing_id = pairing_id or exchange.pairing_id
        exchange.client_id = client_id or exchange.client_id


def names_pairing(pairing_id: str) -> None:
    """An authentic token or code names this pairing, whoever presents it: its patient should see what is refused."""
    if exchange := CURRENT.get():
        exchange.named_pairing = pairing_id


def named_pairing() -> str | None:
    """The pairing of `names_pairing`, None when no token or code named one."""
    exchange = CURRENT.get()
    return exchange.named_pairing if exchange else None


def answered_error(code: str, text: str) -> None:
    """The request is answered with this error; the request log keeps of `text` only what no caller wrote."""
    if exchange := CURRENT.get():
        exchange.error = (code, text)


def needs_record(retired: Retired) -> None:
    """The answer tells of a rotation, which is durable only once the request's record is in the database, too."""
    if exchange := CURRENT.get():
        exchange.retired = retired


async def audited(pool: asyncpg.Pool, entry: NewEntry) -> None:
    """Put `entry` into the audit trail: together with the record of the current request, before its answer leaves; or
    at once where no record is kept."""
    exchange = CURRENT.get()
    if exchange is None or exchange.entries is None:
        await add(pool, entry)
    else:
        exchange.entries.append(entry)


def amend(entry: NewEntry | None, **detail: object) -> None:
    """Add `detail` to an entry that was `audited` and still waits for its record. A stored entry does not change."""
    exchange = CURRENT.get()
    if exchange is not None and exchange.entries:
        exchange.entries[:] = [
            one._replace(detail={**one.detail, **detail}) if one is entry else one for one in exchange.entries
        ]
