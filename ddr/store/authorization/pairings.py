"""Pairings of patients with DiGA: the patient's decision, consents, and the end of a pairing (HDDT pairing.md).

Each change is one transaction together with its audit event.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg

from ddr.base64url import encoded
from ddr.scopes.parse import Scopes, parse
from ddr.store.audit.acting import check_right
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import par
from ddr.store.authorization.consents import BY_PATIENT, Shortened, Shown, any_in_force, close, give
from ddr.store.authorization.openings import announce
from ddr.store.authorization.par import PushedRequest
from ddr.store.authorization.tokens import LONGEST_CODE_MS
from ddr.store.authorization.unpairing import Party, end, end_if_over, withdrawn
from ddr.store.database.able import stays_able
from ddr.store.database.digest import sha256
from ddr.store.database.pool import Connection


@dataclass(frozen=True)
class Terms:
    """Until when a decision holds: the code for seconds, the consent for a year at most."""

    code_until_ms: int
    consent_until_ms: int


@dataclass(frozen=True)
class Approval:
    """The result of a decision: the code for the DiGA's redirect."""

    request: PushedRequest
    pairing_id: str
    code: str


def pairing_id(secret: bytes, patient_id: UUID, client_id: str, salt: bytes) -> str:
    """The pseudonym of a patient towards a DiGA, 64 hex characters; the salt makes it new after unpairing (CON-018)."""
    return hmac.new(secret, b"\x00".join((client_id.encode(), patient_id.bytes, salt)), hashlib.sha256).hexdigest()


async def decide(
    pool: asyncpg.Pool,
    secret: bytes,
    request_uri: str,
    patient_id: UUID,
    valuesets: Collection[str],
    terms: Terms,
    now_ms: int,
    shown: Shown | None = None,
) -> Approval | None:
    """Carry out the patient's consent to the MIVs `valuesets` of a pushed request.

    In one transaction, before the browser is sent back (CON-003), this consumes the request, finds or creates the
    pairing, records the consents, and creates grant and code. None when the request is unknown, expired or already
    decided, or when the patient has just deleted everything or the account was disabled. Raises RightOver.
    """
    async with pool.acquire() as conn, conn.transaction():
        if not await stays_able(conn, patient_id):
            return None
        await check_right(conn, patient_id, now_ms)
        request = await par.consume(conn, request_uri, patient_id, now_ms)
        if request is None:
            return None
        scopes = parse(request.scope).within(valuesets)
        await end_if_over(conn, patient_id, request.client_id, now_ms)
        pairing = await _join(conn, secret, patient_id, request.client_id, now_ms)
        pairing_no = pairing["pairing_no"]
        await announce(conn, patient_id, pairing_no, request.client_id, scopes, now_ms)
        given = await give(conn, patient_id, pairing_no, scopes.valuesets, terms.consent_until_ms, shown, now_ms)
        grant_no = await _grant(conn, patient_id, pairing_no, scopes, given.numbers, now_ms)
        code = code_of(secret, request_uri, patient_id)
        await _keep_code(conn, code, patient_id, grant_no, request, terms)
        await record(
            conn,
            Event.PAIRING_GRANTED,
            now_ms,
            patient_id=patient_id,
            client_id=request.client_id,
            pairing_id=pairing["pairing_id"],
            detail=_proof(scopes, terms, shown),
            ends=_shortened(given.shortened),
        )
        return Approval(request, pairing["pairing_id"], code)


async def deny(pool: asyncpg.Pool, request_uri: str, patient_id: UUID, now_ms: int) -> PushedRequest | None:
    """Carry out the patient's refusal: the request is consumed, nothing is issued. None and errors as for `decide`."""
    async with pool.acquire() as conn, conn.transaction():
        await check_right(conn, patient_id, now_ms)
        request = await par.consume(conn, request_uri, patient_id, now_ms)
        if request is not None:
            await record(conn, Event.PAIRING_DENIED, now_ms, patient_id=patient_id, client_id=request.client_id)
        return request


async def take_back(pool: asyncpg.Pool, code: str, patient_id: UUID, now_ms: int) -> bool:
    """Let a refusal override an earlier consent as long as the DiGA has not redeemed the code; False when it has.

    Code, grant and the consents given with them end; earlier consents stay, with the end that was chosen. Raises
    RightOver.
    """
    async with pool.acquire() as conn, conn.transaction():
        await check_right(conn, patient_id, now_ms)
        # One statement after the other, as in `issued`: where patients are spread, codes and grants are on different
        # servers.
        grant_no = await conn.fetchval(
            "SELECT grant_no FROM authorization_code WHERE code_sha256 = $1 AND patient_id = $2",
            sha256(code),
            patient_id,
        )
        grant = await conn.fetchrow(
            """
            SELECT g.grant_no, g.consent_nos, p.pairing_no, p.pairing_id, p.client_id
              FROM token_grant g JOIN pairing p ON p.patient_id = $1 AND p.pairing_no = g.pairing_no
             WHERE g.patient_id = $1 AND g.grant_no = $2 FOR UPDATE OF p
            """,
            patient_id,
            grant_no,
        )
        gone = "DELETE FROM authorization_code WHERE code_sha256 = $1 AND redeemed_ms IS NULL"
        if grant is None or await conn.execute(gone, sha256(code)) != "DELETE 1":
            return False
        pairing_no, reason = grant["pairing_no"], withdrawn()
        await conn.execute(
            "UPDATE token_grant SET revoked_ms = $3 WHERE patient_id = $1 AND grant_no = $2 AND revoked_ms IS NULL",
            patient_id,
            grant["grant_no"],
            now_ms,
        )
        numbers = grant["consent_nos"]
        await close(conn, patient_id, pairing_no, BY_PATIENT, reason, now_ms, consent_nos=numbers)
        named = {name: grant[name] for name in ("client_id", "pairing_id")}
        await record(conn, Event.PAIRING_DENIED, now_ms, patient_id=patient_id, **named)
        if not await any_in_force(conn, patient_id, pairing_no, now_ms):
            await end(conn, patient_id, pairing_no, Party.PATIENT, reason, now_ms)
        return True


