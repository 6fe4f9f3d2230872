"""What is left of a representation after its end: connections that the patient keeps or ends, once."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.store.audit.trail import Event, record
from ddr.store.authorization.unpairing import Party, end, withdrawn
from ddr.store.database.pool import Connection
from ddr.store.database.rights import Moment, in_force

# Consents in force that somebody gave whose right is over, whether its row is closed yet or not.
_OVER = "(r.ended_ms IS NOT NULL OR r.until_ms <= $2 OR r.born <= $3) AND r.reviewed_ms IS NULL"
_LEFT = f"""
SELECT FROM representation r
  JOIN consent c ON c.patient_id = $1 AND c.representation_id = r.representation_id
   AND c.withdrawn_ms IS NULL AND c.until_ms > $2
 WHERE r.patient_id = $1 AND {_OVER}"""
_AWAITS = f"""
SELECT EXISTS (SELECT FROM representation r WHERE r.representative_id = $1 AND {in_force("r", "$2", "$3")}) AS choice,
       EXISTS ({_LEFT}) AS review"""  # noqa: S608 - texts of ours
_PAIRINGS = f"""
SELECT p.pairing_no, p.client_id, p.pairing_id FROM pairing p
 WHERE p.patient_id = $1 AND p.ended_ms IS NULL AND EXISTS ({_LEFT} AND c.pairing_no = p.pairing_no)
 ORDER BY p.pairing_no"""  # noqa: S608 - texts of ours


class Awaits(NamedTuple):
    """What waits for somebody who logs in: the choice of a person, a review of connections."""

    choice: bool
    review: bool


async def awaits(pool: asyncpg.Pool, login_id: UUID, moment: Moment) -> Awaits:
    """What waits for this login."""
    return Awaits(*await pool.fetchrow(_AWAITS, login_id, moment.now_ms, moment.of_age_born_by))


async def left(conn: Connection, patient_id: UUID, moment: Moment) -> list[asyncpg.Record]:
    """The living pairings that former representatives allowed and the patient has not decided about, oldest first."""
    rows: list[asyncpg.Record] = await conn.fetch(_PAIRINGS, patient_id, moment.now_ms, moment.of_age_born_by)
    return rows


async def decide(pool: asyncpg.Pool, patient_id: UUID, kept: Collection[str], moment: Moment) -> None:
    """Of what is left, the DiGA with these client_ids go on reading, all others end; the patient is not asked again."""
    async with pool.acquire() as conn, conn.transaction():
        for pairing_no, client_id, pairing_id in await left(conn, patient_id, moment):
            if client_id in kept:
                named = {"client_id": client_id, "pairing_id": pairing_id}
                await record(conn, Event.PAIRING_KEPT, moment.now_ms, patient_id=patient_id, **named)
            else:
                await end(conn, patient_id, pairing_no, Party.PATIENT, withdrawn(), moment.now_ms)
        await conn.execute(
            f"UPDATE representation r SET reviewed_ms = $2 WHERE patient_id = $1 AND {_OVER}",  # noqa: S608
            patient_id,
            moment.now_ms,
            moment.of_age_born_by,
        )
