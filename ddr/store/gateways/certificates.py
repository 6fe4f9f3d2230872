"""Certificates of cloud bridges: who may send for many patients, and which ones a worker's listener knows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from ddr.durations import HOUR_MS
from ddr.store.audit.trail import Event, record
from ddr.store.credentials import register
from ddr.store.credentials.register import Kind
from ddr.store.database.pool import Connection, Row

LOOK_SECONDS = 5.0  # a new certificate passes the handshake after this time at the latest


class AlreadyKnown(Exception):
    """The certificate was registered before; a revoked one never becomes valid again."""


class Ambiguous(Exception):
    """Two certificates have this name, so it does not say which one is meant."""


@dataclass(frozen=True)
class Facts:
    """What operators state about a certificate; `until_ms` is its own end."""

    name: str
    until_ms: int
    owner: str = ""
    purpose: str = ""


async def add(pool: asyncpg.Pool, der: bytes, facts: Facts, now_ms: int) -> None:
    """Register a certificate, recorded. Raises AlreadyKnown, and Enough when two of this name exist."""
    digest = hashlib.sha256(der).digest()
    try:
        async with pool.acquire() as conn, conn.transaction():
            await register.add(
                conn, Kind.BRIDGE, digest.hex(), facts.name, facts.owner, facts.purpose, facts.until_ms, now_ms
            )
            await conn.execute(
                "INSERT INTO gateway_certificate (certificate_sha256, certificate, name, created_ms)"
                " VALUES ($1, $2, $3, $4)",
                digest, der, facts.name, now_ms,
            )  # fmt: skip
            await record(conn, Event.GATEWAY_CERTIFICATE_ADDED, now_ms, detail={"sha256": digest.hex()})
    except asyncpg.UniqueViolationError:
        raise AlreadyKnown from None


async def known(conn: Connection) -> Sequence[Row]:
    """All certificates ever registered, oldest first."""
    rows: Sequence[Row] = await conn.fetch(
        "SELECT certificate_sha256, certificate, name, created_ms, revoked_ms FROM gateway_certificate"
        " ORDER BY created_ms, name"
    )
    return rows


async def let_in(conn: Connection, der: bytes, now_ms: int) -> bool:
    """True while exactly this certificate is registered, neither revoked nor expired. Counts as a use of it.

    An expired certificate can arrive on a connection opened before, or through a proxy that does not check. That a
    database takes no writes is no reason to refuse.
    """
    digest = hashlib.sha256(der).digest()
    row = await conn.fetchrow(
        "SELECT c.used_ms FROM gateway_certificate g LEFT JOIN credential c ON c.kind = $2 AND c.mark = $3"
        " WHERE g.certificate_sha256 = $1 AND g.revoked_ms IS NULL AND coalesce(c.until_ms > $4, true)",
        digest,
        Kind.BRIDGE,
        digest.hex(),
        now_ms,
    )
    if row is not None and now_ms - (row["used_ms"] or 0) >= HOUR_MS:
        with suppress(asyncpg.PostgresError):
            await register.note_use(conn, Kind.BRIDGE, digest.hex(), now_ms)
    return row is not None


async def revoke(pool: asyncpg.Pool, which: str, now_ms: int) -> bool:
    """End the certificate with this name or SHA-256, from the next request on, recorded. False when none is in force.

    Raises Ambiguous when two have this name.
    """
    async with pool.acquire() as conn, conn.transaction():
        alive = await conn.fetch(
            "SELECT certificate_sha256 FROM gateway_certificate"
            " WHERE (name = $1 OR encode(certificate_sha256, 'hex') = $1) AND revoked_ms IS NULL FOR UPDATE",
            which,
        )
        if len(alive) > 1:
            raise Ambiguous
        if not alive:
            return False
        digest = alive[0]["certificate_sha256"]
        await end(conn, digest, now_ms)
        await record(conn, Event.GATEWAY_CERTIFICATE_REVOKED, now_ms, detail={"sha256": digest.hex()})
        return True


async def end(conn: Connection, certificate_sha256: bytes, at_ms: int) -> bool:
    """End the certificate with this hash, as it had ended before a restore. False when it was not in force."""
    status: str = await conn.execute(
        "UPDATE gateway_certificate SET revoked_ms = $2 WHERE certificate_sha256 = $1 AND revoked_ms IS NULL",
        certificate_sha256,
        at_ms,
    )
    await register.close(conn, Kind.BRIDGE, certificate_sha256.hex(), at_ms)
    return status == "UPDATE 1"


class Anchors:
    """The certificates that pass the handshake of a worker's gateway listener; the decision is made by `let_in`."""

    def __init__(self) -> None:
        self.certificates: frozenset[bytes] = frozenset()

    async def refresh(self, pool: asyncpg.Pool) -> None:
        """Read again which certificates are in force."""
        rows = await pool.fetch("SELECT certificate FROM gateway_certificate WHERE revoked_ms IS NULL")
        self.certificates = frozenset(row["certificate"] for row in rows)
