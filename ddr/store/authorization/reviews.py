"""What remains of a representation after its end: connections that the patient is asked once to keep or to end.

These are pairings with DiGA, which read, and gateway apps, which send. Nothing ends by itself, as readings would be
lost before anybody noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.store.audit.trail import Event, record
from ddr.store.authorization.unpairing import Party, end, withdrawn
from ddr.store.database.pool import Connection, Row
from ddr.store.database.rights import Moment, in_force
from ddr.store.gateways import apps, tokens

# A right that is over, whether or not its row is closed yet, of a person who has no other right (with other terms) now.
_OVER = f"""(r.ended_ms IS NOT NULL OR r.until_ms <= $2 OR r.born <= $3) AND r.reviewed_ms IS NULL
   AND NOT EXISTS (SELECT FROM representation o WHERE o.patient_id = $1 AND o.representative_id = r.representative_id
                      AND {in_force("o", "$2", "$3")})"""
# Consents in force that were given under such a right.
_LEFT = f"""
SELECT FROM representation r
  JOIN consent c ON c.patient_id = $1 AND c.representation_id = r.representation_id
   AND c.withdrawn_ms IS NULL AND c.until_ms > $2
 WHERE r.patient_id = $1 AND {_OVER}"""
_RIGHTS = f"SELECT r.representation_id FROM representation r WHERE r.patient_id = $1 AND {_OVER}"  # noqa: S608
_AWAITS = f"""
SELECT EXISTS (SELECT FROM representation r WHERE r.representative_id = $1 AND {in_force("r", "$2", "$3")}) AS choice,
       EXISTS ({_LEFT}) AS review, EXISTS ({_RIGHTS}) AS over"""  # noqa: S608 - texts of ours
_PAIRINGS = f"""
SELECT p.pairing_no, p.client_id, p.pairing_id FROM pairing p
 WHERE p.patient_id = $1 AND p.ended_ms IS NULL AND EXISTS ({_LEFT} AND c.pairing_no = p.pairing_no)
 ORDER BY p.pairing_no"""  # noqa: S608 - texts of ours


class Awaits(NamedTuple):
    """What awaits a person who logs in: the choice of a person, a review of connections."""

    choice: bool
    review: bool


class Left(NamedTuple):
    """What former representatives connected and the patient has not decided about yet, oldest first."""

    pairings: Sequence[asyncpg.Record]  # pairing_no, client_id, pairing_id
    apps: Sequence[Row]  # as from `tokens.apps`


async def awaits(pool: asyncpg.Pool, login_id: UUID, moment: Moment) -> Awaits:
    """Whether the choice of a person, or a review of what others left, awaits whoever has logged in."""
    row = await pool.fetchrow(_AWAITS, login_id, moment.now_ms, moment.of_age_born_by)
    review = row["review"] or (row["over"] and bool(await _apps(pool, login_id, moment)))
    return Awaits(row["choice"], review)


async def left(conn: Connection, patient_id: UUID, moment: Moment) -> Left:
    """The pairings and apps that representatives left, for the patient to keep or end."""
    pairings = await conn.fetch(_PAIRINGS, patient_id, moment.now_ms, moment.of_age_born_by)
    return Left(pairings, await _apps(conn, patient_id, moment))


async def _apps(conn: Connection, patient_id: UUID, moment: Moment) -> list[Row]:
    rows = await conn.fetch(_RIGHTS, patient_id, moment.now_ms, moment.of_age_born_by)
    rights = {row["representation_id"] for row in rows}  # tokens are on other servers where patients are spread
    return [one for one in await tokens.apps(conn, patient_id, moment.now_ms) if one["representation_id"] in rights]


async def decide(pool: asyncpg.Pool, patient_id: UUID, kept: Collection[str], moment: Moment) -> None:
    """Of what is left, keep the DiGA with these client_ids reading, and the apps whose ids are in `kept` sending.

    All others end; the patient is not asked again.
    """
    async with pool.acquire() as conn, conn.transaction():
        found = await left(conn, patient_id, moment)
        for pairing_no, client_id, pairing_id in found.pairings:
            if client_id in kept:
                named = {"client_id": client_id, "pairing_id": pairing_id}
                await record(conn, Event.PAIRING_KEPT, moment.now_ms, patient_id=patient_id, **named)
            else:
                await end(conn, patient_id, pairing_no, Party.PATIENT, withdrawn(), moment.now_ms)
        for one in found.apps:
            if one["app"] not in kept:
                await apps.end(conn, patient_id, one["app"], Event.GATEWAY_DISCONNECTED, moment.now_ms)
        await conn.execute(
            f"UPDATE representation r SET reviewed_ms = $2 WHERE patient_id = $1 AND {_OVER}",  # noqa: S608
            patient_id,
            moment.now_ms,
            moment.of_age_born_by,
        )
