"""The Grace-Period of pairings: answered claims are confirmed, all others are taken back (OPS-028).

A claim is made with the decision (ddr.store.authorization.access) and is pending until the answer was sent. Confirming
it is not worth a statement per request, so a worker confirms many at once, a moment later. Until then the claim counts
as well, as long as its worker lives: it names the database session that made it, which ends with the worker, and the
time by the database's clock until which it holds. A living worker extends that time before it is over. Behind a pooler
sessions do not belong to workers, so only the time decides.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakSet

import asyncpg

from ddr.store.database.faults import FAULTS
from ddr.store.database.spreading import is_spread
from ddr.store.database.stamps import CLOCK

CLAIM_MS = 60_000  # how long a claim holds when nothing more is heard of it
RENEW_SECONDS = CLAIM_MS / 3000  # after which its worker extends it
READ_STEP_MS = 60_000  # the precision of grace.read_ms, which the patient's pages show
PATIENCE_SECONDS = CLAIM_MS / 3000  # for claims that cannot be confirmed; each may take as long as a statement may
MOST = 100_000  # confirmations that wait while the database is away; of more, the oldest are given up, as if unanswered


def mark(own_session: str, holds_ms: str) -> str:
    """SQL: the text of a pending claim, `PID/START/END` or, where the session is not the worker's own, `//END`."""
    return f"""(CASE WHEN {own_session}
                     THEN (SELECT pid || '/' || extract(epoch FROM backend_start)
                             FROM pg_stat_get_activity(pg_backend_pid()) WHERE pid = pg_backend_pid())
                     ELSE '/' END || '/' || ({CLOCK} + {holds_ms}))"""


def over(pending: str) -> str:
    """SQL: whether a claim with this text has reached its end. Claims of former versions have none."""
    return f"(nullif(split_part({pending}, '/', 3), '')::bigint < {CLOCK}) IS TRUE"


def void(pending: str) -> str:
    """SQL: whether the worker that made the claim with this text is gone."""
    pid, begun = (f"nullif(split_part({pending}, '/', {place}), '')" for place in (1, 2))
    return f"""({over(pending)} OR {pid} IS NOT NULL AND NOT EXISTS (
                  SELECT FROM pg_stat_get_activity({pid}::integer) a
                   WHERE a.pid = {pid}::integer AND extract(epoch FROM a.backend_start)::text = {begun}))"""


def unnoted(now_ms: str) -> str:
    """SQL: whether the row of a pairing does not note yet that it reads now."""
    return f"(read_ms > {now_ms} - {READ_STEP_MS} AND read_ms <= {now_ms}) IS NOT TRUE"


# Rows are locked in the order of their keys, so that two workers cannot wait for each other. Only the named keys are
# removed, so what others wrote to the row meanwhile is kept.
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

_CONFIRM_ONE = "UPDATE grace SET pending = pending - $3::text WHERE patient_id = $1 AND pairing_no = $2"

# Restores only what is still as the claim left it.
_RESTORE = """
UPDATE grace SET answered = (answered - $3::text[]) || $4::jsonb, pending = pending - $3::text[]
 WHERE patient_id = $1 AND pairing_no = $2
   AND NOT EXISTS (SELECT FROM unnest($3::text[]) AS url WHERE (answered ->> url)::bigint IS DISTINCT FROM $5)"""

# A claim that was followed by another one is not ours any more.
_RENEW = f"""
WITH renewed AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[]) AS t(patient_id, pairing_no, url, at_ms)
), held AS MATERIALIZED (
  SELECT g.patient_id, g.pairing_no,
         (SELECT jsonb_object_agg(r.url, regexp_replace(g.pending ->> r.url, '[^/]*$', ({CLOCK} + $5::bigint)::text))
            FROM renewed r
           WHERE r.patient_id = g.patient_id AND r.pairing_no = g.pairing_no
             AND (g.answered ->> r.url)::bigint = r.at_ms AND g.pending ->> r.url IS NOT NULL) AS pending
    FROM grace g WHERE (g.patient_id, g.pairing_no) IN (SELECT patient_id, pairing_no FROM renewed)
   ORDER BY g.patient_id, g.pairing_no FOR NO KEY UPDATE OF g
)
UPDATE grace g SET pending = g.pending || h.pending
  FROM held h WHERE g.patient_id = h.patient_id AND g.pairing_no = h.pairing_no AND h.pending IS NOT NULL"""


