"""Pushed authorization requests (RFC 9126): kept until the patient decides, consumed by the decision."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ddr.durations import HOUR_MS
from ddr.settings_checks import PAR_SECONDS
from ddr.store.database.clock import SKEW_MS
from ddr.store.database.digest import sha256
from ddr.store.database.pool import Connection
from ddr.store.database.sweeping import delete_due

_COLUMNS = "client_id, redirect_uri, state, scope, code_challenge, expires_ms"
# A request that lasts longer than any that is given comes from a clock that was set back.
_OPEN = f"decided_ms IS NULL AND expires_ms > $2 AND expires_ms <= $2::bigint + {PAR_SECONDS * 1000 + SKEW_MS}"
PREFIX = "urn:ietf:params:oauth:request_uri:"


class PushedRequest(NamedTuple):
    """What a DiGA asked for. Everything was checked when it was pushed."""

    request_uri: str
    client_id: str
    redirect_uri: str
    state: str
    scope: str
    code_challenge: str
    expires_ms: int


def new_request_uri() -> str:
    """An unguessable request_uri (256 random bits)."""
    return PREFIX + secrets.token_urlsafe(32)


async def open_requests(conn: Connection, client_id: str, now_ms: int) -> tuple[int, int]:
    """How many requests of this client are open, and when the first of them expires (now when there is none)."""
    row = await conn.fetchrow(
        "SELECT count(*) AS open, coalesce(min(expires_ms), $2) AS first_ms FROM pushed_request"
        f" WHERE client_id = $1 AND {_OPEN}",
        client_id,
        now_ms,
    )
    return row["open"], row["first_ms"]


async def push(conn: Connection, request: PushedRequest) -> None:
    """Keep `request`."""
    await conn.execute(
        """
        INSERT INTO pushed_request
            (request_sha256, client_id, redirect_uri, state, scope, code_challenge, expires_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        sha256(request.request_uri),
        *request[1:],
    )


def _of(request_uri: str, row: Mapping[str, Any] | None) -> PushedRequest | None:
    return PushedRequest(request_uri, **row) if row else None


async def load(conn: Connection, request_uri: str, now_ms: int) -> PushedRequest | None:
    """The open request with this request_uri; None: unknown, expired or already decided. Loading consumes nothing."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM pushed_request
        WHERE request_sha256 = $1 AND {_OPEN}
        """,
        sha256(request_uri),
        now_ms,
    )
    return _of(request_uri, row)


async def consume(conn: Connection, request_uri: str, patient_id: UUID, now_ms: int) -> PushedRequest | None:
    """Like `load`, but from now on this patient has decided the request: of several callers, one gets it."""
    row = await conn.fetchrow(
        f"""
        UPDATE pushed_request SET decided_ms = $2, patient_id = $3
        WHERE request_sha256 = $1 AND {_OPEN}
        RETURNING {_COLUMNS}
        """,
        sha256(request_uri),
        now_ms,
        patient_id,
    )
    return _of(request_uri, row)


async def decided(conn: Connection, request_uri: str, patient_id: UUID, since_ms: int) -> PushedRequest | None:
    """The request with this request_uri if this patient decided it after `since_ms`, else None."""
    row = await conn.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM pushed_request
        WHERE request_sha256 = $1 AND patient_id = $2 AND decided_ms > $3
        """,
        sha256(request_uri),
        patient_id,
        since_ms,
    )
    return _of(request_uri, row)


async def refuse_once(conn: Connection, request_uri: str, now_ms: int) -> bool:
    """Note that a browser was turned away with this request; True if the request exists and this is the first time."""
    status: str = await conn.execute(
        "UPDATE pushed_request SET refused_ms = $2 WHERE request_sha256 = $1 AND refused_ms IS NULL",
        sha256(request_uri),
        now_ms,
    )
    return status == "UPDATE 1"


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete requests that are long past; until then, a form that is sent twice gets the same answer twice."""
    await delete_due(pool, "pushed_request", "expires_ms", now_ms - HOUR_MS)
