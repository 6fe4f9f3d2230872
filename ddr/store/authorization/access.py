"""The database's part in the access decision: one statement that looks the pairing up and claims the Grace-Period."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from ddr.fhir.versions import Restore
from ddr.scopes.decision import Standing
from ddr.store.audit.trail import NOBODY, Event, NewEntry
from ddr.store.authorization import grace
from ddr.store.authorization.openings import Opened, of_json
from ddr.store.authorization.restore import RESTORES
from ddr.store.authorization.standings import held
from ddr.store.authorization.tokens import find_pairing
from ddr.store.database.each_there import Statement, each_there
from ddr.store.database.functions_there import STOP
from ddr.store.database.kept import WITHOUT_WAIT
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import is_spread
from ddr.store.database.stamps import present


@dataclass(frozen=True)
class Permit:
    """A MIV that token and registry permit; `grace_ms` is set when the request counts towards its Grace-Period.

    `asked`: the request asks for this MIV; a request that names no kinds of data asks for all.
    """

    valueset: str
    grace_ms: int | None
    asked: bool = True


@dataclass(frozen=True)
class Request:
    """Who asks, for what; `detail` goes into the audit trail."""

    pairing_id: str
    grant_no: int
    client_id: str
    permits: Sequence[Permit]
    detail: Mapping[str, Any]
    now_ms: int
    steered_ms: int | None = None  # as for ddr.store.database.stamps.lock_patient
    own_session: bool = True  # whether the database session is this worker's alone; not so behind a pooler

    @property
    def counted(self) -> list[Permit]:
        """The permits that have a Grace-Period, towards which the request counts."""
        return [permit for permit in self.permits if permit.grace_ms is not None]


@dataclass(frozen=True)
class Admission:
    """What the database says. `standing` is None when no pairing fits. `answered` has the times of the last answers
    before this request, `claimed` the MIVs whose Grace-Period began anew with it. `entry` is for the audit trail,
    `restores` for ddr.fhir.versions."""

    standing: Standing | None
    pairing_no: int
    answered: Mapping[str, int]
    claimed: tuple[str, ...]
    entry: NewEntry
    openings: Mapping[str, Opened] = field(default_factory=dict)
    restores: tuple[Restore, ...] = ()


def pair(pairing_id: str, grant_no: str, client_id: str, now_ms: str) -> str:
    """SQL: all that decides about the request with these values, from `standing`; no row if anything has ended."""
    return f"""
  SELECT s.patient_id, s.pairing_no, s.client_id, false AS ended, s.held AS consents, s.openings,
         coalesce(k.answered, '{{}}') AS answered, k.read_ms
    FROM {held(pairing_id, grant_no, client_id, now_ms)} s
    LEFT JOIN grace k ON k.patient_id = s.patient_id AND k.pairing_no = s.pairing_no"""


def _pair_of_tables(pairing_id: str, grant_no: str, client_id: str, now_ms: str, directory: str) -> str:
    """The same, read from the tables that `standing` is gathered from.

    `directory` has the patient and the number of the pairing with that Pairing ID. A grant has the consents under which
    it was issued and no others: what has ended stays ended, whatever was consented to later.
    """
    return f"""
  SELECT p.patient_id, p.pairing_no, p.client_id, p.ended_ms IS NOT NULL OR g.revoked_ms IS NOT NULL AS ended,
         CASE WHEN p.ended_ms IS NULL AND g.revoked_ms IS NULL AND p.client_id = {client_id} THEN coalesce((
           SELECT jsonb_object_agg(c.miv_url, c.until_ms)
             FROM consent c WHERE c.patient_id = p.patient_id AND c.consent_no = ANY (g.consent_nos)
              AND c.withdrawn_ms IS NULL AND c.until_ms > {now_ms}), '{{}}') ELSE '{{}}' END AS consents,
         coalesce((
           SELECT jsonb_object_agg(kind, jsonb_build_array(opened_ms, historic_days, older_ms, older_opened_ms,
                                                           delay_ms))
             FROM opening o WHERE o.patient_id = p.patient_id AND o.pairing_no = p.pairing_no), '{{}}') AS openings,
         coalesce(k.answered, '{{}}') AS answered, k.read_ms
    FROM {directory} d
    JOIN pairing p ON p.patient_id = d.patient_id AND p.pairing_no = d.pairing_no
    JOIN token_grant g ON g.patient_id = p.patient_id AND g.pairing_no = p.pairing_no AND g.grant_no = {grant_no}
    LEFT JOIN grace k ON k.patient_id = p.patient_id AND k.pairing_no = p.pairing_no
   WHERE d.pairing_id = {pairing_id}"""


# `present` advances the patient's clock (ddr.store.database.stamps), unless somebody is writing just now, who does so
# anyway.
def _basis(pair: str) -> str:
    return f"""