async def _join(
    conn: asyncpg.Connection, secret: bytes, patient_id: UUID, client_id: str, now_ms: int
) -> asyncpg.Record:
    """The living pairing with this DiGA, created if there is none, and locked until the end of the transaction."""
    salt = secrets.token_bytes(16)
    pseudonym = pairing_id(secret, patient_id, client_id, salt)
    pairing = await conn.fetchrow(
        """
        INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (patient_id, client_id) WHERE ended_ms IS NULL DO UPDATE SET client_id = EXCLUDED.client_id
        RETURNING pairing_no, pairing_id
        """,
        patient_id,
        pseudonym,
        client_id,
        salt,
        now_ms,
    )
    if pairing["pairing_id"] == pseudonym:
        await conn.execute(
            "INSERT INTO pairing_directory (pairing_id, patient_id, pairing_no) VALUES ($1, $2, $3)",
            pseudonym,
            patient_id,
            pairing["pairing_no"],
        )
    return pairing


def _proof(scopes: Scopes, terms: Terms, shown: Shown | None) -> dict[str, Any]:
    """What the trail keeps of a consent: its kinds of data, its end, and the text that was shown."""
    return {"scope": scopes.text, "until_ms": terms.consent_until_ms, **(shown.detail if shown else {})}


def _shortened(shortened: Shortened) -> dict[str, Any] | None:
    """What a restored database needs to find the consents that had been given an earlier end."""
    return {"shortened": shortened.kinds, "granted_ms": shortened.granted_ms} if shortened.kinds else None


async def _grant(
    conn: asyncpg.Connection, patient_id: UUID, pairing_no: int, scopes: Scopes, given: list[int], now_ms: int
) -> int:
    """A grant under these consents and no others."""
    grant_no: int = await conn.fetchval(
        """
        INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, consent_nos) VALUES ($1, $2, $3, $4, $5)
        RETURNING grant_no
        """,
        patient_id,
        pairing_no,
        scopes.text,
        now_ms,
        given,
    )
    return grant_no


def code_of(secret: bytes, request_uri: str, patient_id: UUID) -> str:
    """The code for a patient's consent to a pushed request: 256 bits that nobody can guess without the secret.

    It can be computed again, so that a form sent twice gets the same answer twice, although only its hash is stored.
    """
    code = hmac.digest(secret, b"\x00".join((b"code", request_uri.encode(), patient_id.bytes)), "sha256")
    return encoded(code)


@dataclass(frozen=True)
class Issued:
    """An issued code: whether it can still be redeemed, and for which scopes."""

    redeemable: bool
    scopes: Scopes


async def issued(pool: asyncpg.Pool, code: str, patient_id: UUID, now_ms: int) -> Issued | None:
    """What is known of a code of this patient; None for an unknown one."""
    row = await pool.fetchrow(
        f"""
        SELECT grant_no, redeemed_ms IS NULL AND expires_ms > $3 AND expires_ms <= $3::bigint + {LONGEST_CODE_MS}
                         AS redeemable
          FROM authorization_code WHERE code_sha256 = $1 AND patient_id = $2
        """,  # noqa: S608 - a number of ours
        sha256(code),
        patient_id,
        now_ms,
    )
    scope = row and await pool.fetchval(
        "SELECT scope FROM token_grant WHERE patient_id = $1 AND grant_no = $2", patient_id, row["grant_no"]
    )
    return None if row is None or scope is None else Issued(row["redeemable"], parse(scope))


async def _keep_code(
    conn: asyncpg.Connection, code: str, patient_id: UUID, grant_no: int, request: PushedRequest, terms: Terms
) -> None:
    await conn.execute(
        """
        INSERT INTO authorization_code
            (code_sha256, patient_id, grant_no, client_id, redirect_uri, code_challenge, expires_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        sha256(code),
        patient_id,
        grant_no,
        request.client_id,
        request.redirect_uri,
        request.code_challenge,
        terms.code_until_ms,
    )


@dataclass(frozen=True)
class Consent:
    """A consent in force: one kind of data, from when, until when."""

    valueset: str
    granted_ms: int
    until_ms: int


@dataclass(frozen=True)
class Pairing:
    """A living pairing as the patient sees it."""

    pairing_no: int
    pairing_id: str
    client_id: str
    created_ms: int
    consents: tuple[Consent, ...]


async def alive(conn: Connection, patient_id: UUID, now_ms: int) -> list[Pairing]:
    """The patient's pairings that have a consent in force, oldest first; for each kind of data, the last consent."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT ON (pairing_no, miv_url)
               pairing_no, pairing_id, client_id, created_ms, miv_url, granted_ms, until_ms
        FROM pairing p JOIN consent c USING (pairing_no)
        WHERE p.patient_id = $1 AND c.patient_id = $1 AND ended_ms IS NULL AND withdrawn_ms IS NULL AND until_ms > $2
        ORDER BY pairing_no, miv_url, consent_no DESC
        """,
        patient_id,
        now_ms,
    )
    return [_pairing(list(group)) for _, group in groupby(rows, itemgetter("pairing_no"))]


def _pairing(rows: list[asyncpg.Record]) -> Pairing:
    consents = tuple(Consent(row["miv_url"], row["granted_ms"], row["until_ms"]) for row in rows)
    return Pairing(
        **{name: rows[0][name] for name in ("pairing_no", "pairing_id", "client_id", "created_ms")}, consents=consents
    )
