"""The Grace-Period of pairings: claims that were answered are confirmed, all others are taken back (OPS-028).

A claim is made with the decision (ddr.store.authorization.access) and is pending until the answer was sent. Confirming
is not worth a statement of its own on each request, so a worker does it for many at once, a moment later; until then
the claim counts as well, as long as the session that made it lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from uuid import UUID

import asyncpg

# This session of the database, as text; and whether one of another text has ended. A session ends with its worker.
THIS_SESSION = """(SELECT pid || '/' || extract(epoch FROM backend_start)
                     FROM pg_stat_get_activity(pg_backend_pid()) WHERE pid = pg_backend_pid())"""
ENDED = """NOT EXISTS (SELECT FROM pg_stat_get_activity(split_part({session}, '/', 1)::integer) a
                        WHERE a.pid || '/' || extract(epoch FROM a.backend_start) = {session})"""

MOST = 100_000  # confirmations that wait while the database is away; the oldest are given up, and count as long as
# their session lives

# Rows are locked in the order of their keys, so that two workers cannot wait for each other. What is taken out is
# named: a row that changed while it was waited for keeps what others wrote.
_CONFIRM = """
WITH confirmed AS (
  SELECT patient_id, pairing_no, array_agg(url) AS urls
    FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS t(patient_id, pairing_no, url) GROUP BY 1, 2
), held AS MATERIALIZED (
  SELECT g.patient_id, g.pairing_no, c.urls
    FROM grace g JOIN confirmed c USING (patient_id, pairing_no)
   ORDER BY g.patient_id, g.pairing_no FOR NO KEY UPDATE OF g
)
UPDATE grace g SET pending = g.pending - h.urls
  FROM held h WHERE g.patient_id = h.patient_id AND g.pairing_no = h.pairing_no"""

# Only what still is as the claim left it goes back.
_RESTORE = """
UPDATE grace SET answered = (answered - $3::text[]) || $4::jsonb, pending = pending - $3::text[]
 WHERE patient_id = $1 AND pairing_no = $2
   AND NOT EXISTS (SELECT FROM unnest($3::text[]) AS url WHERE (answered ->> url)::bigint IS DISTINCT FROM $5)"""


class Confirmations:
    """The claims of one worker whose answers were sent since `flush` was last called."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[UUID, int, str]] = deque(maxlen=MOST)

    def note(self, patient_id: UUID, pairing_no: int, claimed: Collection[str]) -> None:
        """The answer for which these MIVs were claimed was sent."""
        self._waiting.extend((patient_id, pairing_no, url) for url in claimed)

    async def flush(self, pool: asyncpg.Pool) -> None:
        """Confirm them; those that could not be are kept for the next time."""
        rows = list(self._waiting)
        if rows:
            await pool.execute(_CONFIRM, *map(list, zip(*rows, strict=True)))
            for _ in rows:
                self._waiting.popleft()


async def restore(
    pool: asyncpg.Pool,
    patient_id: UUID,
    pairing_no: int,
    claimed: Collection[str],
    before: Mapping[str, int],
    at_ms: int,
) -> None:
    """Take back a claim made at `at_ms` whose answer was not sent; `before` are the times of the answers before it."""
    kept = {url: before[url] for url in claimed if url in before}
    await pool.execute(_RESTORE, patient_id, pairing_no, list(claimed), kept, at_ms)
