"""Bearer tokens of gateway apps: only their SHA-256 is stored; the token itself is shown once.

A token has an end. It is looked up on each request, so whatever ends it takes effect on the next request, in every
worker. An *app* is the line of tokens that began with one of them and continues by renewal; people see apps.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS, HOUR_MS
from ddr.store.audit.acting import By
from ddr.store.database.able import able
from ddr.store.database.digest import sha256
from ddr.store.database.pool import Connection, Row
from ddr.store.database.several import fetch_together
from ddr.store.database.spreading import is_spread
from ddr.store.database.sweeping import delete_due

DAYS = 365  # how long a token lasts by default
NOTED_MS = HOUR_MS  # a use is noted once an hour
MOST = 20  # tokens of one patient that are good at once
SHOWN = 16  # hex characters of the hash that people see as the name of an app

NOBODY_ELSE: By = (None, None)


class TooManyTokens(Exception):
    """The patient has MOST good tokens already."""


class Holder(NamedTuple):
    """Whose token it is; `good` is False when it was revoked or has expired, or the account is disabled."""

    patient_id: UUID
    good: bool
    used_ms: int | None


class Renewed(NamedTuple):
    """A new token; the former one of the same app ends at `former_ms`."""

    token: str
    patient_id: UUID
    expires_ms: int
    former_ms: int


_APP = f"left(encode(app, 'hex'), {SHOWN})"


_FIND = """
SELECT t.patient_id, t.revoked_ms IS NULL AND t.expires_ms > $2 AND p.disabled_ms IS NULL AS good, t.used_ms
  FROM gateway_token t JOIN patient p USING (patient_id) WHERE t.token_sha256 = $1"""


_FIND_ALONE = """
SELECT patient_id, revoked_ms IS NULL AND expires_ms > $2 AS good, used_ms FROM gateway_token WHERE token_sha256 = $1"""


async def create(
    conn: Connection, patient_id: UUID, now_ms: int, *, name: str = "", days: int = DAYS, by: By = NOBODY_ELSE
) -> str:
    """A new token (256 random bits) of a new app that writes for this patient for `days`. Raises TooManyTokens.

    `by` is the representative who connected it in the patient's place.
    """
    token = secrets.token_urlsafe(32)
    await _insert(conn, token, sha256(token), patient_id, name, now_ms, now_ms + days * DAY_MS, by)
    return token


async def find(conn: Connection, token_sha256: bytes, now_ms: int) -> Holder | None:
    """Who holds this token; None when there never was such a token."""
    if is_spread(conn):
        row = await conn.fetchrow(_FIND_ALONE, token_sha256, now_ms)
        return row and Holder(row["patient_id"], row["good"] and await able(conn, row["patient_id"]), row["used_ms"])
    rows = await fetch_together(conn, _FIND, ("bytea", "bigint"), token_sha256, now_ms)
    return Holder(*(rows[0][name] for name in Holder._fields)) if rows else None


async def note_use(conn: Connection, token_sha256: bytes, holder: Holder, now_ms: int) -> None:
    """Note the hour of the last use. That a database takes no writes is no reason to refuse the request."""
    if holder.used_ms is not None and now_ms - holder.used_ms < NOTED_MS:
        return
    with suppress(asyncpg.PostgresError):
        await conn.execute(
            "UPDATE gateway_token SET used_ms = $2 WHERE token_sha256 = $1 AND coalesce(used_ms, 0) <= $3",
            token_sha256, now_ms // NOTED_MS * NOTED_MS, now_ms - NOTED_MS,
        )  # fmt: skip


async def apps(conn: Connection, patient_id: UUID, now_ms: int) -> Sequence[Row]:
    """The patient's apps that have a good token, oldest first: app, name, since_ms, used_ms, until_ms, and role and
    representation_id of whoever connected it in the patient's place.
    """
    rows: Sequence[Row] = await conn.fetch(
        f"""
        SELECT {_APP} AS app, min(name) AS name, min(created_ms) AS since_ms, max(used_ms) AS used_ms,
               max(expires_ms) AS until_ms, max(role) AS role,
               (array_agg(representation_id) FILTER (WHERE representation_id IS NOT NULL))[1] AS representation_id
          FROM gateway_token
         WHERE patient_id = $1 AND revoked_ms IS NULL
         GROUP BY app HAVING max(expires_ms) > $2 ORDER BY since_ms, app
        """,
        patient_id,
        now_ms,
    )
    return rows


async def renew(
    conn: asyncpg.Connection, token_sha256: bytes, days: int, overlap_ms: int, now_ms: int
) -> Renewed | None:
    """Within a transaction: issue another token of the same app; the former one ends after `overlap_ms` at the latest.

    None when the former one is not good any more. Renewing again gives another token, because an answer may have been
    lost. Raises TooManyTokens.
    """
    if not await able(
        conn, await conn.fetchval("SELECT patient_id FROM gateway_token WHERE token_sha256 = $1", token_sha256)
    ):
        return None
    row = await conn.fetchrow(
        """
        UPDATE gateway_token SET expires_ms = least(expires_ms, $3)
         WHERE token_sha256 = $1 AND revoked_ms IS NULL AND expires_ms > $2
        RETURNING patient_id, app, name, expires_ms, role, representation_id
        """,
        token_sha256,
        now_ms,
        now_ms + overlap_ms,
    )
    if row is None:
        return None
    token, expires_ms = secrets.token_urlsafe(32), now_ms + days * DAY_MS
    by = row["role"], row["representation_id"]
    await _insert(conn, token, row["app"], row["patient_id"], row["name"], now_ms, expires_ms, by)
    return Renewed(token, row["patient_id"], expires_ms, row["expires_ms"])


async def end_former(conn: Connection, token_sha256: bytes, at_ms: int) -> bool:
    """Let a renewed token end at `at_ms`, as it had before a restore. False when it does not last longer anyway."""
    status: str = await conn.execute(
        "UPDATE gateway_token SET expires_ms = $2 WHERE token_sha256 = $1 AND revoked_ms IS NULL AND expires_ms > $2",
        token_sha256,
        at_ms,
    )
    return status == "UPDATE 1"


async def newest(conn: Connection, patient_id: UUID, app: str, now_ms: int) -> bytes | None:
    """The hash of the newest good token of the app shown as `app`."""
    found: bytes | None = await conn.fetchval(
        f"SELECT token_sha256 FROM gateway_token WHERE patient_id = $1 AND {_APP} = $2 AND revoked_ms IS NULL"
        " AND expires_ms > $3 ORDER BY created_ms DESC LIMIT 1",
        patient_id,
        app,
        now_ms,
    )
    return found


async def revoke(conn: Connection, patient_id: UUID, app: str | None, now_ms: int) -> list[bytes]:
    """End the tokens of the app shown as `app`, or of every app when it is None, from the next request on.

    Returns the hashes of the first tokens of the apps that ended, each once. A concurrent renewal locks the token that
    it renews, and only the next statement sees the token that it makes; so the statement is repeated.
    """
    ended: set[bytes] = set()
    for number in count():
        rows = await conn.fetch(
            f"UPDATE gateway_token SET revoked_ms = $3 WHERE patient_id = $1 AND ($2::text IS NULL OR {_APP} = $2)"
            " AND revoked_ms IS NULL AND expires_ms > $3 RETURNING app",
            patient_id,
            app,
            now_ms,
        )
        ended |= {row["app"] for row in rows}
        if number and not rows:
            break
    return sorted(ended)


async def end_app(conn: Connection, app: bytes, at_ms: int) -> bool:
    """End every token of the line that began with the token with this hash; False when none was good."""
    status: str = await conn.execute(
        "UPDATE gateway_token SET revoked_ms = $2 WHERE app = $1 AND revoked_ms IS NULL", app, at_ms
    )
    return status != "UPDATE 0"


async def sweep(pool: asyncpg.Pool, before_ms: int) -> None:
    """Delete tokens that ended before `before_ms`."""
    await delete_due(pool, "gateway_token", "least(revoked_ms, expires_ms)", before_ms)


async def _insert(
    conn: Connection, token: str, app: bytes, patient_id: UUID, name: str, now_ms: int, expires_ms: int, by: By
) -> None:
    status: str = await conn.execute(
        """
        INSERT INTO gateway_token (token_sha256, app, patient_id, name, created_ms, expires_ms, role, representation_id)
        SELECT $1, $2, $3, $4, $5, $6, $8, $9 WHERE $7 > (
            SELECT count(*) FROM gateway_token WHERE patient_id = $3 AND revoked_ms IS NULL AND expires_ms > $5)
        """,
        sha256(token), app, patient_id, name, now_ms, expires_ms, MOST, *by,
    )  # fmt: skip
    if status == "INSERT 0 0":
        raise TooManyTokens


async def count_good(conn: Connection, now_ms: int, soon_ms: int) -> tuple[int, int]:
    """How many tokens are good, and how many of them end within `soon_ms`."""
    row = await conn.fetchrow(
        "SELECT count(*) AS good, count(*) FILTER (WHERE expires_ms <= $2) AS ending FROM gateway_token"
        " WHERE revoked_ms IS NULL AND expires_ms > $1",
        now_ms,
        now_ms + soon_ms,
    )
    return row["good"], row["ending"]
