"""Gateway apps as seen by patients and operators: connected by a code, renewed, disconnected; each act is recorded.

A patient gets a pairing code in the browser and types it into the app, which exchanges it for its first token. So the
app never sees how the patient logs in, and the recorder needs nothing from the app's maker.
"""

from __future__ import annotations

import secrets
from functools import partial
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS, MINUTE_MS
from ddr.store.audit.acting import acted, check_right, detail_of
from ddr.store.audit.trail import Event, record
from ddr.store.database.able import stays_able
from ddr.store.database.clock import SKEW_MS
from ddr.store.database.digest import sha256
from ddr.store.database.faults import FAULTS
from ddr.store.database.rights import Moment
from ddr.store.database.settling import was_committed
from ddr.store.database.sweeping import delete_due
from ddr.store.gateways import tokens
from ddr.store.gateways.tokens import Renewed

CODE_MS = 10 * MINUTE_MS
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no letter that looks like a digit
LENGTH = 10  # 50 random bits: a million guesses within CODE_MS hit one of a thousand codes once in a million times
_ALIKE = str.maketrans("OIL", "011", "- \t")


def normal_code(text: str) -> str:
    """A typed code in the form in which it is stored."""
    return text.upper().translate(_ALIKE)


async def offer_code(pool: asyncpg.Pool, patient_id: UUID, now_ms: int) -> str:
    """A pairing code for this patient, good for CODE_MS and one app; it replaces the one before.

    It cannot be used when the account is disabled or gone by now. Raises RightOver.
    """
    role, representation_id = acted()
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    async with pool.acquire() as conn, conn.transaction():
        if await stays_able(conn, patient_id):
            await check_right(conn, patient_id, now_ms)
            await conn.execute(
                """
                INSERT INTO gateway_code (patient_id, code_sha256, expires_ms, role, representation_id)
                VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (patient_id) DO UPDATE
                   SET code_sha256 = excluded.code_sha256, expires_ms = excluded.expires_ms, role = excluded.role,
                       representation_id = excluded.representation_id
                """,
                patient_id,
                sha256(code),
                now_ms + CODE_MS,
                role,
                representation_id,
            )
    return f"{code[:5]}-{code[5:]}"


# A code that lasts longer than any is given was issued by a clock that was set back.
_LOOK = f"""
SELECT patient_id, role, representation_id FROM gateway_code
 WHERE code_sha256 = $1 AND expires_ms > $2 AND expires_ms <= $2::bigint + {CODE_MS + SKEW_MS}"""  # noqa: S608
_TAKE = "DELETE FROM gateway_code WHERE patient_id = $1 AND code_sha256 = $2"


async def connect(pool: asyncpg.Pool, code: str, name: str, days: int, moment: Moment) -> tuple[str, int] | None:
    """The first token of an app and its end, in exchange for a good code; of several callers, one gets it.

    The code of a representative is good as long as the right is in force. Raises TooManyTokens; the code then stays
    good.
    """
    token: str | None = None
    now_ms = moment.now_ms
    try:
        async with pool.acquire() as conn, conn.transaction():
            token = await _exchanged(conn, sha256(normal_code(code)), name, days, moment)
    except FAULTS as error:  # otherwise the code would be used up, and nobody would have the token
        if token is None or not await was_committed(error, partial(_is_there, pool, token, now_ms)):
            raise
    return None if token is None else (token, now_ms + days * DAY_MS)


async def _exchanged(conn: asyncpg.Connection, code_sha256: bytes, name: str, days: int, moment: Moment) -> str | None:
    """Locks account, right and code in the order in which an end locks them: it deletes the code last."""
    found = await conn.fetchrow(_LOOK, code_sha256, moment.now_ms)
    if found is None or not await stays_able(conn, found["patient_id"]):
        return None
    patient_id, right = found["patient_id"], found["representation_id"]
    if right is not None and not await moment.stands(conn, patient_id, right):
        return None
    if await conn.execute(_TAKE, patient_id, code_sha256) != "DELETE 1":
        return None
    by = found["role"], right
    token = await tokens.create(conn, patient_id, moment.now_ms, name=name, days=days, by=by)
    await record(conn, Event.GATEWAY_CONNECTED, moment.now_ms, patient_id=patient_id, detail=detail_of(*by))
    return token


async def _is_there(pool: asyncpg.Pool, token: str, now_ms: int) -> bool:
    return await tokens.find(pool, sha256(token), now_ms) is not None


async def renew(
    pool: asyncpg.Pool, token_sha256: bytes, days: int, overlap_ms: int, now_ms: int, by: Event = Event.GATEWAY_RENEWED
) -> Renewed | None:
    """As `tokens.renew`, recorded."""
    async with pool.acquire() as conn, conn.transaction():
        renewed = await tokens.renew(conn, token_sha256, days, overlap_ms, now_ms)
        if renewed is not None:
            ends = {"former": token_sha256.hex(), "former_ms": renewed.former_ms}
            await record(conn, by, now_ms, patient_id=renewed.patient_id, ends=ends)
        return renewed


async def issue(pool: asyncpg.Pool, patient_id: UUID, name: str, days: int, now_ms: int) -> str:
    """A token that an operator issues. Raises TooManyTokens."""
    async with pool.acquire() as conn, conn.transaction():
        token = await tokens.create(conn, patient_id, now_ms, name=name, days=days)
        await record(conn, Event.GATEWAY_TOKEN_ISSUED, now_ms, patient_id=patient_id)
        return token


async def disconnect(pool: asyncpg.Pool, patient_id: UUID, app: str | None, by: Event, now_ms: int) -> int:
    """End all tokens of the app shown as `app` (None: of all apps), from the next request on; returns how many apps.

    Raises RightOver.
    """
    async with pool.acquire() as conn, conn.transaction():
        await check_right(conn, patient_id, now_ms)
        return await end(conn, patient_id, app, by, now_ms)


async def end(conn: asyncpg.Connection, patient_id: UUID, app: str | None, by: Event, now_ms: int) -> int:
    """Within a transaction: the same, for callers that have already been checked."""
    ended = await tokens.revoke(conn, patient_id, app, now_ms)
    for first in ended:
        await record(conn, by, now_ms, patient_id=patient_id, ends={"app": first.hex()})
    return len(ended)


async def sweep_codes(pool: asyncpg.Pool, now_ms: int) -> None:
    """Delete codes that nobody used."""
    await delete_due(pool, "gateway_code", "expires_ms", now_ms + 1)