WITH pair AS MATERIALIZED ({pair}
), present AS (
  UPDATE patient SET stamp_ms = greatest(stamp_ms, {present("$6")})
   WHERE patient_id IN (SELECT patient_id FROM patient
                         WHERE patient_id = (SELECT patient_id FROM pair WHERE consents ?| $5)
                           AND stamp_ms < {present("$6")} FOR NO KEY UPDATE SKIP LOCKED)
)"""


def _visited(unless: str) -> str:
    """Notes that the pairing reads, for requests that claim nothing; not for each of them."""
    return f""", visited AS (
  INSERT INTO grace AS g (patient_id, pairing_no, answered, read_ms)
  SELECT patient_id, pairing_no, '{{}}', $4::bigint FROM pair
   WHERE consents ?| $5 AND {unless} AND {grace.unnoted("$4")}
  ON CONFLICT (patient_id, pairing_no) DO UPDATE SET read_ms = excluded.read_ms
)"""


# A claim is all or nothing. The pairing's row is locked, and the condition is judged on its newest version, so exactly
# one of several concurrent requests is answered.
_CLAIMED = f""", touched AS (
  SELECT t.miv_url, t.grace_ms FROM pair, unnest($7::text[], $8::bigint[]) AS t(miv_url, grace_ms)
   WHERE consents ? t.miv_url
), claimed AS (
  INSERT INTO grace AS g (patient_id, pairing_no, answered, pending, read_ms)
  SELECT patient_id, pairing_no, (SELECT jsonb_object_agg(miv_url, $4::bigint) FROM touched),
         (SELECT jsonb_object_agg(miv_url, {grace.mark("$9::boolean", "$10::bigint")}) FROM touched), $4::bigint
    FROM pair WHERE EXISTS (SELECT FROM touched)
  ON CONFLICT (patient_id, pairing_no) DO UPDATE
     SET answered = g.answered || excluded.answered, pending = g.pending || excluded.pending, read_ms = excluded.read_ms
   WHERE NOT EXISTS (
     SELECT FROM touched t WHERE (g.answered ->> t.miv_url)::bigint > $4 - t.grace_ms
        AND (g.pending ->> t.miv_url IS NULL OR NOT {grace.void("(g.pending ->> t.miv_url)")}))
  RETURNING true
){_visited(unless="NOT EXISTS (SELECT FROM touched)")}, begun AS (
  -- in the future: the clock was set back, and nobody shall wait for it and for the period after it
  UPDATE grace g
     SET answered = g.answered || (SELECT jsonb_object_agg(miv_url, $4::bigint) FROM touched
                                    WHERE (g.answered ->> miv_url)::bigint > $4)
    FROM pair p
   WHERE g.patient_id = p.patient_id AND g.pairing_no = p.pairing_no
     AND EXISTS (SELECT FROM touched) AND NOT EXISTS (SELECT FROM claimed)
     AND EXISTS (SELECT FROM touched t WHERE (g.answered ->> t.miv_url)::bigint > $4)
)"""


def _told(claimed: str) -> Mapping[str, str]:
    """What is reported of a pair: SQL by name."""
    columns = ("client_id", "ended", "consents", "answered", "openings")
    return {**{name: name for name in columns}, "claimed": claimed, "restores": RESTORES}


# This does not wait for the disk: the entry of the audit trail comes after it, and that must be durable.
def _found(claimed: str) -> str:
    return f"""
SELECT patient_id, pairing_no, {", ".join(f"{sql} AS {name}" for name, sql in _told(claimed).items())},
       {WITHOUT_WAIT}
  FROM pair"""


# The same where patients are spread. The audit trail is on another server, so this waits for its own disk. When the
# request is refused, no further statement is run.
def _found_there(claimed: str, goes: str) -> str:
    return f"""
