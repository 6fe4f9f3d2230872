"""Admits several requests by one statement, as `access.admit` does one by one (ddr.store.database.together).

The statement waits for no row. It leaves alone what it cannot lock at once and what is rare: what a pairing does for
the first time, a claim that another request may have left behind, a clock that was set back. Such requests are admitted
one by one. So it needs no order of locks, the statements of two workers cannot wait for each other, and no request
waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ddr.store.authorization import grace
from ddr.store.authorization.access import ADMIT, ADMIT_AND_CLAIM, Admission, Request, admission_of, admit, pair
from ddr.store.authorization.restore import RESTORES
from ddr.store.database.kept import WITHOUT_WAIT
from ddr.store.database.pool import Connection
from ddr.store.database.several import array
from ddr.store.database.stamps import present
from ddr.store.database.together import Way, ask


def _basis(columns: str, parameters: str, more: str) -> str:
    """In this SQL, `seen` means that something is permitted and consented to."""
    return f"""
WITH asked AS MATERIALIZED (
  SELECT ord, pairing_id, grant_no, client_id, now_ms, kinds::text[] AS kinds{more}
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[]{parameters})
         WITH ORDINALITY AS t(pairing_id, grant_no, client_id, now_ms, kinds{columns}, ord)
), pair AS MATERIALIZED (
  SELECT a.ord, a.now_ms, a.kinds, p.*, p.consents ?| a.kinds AS seen
         {", a.counted, a.lengths" if more else ""}
    FROM asked a CROSS JOIN LATERAL ({pair("a.pairing_id", "a.grant_no", "a.client_id", "a.now_ms")} OFFSET 0) p
), behind AS MATERIALIZED (
  SELECT patient_id FROM (SELECT DISTINCT patient_id FROM pair WHERE seen) o
   CROSS JOIN LATERAL (SELECT FROM patient p WHERE p.patient_id = o.patient_id AND p.stamp_ms < {present("$6")}
                          FOR NO KEY UPDATE SKIP LOCKED) p
), present AS (
  UPDATE patient p SET stamp_ms = greatest(p.stamp_ms, {present("$6")})
    FROM behind WHERE p.patient_id = behind.patient_id
)"""


def _found(claimed: str, answered: str, alone: str) -> str:
    return f"""
