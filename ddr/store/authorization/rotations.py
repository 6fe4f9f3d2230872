"""The rotation of refresh tokens: one statement finds, judges and carries out what is plainly right (RFC 9700)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from ddr.store.authorization.standings import held
from ddr.store.authorization.tokens import FIND_FAMILY, OF_PATIENT, Family, family_of, find_pairing
from ddr.store.database.each_there import Statement, each_there
from ddr.store.database.kept import WITHOUT_WAIT
from ddr.store.database.pool import Connection
from ddr.store.database.several import array
from ddr.store.database.spreading import is_spread
from ddr.store.database.together import Way, ask


class Rotate(NamedTuple):
    """A refresh as requested: the pairing, its grant, the time of arrival, the token presented and its successor."""

    pairing_id: str
    grant_no: int
    arrived_ms: int
    presented_sha256: bytes
    successor_sha256: bytes
    now_ms: int
    until_ms: int  # the latest end of the successor, which never outlives the last consent (AS-048)
    certificate_sha256: bytes
    client_id: str
    valuesets: Collection[str]  # that the client may read


def _gathered(pairing_id: str, grant_no: str, client_id: str, at_ms: str) -> str:
    """What FIND_FAMILY says of a grant of which nothing has ended, from what was gathered."""
    return f"""
SELECT g.patient_id, g.grant_no, p.pairing_id, p.client_id, g.scope, false AS ended,
       g.refresh_sha256, g.previous_sha256, g.rotated_ms, g.refresh_expires_ms, g.certificate_sha256,
       p.held AS consents, (SELECT max(value::bigint) FROM jsonb_each(p.held)) AS until_ms
  FROM {held(pairing_id, grant_no, client_id, at_ms)} p
  JOIN token_grant g ON g.patient_id = p.patient_id AND g.grant_no = {grant_no}
 WHERE true"""  # noqa: S608 - words of ours


def _is_usable(arrived_ms: str, presented: str, consents: str, valuesets: str) -> str:
    """SQL: whether grant `g` is rotated: it has not ended, and the token is the current one."""
    return f"""
   AND g.revoked_ms IS NULL AND g.refresh_expires_ms > {arrived_ms} AND g.refresh_sha256 = {presented}
   AND {consents} ?| {valuesets}"""


_ROTATED = (
    "refresh_sha256 = {}, previous_sha256 = {}, rotated_ms = {}, refresh_expires_ms = {}, certificate_sha256 = {}"
)


# `f` is as it was when the statement began; `t` is the row itself, with what another request has changed meanwhile.
def _rotate(family: str, consents: str, patient: str, told: str = "") -> str:
    return f"""
UPDATE token_grant t SET {_ROTATED.format("$5", "$4", "$6", "least($7, f.until_ms)", "$8")}
  FROM ({family}{_is_usable("$3", "$4", consents, "$10")}) f
 WHERE t.patient_id = {patient} AND t.grant_no = $2 AND t.revoked_ms IS NULL AND t.refresh_sha256 = $4
RETURNING f.*{told}"""  # noqa: S608 - words of ours


# The answer waits for its record, which is stored after the rotation and only where that is still there
# (ddr.http.exchange.needs_record); on another server this waits for its own disk.
_SOON = f", {WITHOUT_WAIT}"

_ALIVE = " AND p.ended_ms IS NULL AND p.client_id = $9"
_ROTATE = _rotate(_gathered("$1", "$2::bigint", "$9", "$3"), "p.held", "f.patient_id", _SOON)
_ROTATE_OF_TABLES = _rotate(FIND_FAMILY + _ALIVE, "s.consents", "f.patient_id", _SOON)
_ROTATE_THERE = _rotate(f"{OF_PATIENT}{_ALIVE} AND p.pairing_id = $11", "s.consents", "$1")

# The statement waits for no row, so it needs no order of locks.
_ROTATE_ALL = f"""
WITH asked AS MATERIALIZED (
  SELECT ord, pairing_id, grant_no, arrived_ms, presented, successor, now_ms, until_ms, certificate, client_id,
         valuesets::text[] AS valuesets
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bigint[],
                $8::bytea[], $9::text[], $10::text[]) WITH ORDINALITY
         AS t(pairing_id, grant_no, arrived_ms, presented, successor, now_ms, until_ms, certificate, client_id,
              valuesets, ord)
), held AS MATERIALIZED (
  SELECT a.ord, a.successor, a.presented, a.now_ms, least(a.until_ms, f.until_ms) AS ends_ms, a.certificate, f.*
    FROM asked a CROSS JOIN LATERAL (
      {_gathered("a.pairing_id", "a.grant_no", "a.client_id", "a.arrived_ms")}
      {_is_usable("a.arrived_ms", "a.presented", "p.held", "a.valuesets")}
        FOR NO KEY UPDATE OF g SKIP LOCKED) f
)
UPDATE token_grant t SET {_ROTATED.format("h.successor", "h.presented", "h.now_ms", "h.ends_ms", "h.certificate")}
  FROM held h WHERE t.patient_id = h.patient_id AND t.grant_no = h.grant_no
RETURNING h.*, (SELECT {WITHOUT_WAIT})"""  # noqa: S608 - words of ours


async def rotate(conn: Connection, asked: Rotate) -> Family | None:
    """Retire the presented refresh token and make its successor current. Returns the family as it was before.

    Returns None and changes nothing when the token is not current (any more), or the client's grant is not in force.
    Does not wait for the disk: the answer must wait until its record is stored in this database, after this.
    """
    return await ask(conn, _ROTATING, asked)


async def _rotate_one(conn: Connection, asked: Rotate) -> Family | None:
    rows: Sequence[Mapping[str, Any]]
    if is_spread(conn):
        pairing = await find_pairing(conn, asked.pairing_id)
        if pairing is None:
            return None
        arguments = pairing.patient_id, *asked[1:], asked.pairing_id
        (rows,) = await each_there(conn, pairing.patient_id, [Statement(_ROTATE_THERE, arguments)])
    else:
        rows = await conn.fetch(_ROTATE, *asked) or await conn.fetch(_ROTATE_OF_TABLES, *asked)
    return family_of(rows[0]) if rows else None


async def rotate_all(conn: Connection, asked: Sequence[Rotate]) -> list[Family | None]:
    """The families that were rotated; None: not usable, or locked just now, so each of these is judged by itself."""
    *columns, valuesets = zip(*asked, strict=True)
    rows = await conn.fetch(_ROTATE_ALL, *columns, list(map(array, valuesets)))
    made = {row["ord"]: family_of(row) for row in rows}
    return [made.get(ord) for ord in range(1, len(asked) + 1)]


async def let_repeat(conn: Connection, patient_id: UUID, grant_no: int, successor_sha256: bytes) -> bool:
    """The answer with this refresh token did not reach the client. So the previous token gets it again for as long as
    this one is current, instead of the few seconds of a repetition. False when this one is not the current one."""
    status: str = await conn.execute(
        "UPDATE token_grant SET rotated_ms = refresh_expires_ms"
        " WHERE patient_id = $1 AND grant_no = $2 AND refresh_sha256 = $3 AND revoked_ms IS NULL",
        patient_id,
        grant_no,
        successor_sha256,
    )
    return status == "UPDATE 1"


_ROTATING = Way(_ROTATE, _rotate_one, rotate_all, key=lambda asked: (asked.pairing_id, asked.grant_no))