SELECT ARRAY[jsonb_build_object({", ".join(f"'{name}', {sql}" for name, sql in _told(claimed).items())})::text,
             CASE WHEN consents ?| $5 AND {goes} THEN 'go' ELSE '{STOP}' END]
  FROM pair"""


_ASKED = ("$1", "$2::bigint", "$3", "$4")
_GATHERED = pair(*_ASKED)
_OF_TABLES = _pair_of_tables(*_ASKED, "pairing_directory")


def _known(patient: str, pairing: str) -> str:
    """The pair of this patient; its directory is on another server."""
    directory = f"(SELECT $1::text AS pairing_id, {patient}::uuid AS patient_id, {pairing}::bigint AS pairing_no)"
    return _pair_of_tables(*_ASKED, directory)


# A write in a statement has a cost even when nothing is written, so only requests that claim pay for claims.
def _looking(pair: str) -> str:
    return _basis(pair) + _visited(unless="true")


def _claiming(pair: str) -> str:
    return _basis(pair) + _CLAIMED


_NO_CLAIM = "'{}'::text[]"
_CLAIM = "coalesce((SELECT array_agg(miv_url) FROM touched WHERE EXISTS (SELECT FROM claimed)), '{}')"
_UNLESS_REFUSED = "(NOT EXISTS (SELECT FROM touched) OR EXISTS (SELECT FROM claimed))"

ADMIT = _looking(_GATHERED) + _found(_NO_CLAIM)
ADMIT_AND_CLAIM = _claiming(_GATHERED) + _found(_CLAIM)
_ADMIT_OF_TABLES = _looking(_OF_TABLES) + _found(_NO_CLAIM)
_ADMIT_AND_CLAIM_OF_TABLES = _claiming(_OF_TABLES) + _found(_CLAIM)
_ADMIT_THERE = _looking(_known("$7", "$8")) + _found_there(_NO_CLAIM, "true")
_ADMIT_AND_CLAIM_THERE = _claiming(_known("$11", "$12")) + _found_there(_CLAIM, _UNLESS_REFUSED)


@dataclass(eq=False)
class Ahead:
    """A statement to run after the admission, in the same call, unless that refuses; `rows` if it found any."""

    statement: Statement
    rows: list[Mapping[str, Any]] | None = None


async def admit(conn: Connection, request: Request, ahead: Ahead | None = None) -> Admission:
    """Look up the pairing that the token names, and claim the Grace-Period where it is due.

    Where patients are spread, `ahead`, which must be of the same patient, is run in the same call after it; elsewhere
    it is not run.

    Nothing may be answered before the entry is durable. What this statement writes is durable with it, because the
    database writes its log to disk in order; so this needs no wait of its own.
    """
    spread = is_spread(conn)
    arguments: list[Any] = [
        request.pairing_id,
        request.grant_no,
        request.client_id,
        request.now_ms,
        [permit.valueset for permit in request.permits],
        request.steered_ms,
    ]
    if counted := request.counted:
        arguments += [[permit.valueset for permit in counted], [permit.grace_ms for permit in counted]]
        arguments += [request.own_session and not spread, grace.CLAIM_MS]
    if spread:
        return await _admit_there(conn, request, arguments, ahead)
    row = await conn.fetchrow(ADMIT_AND_CLAIM if counted else ADMIT, *arguments)
    if row is None:
        row = await conn.fetchrow(_ADMIT_AND_CLAIM_OF_TABLES if counted else _ADMIT_OF_TABLES, *arguments)
    return admission_of(request, row)


async def _admit_there(conn: Connection, request: Request, arguments: list[Any], ahead: Ahead | None) -> Admission:
    """The same on the server with the patient's rows, once the patient of the Pairing ID is known.

    That server does not see the recorder's sessions. As behind a pooler, only a claim's end says how long it holds when
    nothing more is heard of it.
    """
    if (pairing := await find_pairing(conn, request.pairing_id)) is None:
        return admission_of(request, None)
    whose, text = pairing.patient_id, _ADMIT_AND_CLAIM_THERE if request.counted else _ADMIT_THERE
    statement = Statement(text, (*arguments, whose, pairing.pairing_no), packed=True)
    rows, *more = await each_there(conn, whose, [statement] if ahead is None else [statement, ahead.statement])
    if ahead is not None:
        ahead.rows = more[0] or None
    row = orjson.loads(rows[0]["packed"][0]) if rows else None
    named = {"patient_id": whose, "pairing_no": pairing.pairing_no}
    return admission_of(request, row and {**row, **named})


def admission_of(request: Request, row: Mapping[str, Any] | None) -> Admission:
    """The admission that the database's row describes; None: no pairing fits."""
    if row is None:
        return Admission(None, 0, {}, (), _entry(request, NOBODY, (), ()))
    standing = Standing(row["patient_id"], row["client_id"], row["ended"], row["consents"])
    claimed, openings = tuple(row["claimed"]), of_json(row["openings"])
    entry = _entry(request, standing.patient_id, standing.consents, claimed)
    restores = tuple(Restore(*one) for one in row["restores"])
    return Admission(standing, row["pairing_no"], row["answered"], claimed, entry, openings, restores)


def _entry(request: Request, patient_id: UUID, consented: Collection[str], claimed: Collection[str]) -> NewEntry:
    """DATA_READ when some permitted MIV is consented and no Grace-Period runs, else DATA_REFUSED.

    When a search asks only for kinds that are not permitted or not consented to, nothing is read: `valuesets` is empty.
    """
    permitted = [permit for permit in request.permits if permit.valueset in consented]
    counted = [permit.valueset for permit in permitted if permit.grace_ms is not None]
    refusal = "not-permitted" if not permitted else "grace-period" if counted and not claimed else None
    read = [permit.valueset for permit in permitted if permit.asked]
    told = {"reason": refusal} if refusal else {"valuesets": read}
    event = Event.DATA_REFUSED if refusal else Event.DATA_READ
    detail = {**request.detail, **told}
    return NewEntry(patient_id, request.now_ms, str(event), request.client_id, request.pairing_id, detail)