SELECT p.ord, p.patient_id, p.pairing_no, p.client_id, p.ended, p.consents, p.openings, {claimed} AS claimed,
       {answered} AS answered, {alone} AS alone, (SELECT {RESTORES}) AS restores,
       (SELECT {WITHOUT_WAIT})
  FROM pair p"""


_VISITED = f""", held AS MATERIALIZED (
  SELECT patient_id, pairing_no, now_ms
    FROM (SELECT DISTINCT ON (patient_id, pairing_no) patient_id, pairing_no, now_ms FROM pair
           WHERE seen AND {grace.unnoted("now_ms")} ORDER BY patient_id, pairing_no, ord) o
   CROSS JOIN LATERAL (SELECT FROM grace g WHERE g.patient_id = o.patient_id AND g.pairing_no = o.pairing_no
                          FOR NO KEY UPDATE SKIP LOCKED) g
), visited AS (
  UPDATE grace g SET read_ms = h.now_ms FROM held h WHERE g.patient_id = h.patient_id AND g.pairing_no = h.pairing_no
)"""

# `free`: no Grace-Period runs of what is counted and consented to. `doubtful`: one runs whose answer may never have
# been sent, or which began in the future.
_CLAIMED = f""", touched AS MATERIALIZED (
  SELECT ord, patient_id, pairing_no, now_ms, counted, lengths, mine
    FROM (SELECT *, ARRAY(SELECT url FROM unnest(counted) AS url WHERE consents ? url) AS mine
            FROM pair) p
   WHERE mine <> '{{}}'
), judged AS MATERIALIZED (
  SELECT t.ord, t.patient_id, t.pairing_no, t.now_ms, t.mine, g.answered, j.*
    FROM touched t
   CROSS JOIN LATERAL (SELECT answered, pending FROM grace g
                        WHERE g.patient_id = t.patient_id AND g.pairing_no = t.pairing_no
                          FOR NO KEY UPDATE SKIP LOCKED) g
   CROSS JOIN LATERAL (
     SELECT count(*) = 0 AS free, coalesce(bool_or(last_ms > t.now_ms OR g.pending ? url), false) AS doubtful
       FROM (SELECT url, length_ms, (g.answered ->> url)::bigint AS last_ms
               FROM unnest(t.counted, t.lengths) AS c(url, length_ms)) c
      WHERE url = ANY (t.mine) AND last_ms > t.now_ms - length_ms) j
), claimed AS (
  UPDATE grace g
     SET answered = g.answered || (SELECT jsonb_object_agg(url, j.now_ms) FROM unnest(j.mine) AS url),
         pending = g.pending || (SELECT jsonb_object_agg(url, {grace.mark("$9::boolean", "$10::bigint")})
                                   FROM unnest(j.mine) AS url),
         read_ms = j.now_ms
    FROM judged j WHERE j.free AND g.patient_id = j.patient_id AND g.pairing_no = j.pairing_no
  RETURNING j.ord
)"""

_ADMIT_ALL = (
    _basis("", "", "")
    + _VISITED
    + _found(
        claimed="'{}'::text[]",
        answered="p.answered",
        alone=f"p.seen AND {grace.unnoted('p.now_ms')} AND NOT EXISTS (SELECT FROM held h"
        " WHERE h.patient_id = p.patient_id AND h.pairing_no = p.pairing_no)",
    )
)
_ADMIT_ALL_AND_CLAIM = (
    _basis(
        ", counted, lengths", ", $7::text[], $8::text[]", ", counted::text[] AS counted, lengths::bigint[] AS lengths"
    )
    + _CLAIMED
    + _found(
        claimed="CASE WHEN c.ord IS NOT NULL THEN j.mine ELSE '{}' END",
        answered="coalesce(j.answered, p.answered)",
        alone="p.seen AND (j.ord IS NULL OR j.doubtful OR (j.free AND c.ord IS NULL))",
    )
    + " LEFT JOIN judged j ON j.ord = p.ord LEFT JOIN claimed c ON c.ord = p.ord"
)


async def admit_together(
    pool: Connection, request: Request, forsaken: Callable[[Request, Admission], Coroutine[Any, Any, None]]
) -> Admission:
    """As `access.admit`, but together with concurrent requests. `forsaken` is called if the caller is gone by then."""

    async def left(admission: Admission) -> None:
        await forsaken(request, admission)

    return await ask(pool, _CLAIMING if request.counted else _LOOKING, request, left)


async def admit_all(conn: Connection, requests: Sequence[Request], *, claims: bool) -> Sequence[Admission | None]:
    """What `access.admit` would say of each. None means that nothing was claimed and `access.admit` must be asked.

    `claims`: all of them count towards Grace-Periods, each of another pairing; otherwise none of them does.
    """
    arguments: list[Any] = [
        [request.pairing_id for request in requests],
        [request.grant_no for request in requests],
        [request.client_id for request in requests],
        [request.now_ms for request in requests],
        [array(permit.valueset for permit in request.permits) for request in requests],
        max((request.steered_ms for request in requests if request.steered_ms is not None), default=None),
    ]
    if claims:
        counted = [request.counted for request in requests]
        arguments += [
            [array(permit.valueset for permit in permits) for permits in counted],
            [array(permit.grace_ms for permit in permits) for permits in counted],
            requests[0].own_session,
            grace.CLAIM_MS,
        ]
    rows = await conn.fetch(_ADMIT_ALL_AND_CLAIM if claims else _ADMIT_ALL, *arguments)
    found = {row["ord"]: row for row in rows}
    return [
        None if (row := found.get(ord)) is None or row["alone"] else admission_of(request, row)
        for ord, request in enumerate(requests, 1)
    ]


async def _look(conn: Connection, requests: Sequence[Request]) -> Sequence[Admission | None]:
    return await admit_all(conn, requests, claims=False)


async def _claim(conn: Connection, requests: Sequence[Request]) -> Sequence[Admission | None]:
    return await admit_all(conn, requests, claims=True)


_LOOKING = Way(ADMIT, admit, _look)
_CLAIMING = Way(ADMIT_AND_CLAIM, admit, _claim, key=lambda request: request.pairing_id)
