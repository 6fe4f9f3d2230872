"""What decides about a pairing's requests, gathered in one row: consents of grants, ends, openings (table standing).

It contains nothing that pairing, pairing_directory, token_grant, consent and opening do not. The database gathers it at
the end of each transaction that changes one of them (migration 0133), so a withdrawal takes effect on the next request.
It serves the common case: where a row is missing, as after an upgrade, or does not say yes, the tables are asked. Where
patients are spread, nothing is gathered.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

import asyncpg

from ddr.store.database.distribute import GATHERING
from ddr.store.database.kept import WITHOUT_WAIT
from ddr.store.database.spreading import is_spread

STEP = 1000  # pairings that one statement compares
SECONDS = 20.0  # spent on missing rows in a round of housekeeping; a million pairings take longer

log = logging.getLogger(__name__)


def held(pairing_id: str, grant_no: str, client_id: str, now_ms: str) -> str:
    """SQL: the row of the pairing with that Pairing ID; `held` are the consents of the grant.

    No row when anything does not fit or has ended, be it one of the pairing's consents; then only the tables can tell.
    """
    return f"""(
   SELECT patient_id, pairing_no, pairing_id, client_id, held, openings
     FROM (SELECT *, grants -> {grant_no}::text AS held FROM standing WHERE pairing_id = {pairing_id} OFFSET 0) s
    WHERE client_id = {client_id} AND ends_ms > {now_ms} AND held IS NOT NULL)"""  # noqa: S608


_PART = """
WITH part AS MATERIALIZED (
  SELECT patient_id, pairing_no FROM (
    (SELECT patient_id, pairing_no FROM pairing WHERE (patient_id, pairing_no) > ($1, $2) ORDER BY 1, 2 LIMIT $3)
    UNION
    (SELECT patient_id, pairing_no FROM standing WHERE (patient_id, pairing_no) > ($1, $2) ORDER BY 1, 2 LIMIT $3)
  ) AS they ORDER BY 1, 2 LIMIT $3
)
SELECT t.patient_id, t.pairing_no, s.patient_id IS NULL AS missing,
       (s.pairing_id, s.client_id, s.grants, s.ends_ms, s.openings) IS DISTINCT FROM
       (n.pairing_id, n.client_id, n.grants, n.ends_ms, n.openings) AS differs
  FROM part t
  LEFT JOIN standing s ON s.patient_id = t.patient_id AND s.pairing_no = t.pairing_no
  LEFT JOIN LATERAL standing_of(t.patient_id, t.pairing_no) n ON true
 ORDER BY t.patient_id, t.pairing_no"""

_BEGIN = (UUID(int=0), 0)

_ARE_KEPT = """
SELECT count(*) = cardinality($1::text[]) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE t.tgname = ANY ($1) AND t.tgenabled IN ('A', 'O') AND c.relnamespace = current_schema()::regnamespace"""


# A row that a crash undoes is missing or wrong, as it was before, so this commit need not wait for the disk.
_GATHER = f"SELECT gather_standing($1, $2), {WITHOUT_WAIT}"


class Standings:
    """The regular check that each row says what its sources say; a worker continues where it stopped."""

    def __init__(self) -> None:
        self._after = _BEGIN

    async def check(self, pool: asyncpg.Pool, step: int = STEP, seconds: float = SECONDS) -> int:
        """Compare some more, starting over after the last, and gather anew what differs. Returns how many were wrong.

        Missing rows are no fault; they are made without a pause, but for no longer than `seconds`. While a trigger is
        off, nothing stays gathered.
        """
        if is_spread(pool):
            return 0
        if not await pool.fetchval(_ARE_KEPT, list(GATHERING)):
            await pool.execute("DELETE FROM standing")
            log.error("standing.not_kept")
            return 0
        wrong = made = 0
        end = time.monotonic() + seconds
        while True:
            rows = await pool.fetch(_PART, *self._after, step)
            self._after = (rows[-1]["patient_id"], rows[-1]["pairing_no"]) if len(rows) == step else _BEGIN
            differing = [row for row in rows if row["differs"]]
            missing = len([row for row in differing if row["missing"]])
            if found := len(differing) - missing:
                log.error("standing.wrong", extra={"count": found})
            for row in differing:
                await pool.execute(_GATHER, row["patient_id"], row["pairing_no"])
            made += missing
            wrong += found
            if not missing or self._after == _BEGIN or time.monotonic() >= end:
                break
        if made:
            log.info("standing.gathered", extra={"count": made})
        return wrong
