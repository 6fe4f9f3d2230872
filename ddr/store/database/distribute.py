"""Spreads an installation over the servers of Citus, table by table as `placing` says; finished tables stay done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from ddr.store.database.errors import StoreError
from ddr.store.database.faults import reason_of
from ddr.store.database.functions_there import FUNCTIONS
from ddr.store.database.locks import TRY_LOCK, Lock
from ddr.store.database.placing import PATIENT, PLACES, Place, Where
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import STAMP, STAMP_FUNCTION, has_engine, is_spread, look

SHARDS = 32  # the default of Citus

log = logging.getLogger(__name__)


class Trigger(NamedTuple):
    """A trigger as migrations make it, and its function. One that `gathers` always runs, as a transaction ends."""

    table: str
    events: str
    function: str
    gathers: bool = False

    def create(self, name: str) -> list[str]:
        """The statements that make it."""
        if not self.gathers:
            return [f"CREATE TRIGGER {name} {self.events} EXECUTE FUNCTION {self.function}"]
        return [
            f"CREATE CONSTRAINT TRIGGER {name} {self.events} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
            f" WHEN (set_config('ddr.gathered', '', true) = '') EXECUTE FUNCTION {self.function}",
            *self.keep(name),
        ]

    def keep(self, name: str) -> list[str]:
        """The statements that make a gathering trigger run for every role again."""
        return [
            f"ALTER TABLE {self.table} ENABLE ALWAYS TRIGGER {name}",
            "TRUNCATE standing",  # which nothing has kept up to date meanwhile
        ]


def _gathering(table: str, events: str) -> Trigger:
    return Trigger(table, f"AFTER {events} ON {table}", "standing_gathered()", gathers=True)


def _recording(events: str) -> Trigger:
    return Trigger("consent", f"AFTER {events} ON consent FOR EACH ROW", "consent_recorded()")


def _keeping(table: str, function: str) -> Trigger:
    events = f"AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
    return Trigger(table, events, function)


# These access another table, which one server cannot do for another. Where patients are spread, statements write
# instead what they write (ddr.store.authorization.consents), the recorder never does what they forbid, and what they
# gather is read from the tables (ddr.store.authorization.standings).
UNFIT_TRIGGERS: Mapping[str, Trigger] = {
    "consent_given": _recording("INSERT"),
    "consent_changed": _recording("UPDATE OF until_ms, withdrawn_ms"),
    "consent_record_kept": _keeping("consent_record", "consent_record_keep()"),
    "research_consent_kept": _keeping("research_consent", "research_consent_keep()"),
    "standing_pairing": _gathering("pairing", "INSERT OR DELETE OR UPDATE OF ended_ms"),
    "standing_directory": _gathering("pairing_directory", "INSERT OR DELETE"),
    "standing_opening": _gathering("opening", "INSERT OR DELETE OR UPDATE"),
    "standing_consent": _gathering("consent", "INSERT OR DELETE OR UPDATE OF until_ms, withdrawn_ms"),
    "standing_grant": _gathering("token_grant", "INSERT OR DELETE OR UPDATE OF revoked_ms, consent_nos"),
}
GATHERING = tuple(name for name, trigger in UNFIT_TRIGGERS.items() if trigger.gathers)
# Functions that statements use on the servers with patients' rows.
_OF_STATEMENTS = ("folded(text)", STAMP)


class NoEngine(StoreError):
    """The database does not have Citus, or no servers to spread over."""


@dataclass(frozen=True)
class Step:
    """What happens to a table, and whether it has happened already."""

    table: str
    place: Place
    done: bool


async def check_placed(pool: asyncpg.Pool) -> None:
    """Raises StoreError when patients are spread, or partly, and not every table is where it belongs: a later version
    has more tables, or a distribution was interrupted.

    Each request that uses a table that is still on the coordinator would fail.
    """
    if not await has_engine(pool) or not (placed := await _placed(pool)).keys() & PLACES.keys():
        return
    there = {row["relname"] for row in await pool.fetch(_TABLES)}
    left = [table for table in sorted(there & PLACES.keys()) if not _is_so(PLACES[table], placed.get(table))]
    for name in (*_OF_STATEMENTS, *FUNCTIONS):
        if await pool.fetchval("SELECT to_regprocedure($1) IS NULL", name):
            left.append(name.partition("(")[0])
    if left:
        raise StoreError(
            "patients are spread over servers, but some tables are not yet where they belong:"
            f" {', '.join(left)}; stop every recorder,"
            " then run `ddr db distribute` (docs/scaling.md)"
        )


async def plan(conn: Connection) -> list[Step]:
    """What `distribute` would do, in order; needs no engine. Raises StoreError for unknown tables."""
    there = {row["relname"] for row in await conn.fetch(_TABLES)}
    placed: Mapping[str, str] = {}
    if await has_engine(conn):
        placed = await _placed(conn)
        there -= {row["name"] for row in await conn.fetch(_PARTS)}
    if unknown := sorted(there - PLACES.keys()):
        raise StoreError(f"tables that are not the recorder's, or belong to a newer version: {', '.join(unknown)}")
    # Tables that are joined with all others come first; a patient's other tables are colocated with `patient`.
    order = sorted(
        (table for table in PLACES if table in there),
        key=lambda table: (_ORDER.index(PLACES[table].where), table != "patient"),
    )
    return [Step(table, PLACES[table], _is_so(PLACES[table], placed.get(table))) for table in order]


_TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition
   AND relnamespace = current_schema()::regnamespace"""
