"""The register of machines' credentials: one row for each, with its owner; every change is recorded.

What a credential permits is decided elsewhere. The register says who is responsible for it, and when it is about to
end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from ddr.durations import DAY_MS, HOUR_MS
from ddr.store.audit.trail import Event, record
from ddr.store.database.digest import sha256
from ddr.store.database.pool import Connection

SOON_MS = 21 * DAY_MS  # a credential without a successor by then needs attention
MOST = 2  # of a kind and name at once: one, and its successor


class Kind(StrEnum):
    """What a credential gives access to."""

    BRIDGE = "bridge"  # the gateway API, for many patients
    REGISTRY = "registry"  # BfArM's registries, for the recorder
    DATABASE = "database"  # the tables, by a role


class Enough(Exception):
    """There are MOST of this kind and name already."""


@dataclass(frozen=True)
class Credential:
    """One credential. `used_ms` is precise to the hour; `until_ms` None: no end is known."""

    kind: Kind
    mark: str
    name: str
    owner: str
    purpose: str
    since_ms: int
    until_ms: int | None
    used_ms: int | None
    ended_ms: int | None

    @property
    def complete(self) -> bool:
        """Whether its owner, its purpose and its end are known."""
        return bool(self.owner and self.purpose and self.until_ms)


@dataclass(frozen=True)
class Warnings:
    """What needs attention: ends without a successor, earliest first, and how many lack owner, purpose or end."""

    ends: Sequence[tuple[Kind, int]]
    incomplete: int

    def soon(self, now_ms: int) -> list[tuple[Kind, int]]:
        """The ends within SOON_MS, and those that have passed."""
        return [(kind, until_ms) for kind, until_ms in self.ends if until_ms <= now_ms + SOON_MS]


_ALL = """
SELECT kind, mark, name, owner, purpose, since_ms, until_ms, used_ms, ended_ms FROM credential
 ORDER BY ended_ms IS NOT NULL, kind, name, since_ms, mark"""
_ADD = """
INSERT INTO credential (kind, mark, name, owner, purpose, since_ms, until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_MEET = """
INSERT INTO credential AS c (kind, mark, name, owner, purpose, since_ms, until_ms) VALUES ($1, $2, $3, '', '', $5, $4)
ON CONFLICT (kind, mark) DO UPDATE
   SET since_ms = excluded.since_ms, ended_ms = NULL,
       until_ms = CASE WHEN c.kind = 'database' THEN excluded.until_ms ELSE coalesce(excluded.until_ms, c.until_ms) END
 WHERE c.ended_ms IS NOT NULL RETURNING true"""
# Credentials that are outlasted by no other of the same name.
_ENDS = """
SELECT kind, until_ms FROM credential c
 WHERE ended_ms IS NULL AND until_ms IS NOT NULL AND NOT EXISTS (
       SELECT FROM credential n WHERE n.kind = c.kind AND n.name = c.name AND n.mark <> c.mark AND n.ended_ms IS NULL
          AND (n.until_ms IS NULL OR n.until_ms > c.until_ms))
 ORDER BY until_ms"""
_INCOMPLETE = """
SELECT count(*) FROM credential
 WHERE ended_ms IS NULL AND (owner = '' OR purpose = '' OR until_ms IS NULL)"""


async def every(conn: Connection) -> list[Credential]:
    """All credentials, past ones included: those in use first, by kind and name."""
    return [Credential(**{**row, "kind": Kind(row["kind"])}) for row in await conn.fetch(_ALL)]


async def warnings(conn: Connection) -> Warnings:
    """What needs attention now or soon."""
    ends = [(Kind(kind), until_ms) for kind, until_ms in await conn.fetch(_ENDS)]
    return Warnings(ends, await conn.fetchval(_INCOMPLETE))


async def add(
    conn: asyncpg.Connection, kind: Kind, mark: str, name: str, owner: str, purpose: str, until_ms: int, now_ms: int
) -> None:
    """Within the transaction that admits the credential and records that: add its row. Raises Enough."""
    await conn.execute("LOCK TABLE credential IN SHARE ROW EXCLUSIVE MODE")
    alive = "SELECT count(*) FROM credential WHERE kind = $1 AND name = $2 AND ended_ms IS NULL"
    if await conn.fetchval(alive, kind, name) >= MOST:
        raise Enough
    await conn.execute(_ADD, kind, mark, name, owner, purpose, now_ms, until_ms)


async def meet(
    pool: asyncpg.Pool, kind: Kind, mark: str, name: str, until_ms: int | None, now_ms: int, *, own: bool = False
) -> None:
    """Make sure that a credential in use has a row, at first without an owner; recorded, unless it is the caller's own.

    `until_ms`: when it is known to end. For a role the database knows that, including that there is no end any more;
    for others somebody may have stated it.
    """
    async with pool.acquire() as conn, conn.transaction():
        if await conn.fetchval(_MEET, kind, mark, name, until_ms, now_ms):
            if own:
                return
            await _recorded(conn, Event.CREDENTIAL_FOUND, kind, mark, now_ms)
        elif until_ms is not None or kind is Kind.DATABASE:
            await conn.execute(
                "UPDATE credential SET until_ms = $3 WHERE kind = $1 AND mark = $2 AND until_ms IS DISTINCT FROM $3",
                kind,
                mark,
                until_ms,
            )


@dataclass(frozen=True)
class Assigned:
    """What an operator states about a credential; None for `name` and `until_ms`: unchanged."""

    owner: str
    purpose: str
    name: str | None = None
    until_ms: int | None = None


async def assign(pool: asyncpg.Pool, one: Credential, said: Assigned, now_ms: int) -> bool:
    """Set who is responsible for it and what it is for, recorded. False when it has ended meanwhile."""
    async with pool.acquire() as conn, conn.transaction():
        status: str = await conn.execute(
            "UPDATE credential SET owner = $3, purpose = $4, name = coalesce($5, name),"
            " until_ms = coalesce($6, until_ms)"
            " WHERE kind = $1 AND mark = $2 AND ended_ms IS NULL",
            one.kind,
            one.mark,
            said.owner,
            said.purpose,
            said.name,
            said.until_ms,
        )
        if status == "UPDATE 1":
            await _recorded(conn, Event.CREDENTIAL_ASSIGNED, one.kind, one.mark, now_ms)
        return status == "UPDATE 1"


async def note_use(conn: Connection, kind: Kind, mark: str, now_ms: int) -> None:
    """Note the hour of the last use."""
    await conn.execute(
        "UPDATE credential SET used_ms = $3 WHERE kind = $1 AND mark = $2 AND coalesce(used_ms, 0) < $3",
        kind,
        mark,
        now_ms // HOUR_MS * HOUR_MS,  # a use is noted once an hour
    )


async def close(conn: asyncpg.Connection, kind: Kind, mark: str, now_ms: int) -> bool:
    """Within a transaction that records it: mark it as ended. False when it already was."""
    status: str = await conn.execute(
        "UPDATE credential SET ended_ms = $3 WHERE kind = $1 AND mark = $2 AND ended_ms IS NULL", kind, mark, now_ms
    )
    return status == "UPDATE 1"


async def note_gone(pool: asyncpg.Pool, kind: Kind, mark: str, now_ms: int) -> None:
    """Mark it as ended because it was found to be no longer in use."""
    async with pool.acquire() as conn, conn.transaction():
        if await close(conn, kind, mark, now_ms):
            await _recorded(conn, Event.CREDENTIAL_ENDED, kind, mark, now_ms)


async def _recorded(conn: asyncpg.Connection, event: Event, kind: Kind, mark: str, now_ms: int) -> None:
    """The name of a role may be that of a person, so the trail has its digest."""
    digest = sha256(mark).hex() if kind is Kind.DATABASE else mark
    await record(conn, event, now_ms, detail={"kind": str(kind), "sha256": digest})
