"""Consents as rows that begin once and end once, and the proof of them (GDPR Article 7(1); HDDT pairing.md, Consent).

Agreeing again to what is already agreed to begins another row: tokens stay bound to the rows under which they were
issued.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ddr.store.audit.acting import By, acted
from ddr.store.database.digest import sha256
from ddr.store.database.spreading import is_spread

BY_PATIENT = "patient"  # which includes a representative

# Whether a consent `c` of patient $1 and pairing $2 to a kind in `{kinds}` existed together with those given at
# `{granted}`. Numbers decide, whatever the clock said: consents given later have higher ones. If none of those is
# found, `{upto_ms}` decides.
THERE_BY = """coalesce(
    c.consent_no <= (SELECT max(o.consent_no) FROM consent o
                      WHERE o.patient_id = $1 AND o.pairing_no = $2 AND o.miv_url = ANY ({kinds})
                        AND o.granted_ms = ANY ({granted}::bigint[])),
    c.granted_ms <= {upto_ms})"""


@dataclass(frozen=True)
class Shown:
    """The text to which a patient agreed, verbatim, without personal data. `version` is that of the wording."""

    language: str  # de or en
    version: str
    content: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text, by which the proof refers to it."""
        return sha256(self.content)

    @property
    def detail(self) -> dict[str, str]:
        """What the audit trail keeps of it."""
        return {"language": self.language, "version": self.version, "text": self.digest.hex()}


class Shortened(NamedTuple):
    """Which consents were given an earlier end: the kinds of data, and when the consents to them had been given."""

    kinds: list[str]
    granted_ms: list[int]


class Given(NamedTuple):
    """The result of agreeing: the numbers of the new consents, and the former ones that now end earlier."""

    numbers: list[int]
    shortened: Shortened


async def give(
    conn: asyncpg.Connection,
    patient_id: UUID,
    pairing_no: int,
    valuesets: Collection[str],
    until_ms: int,
    shown: Shown | None,
    now_ms: int,
) -> Given:
    """Within a transaction that holds the pairing's row: record the consents given now.

    Earlier ones stay (CON-019), but none outlasts what the patient chooses now. The proof says in which role they are
    given (ddr.store.audit.acting).
    """
    by = role, representation_id = acted()
    if shown is not None:
        await keep_text(conn, shown, now_ms)
    shortened = await shorten(conn, patient_id, pairing_no, valuesets, until_ms, now_ms, by)
    rows = await conn.fetch(
        """
        INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms, language, text_sha256, role,
                             representation_id)
        SELECT $1, $2, miv_url, $4, $5, $6, $7, $8, $9 FROM unnest($3::text[]) AS miv_url RETURNING consent_no
        """,
        patient_id,
        pairing_no,
        list(valuesets),
        now_ms,
        until_ms,
        shown and shown.language,
        shown and shown.digest,
        role,
        representation_id,
    )
    numbers = [row["consent_no"] for row in rows]
    await _prove(conn, patient_id, "given", numbers)
    return Given(numbers, shortened)


_SHORTEN = f"""
UPDATE consent c SET until_ms = $4, shortened_ms = $5, role = $6, representation_id = $7
 WHERE patient_id = $1 AND pairing_no = $2 AND miv_url = ANY ($3) AND withdrawn_ms IS NULL AND until_ms > $4
   AND ($8::bigint IS NULL OR {THERE_BY.format(kinds="$3", granted="$9", upto_ms="$8")})
RETURNING miv_url, granted_ms, consent_no"""  # noqa: S608 - words of ours


async def shorten(
    conn: asyncpg.Connection,
    patient_id: UUID,
    pairing_no: int,
    valuesets: Collection[str],
    until_ms: int,
    at_ms: int,
    by: By,
    given_ms: int | None = None,
    granted_ms: Collection[int] = (),
) -> Shortened:
    """Within a transaction: let no consent to these kinds of data outlast `until_ms`, as chosen at `at_ms`. Returns
    those that would have.

    With `given_ms`, consents stay that were given after it, or after those given at `granted_ms` (THERE_BY). `by` is as
    for `acted`.
    """
    rows = await conn.fetch(
        _SHORTEN, patient_id, pairing_no, list(valuesets), until_ms, at_ms, *by, given_ms, list(granted_ms)
    )
    await _prove(conn, patient_id, "shortened", [row["consent_no"] for row in rows])
    return Shortened(*(sorted({row[name] for row in rows}) for name in ("miv_url", "granted_ms")))


