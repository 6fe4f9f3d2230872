"""What operators do with accounts: find, disable, enable; each act is recorded together with the change."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.store.audit.trail import Event, record
from ddr.store.authorization.unpairing import Party, end_all
from ddr.store.database.names import account_name
from ddr.store.database.pool import Row
from ddr.store.database.stamps import lock_patient
from ddr.store.patients.sessions import close_all

REASON = "account-disabled"

_FOUND = """
SELECT p.patient_id, p.created_ms, p.disabled_ms,
       (SELECT count(*) FROM device d WHERE d.patient_id = p.patient_id) AS devices,
       (SELECT count(*) FROM pairing c WHERE c.patient_id = p.patient_id AND c.ended_ms IS NULL) AS pairings
  FROM patient p WHERE p.patient_id = ANY ($1::uuid[]) ORDER BY p.created_ms, p.patient_id
"""
# Where patients are spread, logins and apps are on other servers than their patients.
_ACCOUNTS = """
SELECT patient_id, username AS account FROM account WHERE patient_id = ANY ($1::uuid[])
 UNION ALL SELECT patient_id, subject || ' at ' || issuer FROM login_identity WHERE patient_id = ANY ($1::uuid[])"""
_APPS = """
SELECT patient_id, count(DISTINCT app) AS apps FROM gateway_token
 WHERE patient_id = ANY ($1::uuid[]) AND revoked_ms IS NULL AND expires_ms > $2 GROUP BY patient_id"""


async def by_account(conn: asyncpg.Pool, account: str) -> list[UUID]:
    """The patients who log in with this name (built-in) or subject (at the provider); disabled ones included."""
    rows = await conn.fetch(
        "SELECT patient_id FROM account WHERE username = $1"
        " UNION SELECT patient_id FROM login_identity WHERE subject = $2",
        account_name(account),
        account,
    )
    return [row["patient_id"] for row in rows]


async def by_serial(conn: asyncpg.Pool, serial: str) -> list[UUID]:
    """The patients who have or had a device with this serial number."""
    rows = await conn.fetch("SELECT DISTINCT patient_id FROM device WHERE serial_number = $1", serial)
    return [row["patient_id"] for row in rows]


async def by_pairing_id(conn: asyncpg.Pool, pairing_id: str) -> list[UUID]:
    """The patient whom a DiGA knows by this Pairing ID."""
    rows = await conn.fetch("SELECT patient_id FROM pairing_directory WHERE pairing_id = $1", pairing_id)
    return [row["patient_id"] for row in rows]


async def described(conn: asyncpg.Pool, patient_ids: list[UUID], now_ms: int) -> list[Row]:
    """For each patient: accounts, created_ms, disabled_ms, and how many devices, living pairings and connected apps.

    A subject is shown with its issuer, because a change of the provider's address may turn it into two patients.
    """
    accounts: dict[UUID, list[str]] = {}
    for row in await conn.fetch(_ACCOUNTS, patient_ids):
        accounts.setdefault(row["patient_id"], []).append(row["account"])
    apps = {row["patient_id"]: row["apps"] for row in await conn.fetch(_APPS, patient_ids, now_ms)}
    return [
        {**row, "accounts": accounts.get(whose := row["patient_id"], []), "apps": apps.get(whose, 0)}
        for row in await conn.fetch(_FOUND, patient_ids)
    ]


async def disable(pool: asyncpg.Pool, patient_id: UUID, now_ms: int, after_ms: int = 0) -> bool:
    """Let nobody log in or write until `enable`; sessions and pairings end for good. False when already disabled.

    The lock makes sure that no consent given at the same time outlives this. Disabling and enabling have timestamps of
    the patient, not of some host: after a restore, the later one counts (ddr.operations.restore). `after_ms`: when an
    act that is now repeated was done, perhaps by a clock that was ahead of the database's.
    """
    async with pool.acquire() as conn, conn.transaction():
        able = "SELECT FROM patient WHERE patient_id = $1 AND disabled_ms IS NULL FOR UPDATE"
        if await conn.fetchrow(able, patient_id) is None:
            return False
        at_ms = await _stamp(conn, patient_id, after_ms)
        await record(conn, Event.ACCOUNT_DISABLED, at_ms, patient_id=patient_id)
        await conn.execute("UPDATE patient SET disabled_ms = $2 WHERE patient_id = $1", patient_id, at_ms)
        await close_all(conn, patient_id)
        await conn.execute("DELETE FROM gateway_code WHERE patient_id = $1", patient_id)
        await end_all(conn, patient_id, Party.OPERATOR, REASON, now_ms)
        return True


async def enable(pool: asyncpg.Pool, patient_id: UUID) -> bool:
    """Let the patient log in and the apps send again. False when the account was not disabled."""
    async with pool.acquire() as conn, conn.transaction():
        disabled_ms = await conn.fetchval(
            "SELECT disabled_ms FROM patient WHERE patient_id = $1 AND disabled_ms IS NOT NULL FOR UPDATE", patient_id
        )
        if disabled_ms is None:
            return False
        await conn.execute("UPDATE patient SET disabled_ms = NULL WHERE patient_id = $1", patient_id)
        at_ms = await _stamp(conn, patient_id, disabled_ms)
        await record(conn, Event.ACCOUNT_ENABLED, at_ms, patient_id=patient_id)
        return True


async def _stamp(conn: asyncpg.Connection, patient_id: UUID, after_ms: int) -> int:
    """The patient's next timestamp in milliseconds, later than `after_ms`."""
    return max(await lock_patient(conn, patient_id, None) or 0, after_ms + 1)
