"""What a restored database has forgotten: ends are carried out again, refresh tokens that it does not know are adopted.

Numbers continue far beyond the last one that the database knows, because ids made from the next ones may have been
shown already. So do versions (ddr.fhir.versions).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

import asyncpg

from ddr.fhir.versions import Restore
from ddr.store.audit.acting import By
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.consents import THERE_BY, shorten
from ddr.store.authorization.tokens import Family, find_pairing
from ddr.store.authorization.unpairing import Party, end_kind, unpair
from ddr.store.database.pool import Connection

LEAP = 1_000_000  # more numbers than are issued between a backup and its restore
_USED = ("browser_session", "gateway_code")  # may have been closed or used since the backup
_NUMBERED = """
SELECT table_name, column_name FROM information_schema.columns
 WHERE table_schema = current_schema() AND is_identity = 'YES'
"""

# What ddr.fhir.versions needs to know, as SQL.
RESTORES = """coalesce((SELECT jsonb_agg(jsonb_build_array(known_ms, declared_ms)) FROM restore_window
                        WHERE known_ms IS NOT NULL), '[]')"""


async def restores(conn: Connection) -> list[Restore]:
    """The restores that were declared."""
    return [Restore(*one) for one in await conn.fetchval(f"SELECT {RESTORES}")]


async def declare(pool: asyncpg.Pool, until_ms: int, now_ms: int) -> None:
    """Open the window, and skip the numbers that may have been issued since the backup; versions do so, too.

    Whatever changes from now on has a timestamp after this one, whatever the clock says. All browser sessions end,
    because the database does not know who has logged out since.
    """
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL statement_timeout = 0")  # the stamps of all patients
        for table in _USED:
            await conn.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
        known_ms = await conn.fetchval("SELECT coalesce(max(stamp_ms), 0) FROM patient")
        declared_ms = max(now_ms, known_ms + 1)
        await conn.execute("UPDATE patient SET stamp_ms = $1", declared_ms)
        await conn.execute(
            "INSERT INTO restore_window (declared_ms, until_ms, known_ms) VALUES ($1, $2, $3)",
            declared_ms,
            until_ms,
            known_ms,
        )
        for table, column in await conn.fetch(_NUMBERED):
            await conn.execute(
                "SELECT setval(s, nextval(s) + $3) FROM (SELECT pg_get_serial_sequence($1, $2)::regclass AS s) AS one",
                table,
                column,
                LEAP,
            )
        await record(conn, Event.RESTORE_DECLARED, now_ms, detail={"until_ms": until_ms})


async def mark(conn: Connection, known: Mapping[str, int]) -> None:
    """Note that this database has what these files of the journal of ends hold (ddr.store.audit.journal.held)."""
    await conn.execute(
        "INSERT INTO journal_mark (at_ms, known) VALUES (0, $1)"
        " ON CONFLICT (one) DO UPDATE SET known = journal_mark.known || excluded.known",
        dict(known),
    )


async def mark_later(conn: Connection, seen: Mapping[str, int], now_ms: int, late_ms: int, first_month: str) -> None:
    """Note what the files hold now, unless that was done less than `late_ms` ago. What was noted the last time counts
    as known from now on.

    Files of months before `first_month` are forgotten: one that still exists is read as a whole. The previous version
    of the software marks by time, in `at_ms`.
    """
    await conn.execute(
        """
        INSERT INTO journal_mark AS m (at_ms, seen, seen_ms) VALUES ($2::bigint - $3, $1, $2)
        ON CONFLICT (one) DO UPDATE SET at_ms = greatest(m.at_ms, excluded.at_ms),
            known = (SELECT coalesce(jsonb_object_agg(file, size), '{}')
                       FROM jsonb_each(CASE WHEN m.seen_ms <= $2 THEN m.known || m.seen ELSE m.known END)
                         AS held (file, size)
                      WHERE right(split_part(file, '.jsonl:', 1), 7) >= $4),
            seen = excluded.seen, seen_ms = excluded.seen_ms
         WHERE m.seen_ms IS NULL OR m.seen_ms NOT BETWEEN $2::bigint - $3 AND $2
        """,
        dict(seen),
        now_ms,
        late_ms,
        first_month,
    )


async def marked(conn: Connection) -> dict[str, int]:
    """How much of each file of the journal the database knows."""
    found: dict[str, int] | None = await conn.fetchval("SELECT known FROM journal_mark")
    return found or {}


async def window(conn: Connection, now_ms: int) -> int | None:
    """When the restore whose window is open was declared, or None."""
    found: int | None = await conn.fetchval("SELECT max(declared_ms) FROM restore_window WHERE until_ms > $1", now_ms)
    return found


async def close_window(conn: Connection, now_ms: int) -> bool:
    """Close the window before its time. False when none was open."""
    status: str = await conn.execute("UPDATE restore_window SET until_ms = $1 WHERE until_ms > $1", now_ms)
    return status != "UPDATE 0"


async def adopt(
    pool: asyncpg.Pool,
    family: Family,
    presented_sha256: bytes,
    successor_sha256: bytes,
    refresh_until_ms: int,
    now_ms: int,
    certificate_sha256: bytes,
) -> bool:
    """Make the successor of a token that the restore forgot the current one; once per grant, only for older grants."""
    declared_ms = await window(pool, now_ms)
    if declared_ms is None:
        return False
    async with pool.acquire() as conn, conn.transaction():
        status: str = await conn.execute(
            """
            UPDATE token_grant
               SET refresh_sha256 = $4, previous_sha256 = $5, rotated_ms = $6, restored_ms = $6,
                   refresh_expires_ms = $7, certificate_sha256 = $8
             WHERE patient_id = $1 AND grant_no = $2 AND refresh_sha256 = $3 AND revoked_ms IS NULL
               AND restored_ms IS NULL AND created_ms < $9
            """,
            family.patient_id,
            family.grant_no,
            family.refresh_sha256,
            successor_sha256,
            presented_sha256,
            now_ms,
            refresh_until_ms,
            certificate_sha256,
            declared_ms,
        )
        if status != "UPDATE 1":
            return False
        await record(
            conn,
            Event.REFRESH_RESTORED,
            now_ms,
            patient_id=family.patient_id,
            client_id=family.client_id,
            pairing_id=family.pairing_id,
        )
        return True


async def end_pairing(pool: asyncpg.Pool, pairing_id: str, by: Party, reason: str, now_ms: int) -> bool:
    """End the pairing with this Pairing ID, if the database knows it and it is living."""
    pairing = await find_pairing(pool, pairing_id)
    return pairing is not None and await unpair(pool, *pairing, by, reason, now_ms)


# Locks as those do who give or end several consents, which nobody locks in a fixed order.
_HOLD = "SELECT FROM pairing WHERE patient_id = $1 AND pairing_no = $2 FOR UPDATE"
_LATER = f"""
SELECT EXISTS (SELECT FROM consent c
                WHERE c.patient_id = $1 AND c.pairing_no = $2 AND c.miv_url = ANY ($3) AND c.withdrawn_ms IS NULL
                  AND NOT {THERE_BY.format(kinds="$3", granted="$4", upto_ms="$5")})"""  # noqa: S608 - words of ours


async def end_consent(
    pool: asyncpg.Pool,
    pairing_id: str,
    valueset: str,
    ended_ms: int,
    granted_ms: Collection[int],
    by: Party,
    reason: str,
    now_ms: int,
) -> bool:
    """End the consents to a kind of data that existed at `ended_ms`, unless there is a later one.

    Those given at `granted_ms` have ended, and those after them have not, whatever the clock said.
    """
    pairing = await find_pairing(pool, pairing_id)
    if pairing is None:
        return False
    upto_ms = max(granted_ms, default=ended_ms)
    async with pool.acquire() as conn, conn.transaction():  # nobody gives a consent between check and end
        await conn.execute(_HOLD, *pairing)
        later = await conn.fetchval(_LATER, *pairing, [valueset], list(granted_ms), upto_ms)
        return not later and await end_kind(conn, *pairing, valueset, by, reason, now_ms)


async def shorten_consents(
    pool: asyncpg.Pool,
    pairing_id: str,
    valuesets: Collection[str],
    until_ms: int,
    at_ms: int,
    granted_ms: Collection[int],
    by: By,
) -> bool:
    """Give the consents of this pairing that existed at `at_ms` the earlier end that was chosen then.

    Those given at `granted_ms` existed, and those after them did not, whatever the clock said.
    """
    pairing = await find_pairing(pool, pairing_id)
    if pairing is None:
        return False
    upto_ms = max(granted_ms, default=at_ms)
    async with pool.acquire() as conn, conn.transaction():  # together with the proof, or not at all
        await conn.execute(_HOLD, *pairing)
        shortened = await shorten(conn, *pairing, valuesets, until_ms, at_ms, by, upto_ms, granted_ms)
    return bool(shortened.kinds)


async def end_grant(
    conn: Connection, patient_id: UUID, pairing_id: str, grant_no: int, ended_ms: int, created_ms: int | None
) -> bool:
    """End a grant of this pairing that existed at `ended_ms`, or that began at `created_ms`."""
    status: str = await conn.execute(
        """
        UPDATE token_grant g SET revoked_ms = $4 FROM pairing p
         WHERE g.patient_id = $1 AND g.grant_no = $2 AND g.revoked_ms IS NULL
           AND (g.created_ms <= $4 OR g.created_ms = $5::bigint)
           AND p.patient_id = $1 AND p.pairing_no = g.pairing_no AND p.pairing_id = $3
        """,
        patient_id,
        grant_no,
        pairing_id,
        ended_ms,
        created_ms,
    )
    return status == "UPDATE 1"