# The parts of spread tables that are on this server.
_PARTS = "SELECT shard_name(logicalrelid, shardid) AS name FROM pg_dist_shard"
_ORDER = (Where.REFERENCE, Where.PATIENT, Where.KEY, Where.FIRST)


def _is_so(place: Place, found: str | None) -> bool:
    wanted = None if place.where is Where.FIRST else "" if place.where is Where.REFERENCE else place.by
    return found == wanted


async def distribute(pool: asyncpg.Pool, shards: int = SHARDS, tell: Callable[[Step], None] = lambda step: None) -> int:
    """Move each table, with its rows, to where it belongs. Returns how many; each is moved as a whole or not at all.

    FUNCTIONS run beside a patient's rows, also within transactions; their first parameter is the patient. Nobody may
    use the tables meanwhile, and a recorder that starts waits. The pool has two connections. Raises NoEngine,
    StoreError.
    """
    async with pool.acquire() as conn, pool.acquire() as holding, holding.transaction():
        await _check_engine(conn)
        await _keep_others_waiting(holding)
        await _check_nobody(conn)
        steps = [step for step in await plan(conn) if not step.done]
        if wrong := [step.table for step in steps if step.place.where is Where.FIRST]:
            raise StoreError(f"tables are spread that must not be spread: {', '.join(wrong)}")
        for step in steps:
            try:
                await _put(conn, step, shards)
            except asyncpg.PostgresError as error:
                raise StoreError(f"table {step.table} cannot be spread: {reason_of(error)}") from None
            tell(step)
        await conn.execute(STAMP_FUNCTION)
        for function in _OF_STATEMENTS:
            await conn.execute("SELECT create_distributed_function($1::regprocedure)", function)
        for signature, text in FUNCTIONS.items():
            await conn.execute(text)
            await conn.execute(
                "SELECT create_distributed_function($1::regprocedure, $2, 'patient', force_delegation => true)",
                signature, "$1",
            )  # fmt: skip
        return len(steps)


async def _put(conn: asyncpg.Connection, step: Step, shards: int) -> None:
    table, place = step.table, step.place
    async with conn.transaction():
        # Hours of copying must not stop it. Triggers that only look at their own row work on any server.
        await conn.execute(
            "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL citus.enable_unsafe_triggers = on"
        )
        for name, trigger in UNFIT_TRIGGERS.items():
            if await conn.fetchval(_HAS_TRIGGER, table, name):
                await conn.execute(f'DROP TRIGGER "{name}" ON "{table}"')
                if trigger.gathers:
                    await conn.execute("TRUNCATE standing")  # which nothing keeps up to date any more
        if place.where is Where.REFERENCE:
            await conn.execute("SELECT create_reference_table($1::regclass)", table, timeout=None)
        elif place.where is Where.KEY or table == "patient":
            await conn.execute(
                "SELECT create_distributed_table($1::regclass, $2, colocate_with => 'none', shard_count => $3)",
                table, place.by, shards, timeout=None,
            )  # fmt: skip
        else:
            await conn.execute(
                "SELECT create_distributed_table($1::regclass, $2, colocate_with => 'patient')",
                table, PATIENT, timeout=None,
            )  # fmt: skip


