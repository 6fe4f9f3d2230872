"""Authorization codes and refresh token families, redeemed and revoked; each change is atomic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.remembering import Newest
from ddr.settings_checks import CODE_SECONDS
from ddr.store.audit.trail import Event, record
from ddr.store.database.ask_there import fetch_of_patient
from ddr.store.database.clock import SKEW_MS
from ddr.store.database.pool import Connection
from ddr.store.database.several import fetch_together
from ddr.store.database.spreading import is_spread
from ddr.store.database.sweeping import delete_due

LONGEST_CODE_MS = CODE_SECONDS * 1000 + SKEW_MS  # a code that lasts longer comes from a clock that was set back
MEMORY_MS = DAY_MS
MOST_KNOWN = 100_000


@dataclass(frozen=True)
class Code:
    """An authorization code as issued; `redeemed_ms` is None while it has not been redeemed."""

    patient_id: UUID
    grant_no: int
    client_id: str
    redirect_uri: str
    code_challenge: str
    expires_ms: int
    redeemed_ms: int | None

    def lasts(self, now_ms: int) -> bool:
        """Whether it is in time."""
        return now_ms < self.expires_ms <= now_ms + LONGEST_CODE_MS


@dataclass(frozen=True)
class Family:
    """A grant with its refresh tokens and the consents in force behind it."""

    patient_id: UUID
    grant_no: int
    pairing_id: str
    client_id: str
    scope: str
    ended: bool  # the grant was revoked, or its pairing has ended
    refresh_sha256: bytes | None
    previous_sha256: bytes | None
    rotated_ms: int | None
    refresh_expires_ms: int | None
    certificate_sha256: bytes | None  # of the client that was given the current refresh token
    consents: Mapping[str, int]  # ValueSet canonical → end of the consent in ms; those of the grant that are in force


class PairingRef(NamedTuple):
    """The pairing that a token names."""

    patient_id: UUID
    pairing_no: int


# A Pairing ID never names another pairing. Where looking it up is a round trip, a worker remembers it. Whether the
# pairing still exists is seen together with the patient.
_KNOWN: Newest[str, PairingRef] = Newest(MOST_KNOWN)
_FAMILY = tuple(one.name for one in fields(Family))


async def load_code(conn: Connection, code_sha256: bytes) -> Code | None:
    """The code with this hash, redeemed and expired ones included, or None."""
    row = await conn.fetchrow(
        """
        SELECT patient_id, grant_no, client_id, redirect_uri, code_challenge, expires_ms, redeemed_ms
        FROM authorization_code WHERE code_sha256 = $1
        """,
        code_sha256,
    )
    return row and Code(**row)


def _family(tables: str, which: str, patient: str, at_ms: str) -> str:
    """The columns of Family of grant `g` and its pairing `p`, and `until_ms`: when the last of its consents ends."""
    return f"""
