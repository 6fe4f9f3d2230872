"""Certificates of cloud bridges: who may send for many patients, and what a worker's listener knows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from ddr.store.audit.trail import Event, record
from ddr.store.database.pool import Connection

LOOK_SECONDS = 5.0  # after this time at the latest a new certificate passes the handshake

Row = Mapping[str, Any]


class AlreadyKnown(Exception):
    """The name is in use, or the certificate was registered before; a revoked one never comes back."""


async def add(pool: asyncpg.Pool, der: bytes, name: str, now_ms: int) -> None:
    """Register a certificate, recorded. Raises AlreadyKnown."""
    digest = hashlib.sha256(der).digest()
    try:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute(
                "INSERT INTO gateway_certificate (certificate_sha256, certificate, name, created_ms)"
                " VALUES ($1, $2, $3, $4)",
                digest, der, name, now_ms,
            )  # fmt: skip
            await record(conn, Event.GATEWAY_CERTIFICATE_ADDED, now_ms, detail={"sha256": digest.hex()})
    except asyncpg.UniqueViolationError:
        raise AlreadyKnown from None


async def known(conn: Connection) -> Sequence[Row]:
    """All certificates ever registered, the oldest first."""
    rows: Sequence[Row] = await conn.fetch(
        "SELECT certificate_sha256, certificate, name, created_ms, revoked_ms FROM gateway_certificate"
        " ORDER BY created_ms, name"
    )
    return rows


async def is_alive(conn: Connection, der: bytes) -> bool:
    """True while exactly this certificate is registered and not revoked."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM gateway_certificate WHERE certificate_sha256 = $1 AND revoked_ms IS NULL)",
        hashlib.sha256(der).digest(),
    )
    return found


async def revoke(pool: asyncpg.Pool, name: str, now_ms: int) -> bool:
    """End the certificate of this name, from the next request on, recorded. False when none is alive."""
    async with pool.acquire() as conn, conn.transaction():
        digest = await conn.fetchval(
            "UPDATE gateway_certificate SET revoked_ms = $2 WHERE name = $1 AND revoked_ms IS NULL"
            " RETURNING certificate_sha256",
            name,
            now_ms,
        )
        if digest is None:
            return False
        await record(conn, Event.GATEWAY_CERTIFICATE_REVOKED, now_ms, detail={"sha256": digest.hex()})
        return True


async def end(conn: Connection, certificate_sha256: bytes, at_ms: int) -> bool:
    """End the certificate with this hash, as it had ended before a restore. False when it was not alive."""
    status: str = await conn.execute(
        "UPDATE gateway_certificate SET revoked_ms = $2 WHERE certificate_sha256 = $1 AND revoked_ms IS NULL",
        certificate_sha256,
        at_ms,
    )
    return status == "UPDATE 1"


class Anchors:
    """The certificates that pass the handshake of a worker's gateway listener; the decision is `is_alive`."""

    def __init__(self) -> None:
        self.certificates: frozenset[bytes] = frozenset()

    async def refresh(self, pool: asyncpg.Pool) -> None:
        """Read them."""
        rows = await pool.fetch("SELECT certificate FROM gateway_certificate WHERE revoked_ms IS NULL")
        self.certificates = frozenset(row["certificate"] for row in rows)