_RENEW_ONE = f"""
UPDATE grace
   SET pending = pending || jsonb_object(
         ARRAY[$3::text], ARRAY[regexp_replace(pending ->> $3::text, '[^/]*$', ({CLOCK} + $5::bigint)::text)])
 WHERE patient_id = $1 AND pairing_no = $2 AND (answered ->> $3::text)::bigint = $4
   AND pending ->> $3::text IS NOT NULL"""


@dataclass(eq=False)
class Claim:
    """A claim of these MIVs made at `at_ms`, whose answer is not sent yet; `before` has the times of former answers.

    `since` is when it was last extended, by the monotonic clock.
    """

    patient_id: UUID
    pairing_no: int
    urls: Collection[str]
    at_ms: int
    before: Mapping[str, int]
    since: float = field(default_factory=time.monotonic)


class GraceClaims:
    """The claims of one worker: those whose request is still being answered, and those that were answered."""

    def __init__(self) -> None:
        self._open: WeakSet[Claim] = WeakSet()
        self._waiting: deque[tuple[UUID, int, str]] = deque(maxlen=MOST)
        self._left: deque[Claim] = deque(maxlen=MOST)  # to be taken back once the database is there

    def begin(self, claim: Claim) -> None:
        """Note that a request with this claim is being answered."""
        self._open.add(claim)

    def answered(self, claim: Claim) -> None:
        """Note that the answer was sent; `flush` confirms the claim."""
        self._open.discard(claim)
        self._waiting.extend((claim.patient_id, claim.pairing_no, url) for url in claim.urls)

    async def take_back(self, pool: asyncpg.Pool, claim: Claim) -> None:
        """Undo a claim whose answer was not sent, so that the state before it counts again. A failure is left to
        `flush`, so that it does not spoil the reply that is sent instead of the answer."""
        self._open.discard(claim)
        try:
            await self._restore(pool, claim)
        except FAULTS:
            self._left.append(claim)

    async def _restore(self, pool: asyncpg.Pool, claim: Claim) -> None:
        kept = {url: claim.before[url] for url in claim.urls if url in claim.before}
        await pool.execute(_RESTORE, claim.patient_id, claim.pairing_no, list(claim.urls), kept, claim.at_ms)

    async def flush(self, pool: asyncpg.Pool) -> None:
        """Confirm the answered claims, and extend those being answered. What fails is kept for the next time."""
        if is_spread(pool):
            await self._flush_there(pool)
            return
        rows = list(self._waiting)
        if rows:
            await pool.execute(_CONFIRM, *map(list, zip(*rows, strict=True)))
            for _ in rows:
                self._waiting.popleft()
        await self._take_back_late(pool)
        now = time.monotonic()
        if due := self._due(now):
            held = [(claim.patient_id, claim.pairing_no, url, claim.at_ms) for claim in due for url in claim.urls]
            await pool.execute(_RENEW, *map(list, zip(*held, strict=True)), CLAIM_MS)
            for claim in due:
                claim.since = now

    async def _take_back_late(self, pool: asyncpg.Pool) -> None:
        """A claim that fails comes after the others the next time. One that has ended meanwhile is left as it is."""
        for _ in range(len(self._left)):
            claim = self._left.popleft()
            if time.monotonic() - claim.since > CLAIM_MS / 1000:
                continue
            try:
                await self._restore(pool, claim)
            except BaseException:
                self._left.append(claim)
                raise

    def _due(self, now: float) -> list[Claim]:
        return [claim for claim in self._open if now - claim.since >= RENEW_SECONDS]

    async def _flush_there(self, pool: asyncpg.Pool) -> None:
        """The same one by one: a server that is away must not keep the claims on other servers from being confirmed.

        What fails is tried again after the others, or the next time when this takes long.
        """
        failed: BaseException | None = None
        begun = time.monotonic()
        for _ in range(len(self._waiting)):
            try:
                await pool.execute(_CONFIRM_ONE, *self._waiting[0])
                self._waiting.popleft()
            except FAULTS as error:
                failed = error
                self._waiting.rotate(-1)
                if time.monotonic() - begun > PATIENCE_SECONDS:
                    break
        try:
            await self._take_back_late(pool)
        except FAULTS as error:
            failed = error
        for claim in self._due(begun):
            try:
                for url in claim.urls:
                    await pool.execute(_RENEW_ONE, claim.patient_id, claim.pairing_no, url, claim.at_ms, CLAIM_MS)
                claim.since = begun
            except FAULTS as error:
                failed = error
        if failed is not None:
            raise failed