async def give_back(conn: asyncpg.Connection) -> None:
    """For an installation that came back to one server by dump and restore: restore the triggers that a distribution
    removed. Also enable triggers that a restore of data without triggers left disabled, and gathering ones for every
    role."""
    if is_spread(conn) or await look(conn):  # it may have been spread while this waited for a lock
        return
    tables, _, functions, gather = zip(*UNFIT_TRIGGERS.values(), strict=True)
    for name, gone in await conn.fetch(_LACKING, list(UNFIT_TRIGGERS), tables, functions, gather):
        if not gone:
            log.warning("database.trigger_enabled", extra={"trigger": name})
        trigger = UNFIT_TRIGGERS[name]
        for statement in trigger.create(name) if gone else trigger.keep(name):
            await conn.execute(statement)
    for table, name in await conn.fetch(_OFF):
        log.warning("database.trigger_enabled", extra={"trigger": name})
        await conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")


# Triggers that are missing, and gathering ones that do not run always: `pg_restore --disable-triggers` leaves them like
# that. A role that only uses the tables of another role can start, but could not enable triggers.
_LACKING = """
SELECT name, tgname IS NULL AS gone
  FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[]) AS t (name, kept, function, gathers)
  LEFT JOIN pg_class c ON c.oid = to_regclass(kept)
  LEFT JOIN pg_trigger ON tgrelid = c.oid AND tgname = name
 WHERE to_regprocedure(function) IS NOT NULL
   AND (tgname IS NULL OR gathers AND tgenabled <> 'A' AND pg_has_role(relowner, 'USAGE'))"""
# Only our own triggers; those of the engine and of constraints belong to the superuser.
_OFF = """
SELECT tgrelid::regclass::text, quote_ident(tgname) FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
 WHERE tgenabled = 'D' AND NOT tgisinternal AND relnamespace = current_schema()::regnamespace
   AND pg_has_role(relowner, 'USAGE') ORDER BY 1, 2"""
_HAS_TRIGGER = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1::regclass AND tgname = $2)"


async def _check_engine(conn: asyncpg.Connection) -> None:
    if not await has_engine(conn):
        raise NoEngine("the database has no Citus: run CREATE EXTENSION citus (docs/scaling.md)")
    if not await conn.fetchval("SELECT EXISTS (SELECT FROM pg_dist_node WHERE isactive AND shouldhaveshards)"):
        raise NoEngine("Citus has no servers to spread patients over: add some with citus_add_node (docs/scaling.md)")


async def _keep_others_waiting(conn: asyncpg.Connection) -> None:
    """Until this transaction ends, nobody's migrations continue, and each recorder begins its start with them."""
    await conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    if not await conn.fetchval(TRY_LOCK, Lock.MIGRATION):
        raise StoreError("another command is migrating the schema or spreading patients: wait until it has ended")


async def _check_nobody(conn: asyncpg.Connection) -> None:
    others = await conn.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ddr'"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        # except ourselves, and those that wait for us
        " AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1)",
        Lock.MIGRATION,
    )
    if others:
        raise StoreError(f"recorders have {others} open connections: stop the recorders first")


async def _placed(conn: Connection) -> Mapping[str, str]:
    """The tables that the engine manages, with the column by which they are spread; empty: on all servers."""
    rows = await conn.fetch(
        """
        SELECT c.relname, p.partmethod::text AS method, column_to_column_name(p.logicalrelid, p.partkey) AS by
          FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
         WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition AND p.partmethod IN ('h', 'n')
        """
    )
    return {row["relname"]: row["by"] if row["method"] == "h" else "" for row in rows}
