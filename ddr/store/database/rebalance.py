"""Moves patients to a server that was added, or away from one, with Citus's own rebalancer while recorders run.

A part of the tables (a shard, and those of other tables colocated with it) is copied while it is read and written. At
the end its writes wait until the copy has caught up, which a patient's requests may notice. So writes like those of an
upload are tried from beginning to end, and a move during which one waits too long is undone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

import asyncpg

from ddr.store.database.distribute import NoEngine, plan
from ddr.store.database.errors import StoreError
from ddr.store.database.faults import FAULTS, reason_of
from ddr.store.database.placing import PLACES, Where
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import has_engine

LONGEST_SECONDS = 10.0  # that a patient's write may wait; the lock limit of work without a request is no shorter
LOOK_SECONDS = 1.0
LOOKS = 60  # consecutive ones that may fail
WRITE_SECONDS = 0.2  # between two rounds of writes

# The plan also has a size column, which is 0 in Citus 13.
_MOVES = """
SELECT array_agg(m.table_name::text ORDER BY m.shardid) AS tables, min(m.shardid) AS shard,
       coalesce(sum(z.size), 0)::bigint AS bytes, m.sourcename || ':' || m.sourceport AS source,
       m.targetname || ':' || m.targetport AS target
  FROM get_rebalance_table_shards_plan() m
  JOIN pg_dist_partition p ON p.logicalrelid = m.table_name
  JOIN pg_dist_shard s ON s.shardid = m.shardid
  LEFT JOIN citus_shard_sizes() z ON z.shard_id = m.shardid
 GROUP BY p.colocationid, s.shardminvalue, source, target ORDER BY shard"""
_IDLE = "SELECT nodename || ':' || nodeport AS server FROM pg_dist_node WHERE NOT isactive ORDER BY nodeid"
_APART = """
SELECT from_nodename || ':' || from_nodeport AS server, to_nodename || ':' || to_nodeport AS other
  FROM citus_check_cluster_node_health() WHERE result IS DISTINCT FROM true ORDER BY 1, 2"""
# What a server must support: sending and receiving the changes of a table, row by row.
_ABLE = """
SELECT n.nodename || ':' || n.nodeport AS server, r.success, r.result
  FROM run_command_on_all_nodes($$
         SELECT json_build_object('level', current_setting('wal_level'),
           'slots', current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots),
           'senders', current_setting('max_wal_senders')::int,
           'workers', current_setting('max_logical_replication_workers')::int)
       $$) r JOIN pg_dist_node n ON n.nodeid = r.nodeid ORDER BY n.nodeid"""
# Without a replica identity, the update of a row cannot be sent to the other server.
_NAMELESS = """
SELECT c.relname FROM pg_class c
 WHERE c.relname = ANY ($1::text[]) AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
   AND (c.relreplident = 'n' OR c.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))
 ORDER BY c.relname"""
_SOMEBODY = """
SELECT result FROM run_command_on_shards('patient', $$SELECT patient_id FROM %s LIMIT 1$$)
 WHERE success AND result <> '' AND shardid = ANY ($1::bigint[])"""
_SHARDS = "SELECT shardid FROM get_rebalance_table_shards_plan() WHERE table_name = 'patient'::regclass"
# Never the mode in which writes wait for a copy.
_START = "SELECT citus_rebalance_start(shard_transfer_mode => 'auto')"
_STATUS = "SELECT job_id, state::text AS state, details::text AS details FROM citus_rebalance_status()"
_STOP = "SELECT citus_rebalance_stop()"
# The first statement of an upload; it changes nothing.
_WRITE = "UPDATE patient SET stamp_ms = stamp_ms WHERE patient_id = $1"
_OVER = {"finished", "failed", "cancelled"}


@dataclass(frozen=True)
class Move:
    """A part of these tables, which are colocated, from one server to another."""

    tables: tuple[str, ...]
    bytes: int
    source: str
    target: str


@dataclass(frozen=True)
class Moved:
    """How many steps the engine took, and the `writes` to patients of the moved parts: how many seconds the longest
    took, and how many failed."""

    steps: int
    writes: int
    longest_seconds: float
    failed: int


async def moves(conn: Connection) -> list[Move]:
    """What would be moved now. Raises NoEngine, StoreError: one line with all obstacles."""
    await _check(conn)
    try:
        rows = await conn.fetch(_MOVES)
    except asyncpg.PostgresError as error:
        raise StoreError(f"Citus cannot plan a rebalance: {reason_of(error)}") from None
    return [Move(tuple(row["tables"]), row["bytes"], row["source"], row["target"]) for row in rows]


async def rebalance(pool: asyncpg.Pool, tell: Callable[[str], None] = lambda line: None) -> Moved:
    """Carry out `moves`, or continue what somebody began, while recorders run. The pool has two connections.

    Raises NoEngine or StoreError for obstacles and for failures of the engine. Also when a write waited for
    LONGEST_SECONDS: then the current move is undone, and what was moved before stays.
    """
    planned = await moves(pool)
    patients = await _somebody(pool)
    try:
        job = await _running(pool) or (await pool.fetchval(_START) if planned else 0)
    except asyncpg.PostgresError as error:
        raise StoreError(f"Citus refuses to move anything: {reason_of(error)}") from None
    if not job:
        return Moved(0, 0, 0.0, 0)
    watch = _Watch(pool, patients)
    watching = asyncio.create_task(watch.run())
    try:
        steps = await _follow(pool, job, watch, tell)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return Moved(steps, watch.writes, watch.longest, watch.failed)


async def _check(conn: Connection) -> None:
    if not await has_engine(conn):
        raise NoEngine("the database has no Citus: run CREATE EXTENSION citus (docs/scaling.md)")
    if away := [step.table for step in await plan(conn) if not step.done]:
        which = "patients are not spread over servers" if "patient" in away else f"not spread: {', '.join(away)}"
        raise StoreError(f"{which}; run ddr db distribute first")
    if found := [*await _servers(conn), *await _nameless(conn)]:
        raise StoreError("; ".join(found))


async def _servers(conn: Connection) -> list[str]:
    """What each server lacks to have tables moved, one line per server; [] when nothing."""
    found = [f"server {row['server']} is not active: citus_activate_node" for row in await conn.fetch(_IDLE)]
    found += [f"server {row['server']} does not reach {row['other']}" for row in await conn.fetch(_APART)]
    for row in await conn.fetch(_ABLE):
        if not row["success"]:
            found.append(f"server {row['server']} does not answer: {row['result']}")
            continue
        able = json.loads(row["result"])
        if able["level"] != "logical":
            found.append(f"server {row['server']} has wal_level = {able['level']}: set it to logical and restart it")
        for name, setting in (
            ("slots", "max_replication_slots"),
            ("senders", "max_wal_senders"),
            ("workers", "max_logical_replication_workers"),
        ):
            if able[name] < 1:
                found.append(f"server {row['server']} has nothing left of {setting}")
    return found


async def _nameless(conn: Connection) -> list[str]:
    away = [table for table, place in PLACES.items() if place.where is not Where.FIRST]
    return [
        f"table {row['relname']} has neither primary key nor replica identity"
        for row in await conn.fetch(_NAMELESS, away)
    ]


async def _somebody(pool: asyncpg.Pool) -> list[UUID]:
    """One patient of each part that is to be moved, if it has any."""
    shards = [row["shardid"] for row in await pool.fetch(_SHARDS)]
    return [UUID(row["result"]) for row in await pool.fetch(_SOMEBODY, shards)]


async def _running(pool: asyncpg.Pool) -> int | None:
    row = await pool.fetchrow(_STATUS)
    return None if row is None or row["state"] in _OVER else row["job_id"]


async def _follow(pool: asyncpg.Pool, job: int, watch: _Watch, tell: Callable[[str], None]) -> int:
    """How many steps the engine has taken when the job is over. Raises StoreError."""
    shown = ""
    while True:
        row = await _status(pool, tell)
        details = json.loads(row["details"])
        counts, tasks = details["task_state_counts"], details["tasks"]
        line = f"{counts.get('done', 0)} of {sum(counts.values())} steps are done"
        # The engine retries failed steps; the reason is reported each time.
        line += "".join(f"; tried again: {text}" for text in _messages(tasks))
        if line != shown:
            tell(line)
            shown = line
        if row["state"] in _OVER:
            break
        if watch.too_long:
            await pool.execute(_STOP)
            raise StoreError(
                f"a patient's write waited for {LONGEST_SECONDS:g} seconds, so the current move was undone;"
                " earlier moves stay. Try again when there are fewer writes"
            )
        await asyncio.sleep(LOOK_SECONDS)
    if row["state"] != "finished":
        raise StoreError(
            f"job {job} of Citus is {row['state']}: {'; '.join(_messages(tasks)) or 'Citus does not say why'}"
        )
    done: int = counts.get("done", 0)
    return done


async def _status(pool: asyncpg.Pool, tell: Callable[[str], None]) -> asyncpg.Record:
    """How far the engine is. This asks all servers, and fails when one is away. The engine then retries its steps, and
    so this asks again.

    Raises StoreError when there is no answer for long.
    """
    unanswered = 0
    while True:
        try:
            return await pool.fetchrow(_STATUS)
        except FAULTS as error:
            unanswered += 1
            if unanswered >= LOOKS:
                reason = reason_of(error)
                raise StoreError(f"Citus does not report its progress, and continues on its own: {reason}") from None
            if unanswered == 1:
                tell(f"a server does not answer: {reason_of(error)}")
            await asyncio.sleep(LOOK_SECONDS)


def _messages(tasks: Iterable[dict[str, str]]) -> list[str]:
    return [" ".join(task["message"].split()) for task in tasks if task.get("message")]


class _Watch:
    """Writes to the patients in turn and remembers how long the longest write took."""

    def __init__(self, pool: asyncpg.Pool, patients: list[UUID]) -> None:
        self._pool, self._patients = pool, patients
        self.writes, self.failed, self.longest, self.too_long = 0, 0, 0.0, False

    async def run(self) -> None:
        """Runs until it is cancelled, or a write has waited too long."""
        while not self.too_long:
            for patient_id in self._patients:
                await self._write(patient_id)
            await asyncio.sleep(WRITE_SECONDS)

    async def _write(self, patient_id: UUID) -> None:
        self.writes += 1
        begun = perf_counter()
        try:
            await self._pool.execute(_WRITE, patient_id, timeout=LONGEST_SECONDS)
        except (TimeoutError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            self.too_long = True
        except FAULTS:  # a patient's request would have been answered with 503
            self.failed += 1
        self.longest = max(self.longest, perf_counter() - begun)