async def close(
    conn: asyncpg.Connection,
    patient_id: UUID,
    pairing_no: int,
    by: str,
    reason: str,
    now_ms: int,
    valueset: str | None = None,
    consent_nos: Collection[int] | None = None,
) -> list[int]:
    """Within a transaction: end the consents of a pairing, either all, or those to one kind of data, or those with
    these numbers.

    Returns when they had been given.
    """
    rows = await conn.fetch(
        """
        UPDATE consent SET withdrawn_ms = $3, ended_by = $4, end_reason = $5, role = $7, representation_id = $8
         WHERE patient_id = $1 AND pairing_no = $2 AND withdrawn_ms IS NULL AND ($6::text IS NULL OR miv_url = $6)
           AND ($9::bigint[] IS NULL OR consent_no = ANY ($9))
        RETURNING granted_ms, consent_no
        """,
        patient_id,
        pairing_no,
        now_ms,
        by,
        reason,
        valueset,
        *(acted() if by == BY_PATIENT else (None, None)),
        None if consent_nos is None else list(consent_nos),
    )
    await _prove(conn, patient_id, "ended", [row["consent_no"] for row in rows])
    return sorted({row["granted_ms"] for row in rows})


async def close_expired(
    conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, by: str, reason: str, now_ms: int
) -> list[str]:
    """Within a transaction: end the expired consents. Returns the kinds of data that no consent covers any more."""
    if is_spread(conn):
        rows = await conn.fetch(_CLOSE_EXPIRED, patient_id, pairing_no, now_ms, by, reason)
        await _prove(conn, patient_id, "ended", [row["consent_no"] for row in rows])
        held = await conn.fetch(_IN_FORCE, patient_id, pairing_no, now_ms)
        return sorted({row["miv_url"] for row in rows} - {row["miv_url"] for row in held})
    rows = await conn.fetch(_CLOSE_EXPIRED_AND_TELL, patient_id, pairing_no, now_ms, by, reason)
    return [row["miv_url"] for row in rows]


_CLOSE_EXPIRED = """
UPDATE consent SET withdrawn_ms = $3, ended_by = $4, end_reason = $5, role = NULL, representation_id = NULL
 WHERE patient_id = $1 AND pairing_no = $2 AND withdrawn_ms IS NULL AND until_ms <= $3 RETURNING miv_url, consent_no"""
_IN_FORCE = """
SELECT miv_url FROM consent WHERE patient_id = $1 AND pairing_no = $2 AND withdrawn_ms IS NULL AND until_ms > $3"""
_CLOSE_EXPIRED_AND_TELL = f"""
WITH over AS ({_CLOSE_EXPIRED}) SELECT DISTINCT miv_url FROM over EXCEPT {_IN_FORCE}"""  # noqa: S608

# This is what triggers write where patients are not spread (migration 0090, function consent_recorded).
_PROVE = """
INSERT INTO consent_record (patient_id, at_ms, act, consent_no, pairing_id, client_id, miv_url, until_ms, language,
                            text_sha256, ended_by, reason, role, representation_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"""
_TO_PROVE = """
SELECT CASE $2 WHEN 'given' THEN c.granted_ms WHEN 'ended' THEN c.withdrawn_ms
               ELSE coalesce(c.shortened_ms, c.granted_ms) END AS at_ms,
       $2::text AS act, c.consent_no, p.pairing_id, p.client_id, c.miv_url, c.until_ms, c.language, c.text_sha256,
       c.ended_by, c.end_reason, c.role, c.representation_id
  FROM consent c LEFT JOIN pairing p ON p.patient_id = $1 AND p.pairing_no = c.pairing_no
 WHERE c.patient_id = $1 AND c.consent_no = ANY ($3::bigint[]) ORDER BY c.consent_no"""


async def _prove(conn: asyncpg.Connection, patient_id: UUID, act: str, consent_nos: Collection[int]) -> None:
    """Within a transaction: write the proof of what was just done, where the database cannot do so by itself."""
    if consent_nos and is_spread(conn):
        for row in await conn.fetch(_TO_PROVE, patient_id, act, list(consent_nos)):
            await conn.execute(_PROVE, patient_id, *row)


async def any_in_force(conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, now_ms: int) -> bool:
    """Whether any consent is in force."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM consent WHERE patient_id = $1 AND pairing_no = $2"
        " AND withdrawn_ms IS NULL AND until_ms > $3)",
        patient_id,
        pairing_no,
        now_ms,
    )
    return found


async def keep_text(conn: asyncpg.Connection, shown: Shown, now_ms: int) -> None:
    """Keep a text for the proofs that name it.

    Nearly always it is there already. It is looked for first because, where patients are spread, it is on all servers:
    a write waits for all other writers, and fails while one of the servers is away.
    """
    if await conn.fetchval("SELECT true FROM consent_text WHERE text_sha256 = $1", shown.digest):
        return
    await conn.execute(
        "INSERT INTO consent_text (text_sha256, language, version, content, created_ms) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT DO NOTHING",
        shown.digest,
        shown.language,
        shown.version,
        shown.content,
        now_ms,
    )