SELECT g.patient_id, g.grant_no, p.pairing_id, p.client_id, g.scope,
       (g.revoked_ms IS NOT NULL OR p.ended_ms IS NOT NULL) AS ended,
       g.refresh_sha256, g.previous_sha256, g.rotated_ms, g.refresh_expires_ms, g.certificate_sha256,
       s.consents, s.until_ms
  FROM {tables}
 CROSS JOIN LATERAL (
   SELECT coalesce(jsonb_object_agg(c.miv_url, c.until_ms), '{{}}') AS consents, max(c.until_ms) AS until_ms
     FROM consent c
    WHERE c.patient_id = {patient} AND c.consent_no = ANY (g.consent_nos)
      AND c.withdrawn_ms IS NULL AND c.until_ms > {at_ms}) s
 WHERE {which}"""  # noqa: S608 - words of ours


OF_PATIENT = _family(
    "token_grant g JOIN pairing p ON p.patient_id = $1 AND p.pairing_no = g.pairing_no",
    "g.patient_id = $1 AND g.grant_no = $2",
    "$1",
    "$3",
)
FIND_FAMILY = _family(
    """pairing_directory d
  JOIN pairing p ON p.patient_id = d.patient_id AND p.pairing_no = d.pairing_no
  JOIN token_grant g ON g.patient_id = p.patient_id AND g.pairing_no = p.pairing_no AND g.grant_no = $2""",
    "d.pairing_id = $1",
    "g.patient_id",
    "$3",
)


async def load_family(conn: Connection, patient_id: UUID, grant_no: int, now_ms: int) -> Family | None:
    """The grant with this number, ended ones included, or None."""
    rows = await fetch_of_patient(conn, OF_PATIENT, patient_id, grant_no, now_ms)
    return family_of(rows[0]) if rows else None


def family_of(row: Mapping[str, Any]) -> Family:
    """The family in a row that has its columns."""
    return Family(**{name: row[name] for name in _FAMILY})


async def find_family(conn: Connection, pairing_id: str, grant_no: int, now_ms: int) -> Family | None:
    """The grant with this number under the pairing with this Pairing ID, ended ones included, or None."""
    if is_spread(conn):
        pairing = await find_pairing(conn, pairing_id)
        family = pairing and await load_family(conn, pairing.patient_id, grant_no, now_ms)
        return family if family and family.pairing_id == pairing_id else None
    rows = await fetch_together(conn, FIND_FAMILY, ("text", "bigint", "bigint"), pairing_id, grant_no, now_ms)
    return family_of(rows[0]) if rows else None


async def find_pairing(conn: Connection, pairing_id: str) -> PairingRef | None:
    """The pairing with this Pairing ID, ended ones included, or None."""
    if (known := _KNOWN.get(pairing_id)) is not None and is_spread(conn):
        return known
    row = await conn.fetchrow("SELECT patient_id, pairing_no FROM pairing_directory WHERE pairing_id = $1", pairing_id)
    found = row and PairingRef(**row)
    if found is not None and is_spread(conn):
        _KNOWN.put(pairing_id, found)
    return found


async def patient_of(conn: Connection, pairing_id: str | None) -> UUID | None:
    """The patient of the pairing with this Pairing ID; None for no pairing, and for one that was deleted."""
    pairing = pairing_id and await find_pairing(conn, pairing_id)
    return pairing.patient_id if pairing else None


async def client_of(conn: Connection, pairing: PairingRef) -> str | None:
    """The client_id of the DiGA of this pairing, or None when the pairing was deleted."""
    client_id: str | None = await conn.fetchval(
        "SELECT client_id FROM pairing WHERE patient_id = $1 AND pairing_no = $2", *pairing
    )
    return client_id


async def redeem(
    pool: asyncpg.Pool,
    code_sha256: bytes,
    refresh_sha256: bytes,
    refresh_until_ms: int,
    now_ms: int,
    certificate_sha256: bytes,
) -> bool:
    """Redeem the code and give its grant the first refresh token. Of several callers, one gets True (AS-009)."""
    async with pool.acquire() as conn, conn.transaction():
        won = await conn.fetchrow(
            """
            UPDATE authorization_code SET redeemed_ms = $2
            WHERE code_sha256 = $1 AND redeemed_ms IS NULL AND expires_ms > $2
            RETURNING patient_id, grant_no
            """,
            code_sha256,
            now_ms,
        )
        if won is None:
            return False
        status: str = await conn.execute(
            """
            UPDATE token_grant SET refresh_sha256 = $3, refresh_expires_ms = $4, certificate_sha256 = $5
            WHERE patient_id = $1 AND grant_no = $2 AND revoked_ms IS NULL
            """,
            won["patient_id"],
            won["grant_no"],
            refresh_sha256,
            refresh_until_ms,
            certificate_sha256,
        )
        return status == "UPDATE 1"


async def take_back(
    pool: asyncpg.Pool, code_sha256: bytes, refresh_sha256: bytes, patient_id: UUID, grant_no: int
) -> bool | None:
    """Make a code usable again that was redeemed for this refresh token, which nobody has received.

    None while it is not redeemed; False when it was redeemed for another token, is gone, or its grant has ended.
    """
    async with pool.acquire() as conn, conn.transaction():
        code = await conn.fetchrow(
            "SELECT redeemed_ms FROM authorization_code WHERE code_sha256 = $1 FOR UPDATE", code_sha256
        )
        if code is None or code["redeemed_ms"] is None:
            return None if code else False
        status: str = await conn.execute(
            """
            UPDATE token_grant SET refresh_sha256 = NULL, refresh_expires_ms = NULL, certificate_sha256 = NULL
            WHERE patient_id = $1 AND grant_no = $2 AND refresh_sha256 = $3 AND revoked_ms IS NULL
            """,
            patient_id,
            grant_no,
            refresh_sha256,
        )
        if status == "UPDATE 1":
            await conn.execute("UPDATE authorization_code SET redeemed_ms = NULL WHERE code_sha256 = $1", code_sha256)
        return status == "UPDATE 1"


async def revoke_family(pool: asyncpg.Pool, family: Family, why: Event, now_ms: int) -> bool:
    """End this grant only, with its access tokens; consents and other grants stay. Recorded once."""
    async with pool.acquire() as conn, conn.transaction():
        created_ms = await conn.fetchval(
            "UPDATE token_grant SET revoked_ms = $3 WHERE patient_id = $1 AND grant_no = $2 AND revoked_ms IS NULL"
            " RETURNING created_ms",
            family.patient_id,
            family.grant_no,
            now_ms,
        )
        if created_ms is None:
            return False
        await record(
            conn,
            why,
            now_ms,
            patient_id=family.patient_id,
            client_id=family.client_id,
            pairing_id=family.pairing_id,
            ends={"grant_no": family.grant_no, "created_ms": created_ms},
        )
        return True


async def expire_family(pool: asyncpg.Pool, family: Family, now_ms: int) -> None:
    """End a grant whose refresh token has expired, with its access tokens, unless it was used meanwhile."""
    await pool.execute(
        """
        UPDATE token_grant SET revoked_ms = $3
        WHERE patient_id = $1 AND grant_no = $2 AND revoked_ms IS NULL AND refresh_expires_ms <= $3
        """,
        family.patient_id,
        family.grant_no,
        now_ms,
    )


async def sweep(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete codes a day after they expired, and refresh token families by the end of the day after that.

    Until then a replay is recognised (AS-027).
    """
    before_ms = now_ms - MEMORY_MS
    await delete_due(pool, "authorization_code", "expires_ms", before_ms)
    await delete_due(pool, "token_grant", "expires_day", before_ms // DAY_MS)
