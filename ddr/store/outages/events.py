"""What the checks found, from its beginning to its end; each worker writes what all found, and the first one counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from ddr.store.database.locks import LOCK, TRY_LOCK, Lock
from ddr.store.database.pool import Connection

NAMED = "event-"  # plus the number; no notice has such a name


@dataclass(frozen=True)
class Event:
    """A state that a check found. Instants in milliseconds; `until_ms` None: it continues."""

    key: str
    state: str  # demoted | unavailable
    functions: Sequence[str]
    cause: str
    cause_de: str
    from_ms: int
    until_ms: int | None = None
    number: int = field(default=0, compare=False)  # once it is stored

    @property
    def name(self) -> str:
        """The name by which operators refer to it."""
        return f"{NAMED}{self.number}"


async def follow(pool: asyncpg.Pool, found: Mapping[str, Event], over_ms: Mapping[str, int], now_ms: int) -> None:
    """Make `found` the current events. A former one that is not in `found` has ended: when `over_ms` says, else now.

    When a state gets worse or better, or affects other functions, its event ends and the next one begins. Does nothing
    while another worker is doing this.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval(TRY_LOCK, Lock.OUTAGES):
            return
        rows = await connection.fetch("SELECT key, state, functions, from_ms FROM outage_event WHERE until_ms IS NULL")
        going_on = {row["key"]: row for row in rows}
        for key, row in going_on.items():
            now = found.get(key)
            if now is None:
                over = over_ms.get(key, 0)  # may be from an earlier time
                await _end(connection, key, over if over > row["from_ms"] else max(now_ms, row["from_ms"]))
            elif (now.state, sorted(now.functions)) != (row["state"], sorted(row["functions"])):
                await _end(connection, key, max(now_ms, row["from_ms"]))
                await _begin(connection, now, now_ms)
        for key in found.keys() - going_on.keys():
            await _begin(connection, found[key], found[key].from_ms)


async def add(pool: asyncpg.Pool, event: Event) -> None:
    """Store an event that is already over, unless another worker did."""
    known = "SELECT true FROM outage_event WHERE key = $1 AND from_ms = $2"
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK, Lock.OUTAGES)
        if not await connection.fetchval(known, event.key, event.from_ms):
            await _begin(connection, event, event.from_ms)


async def going_on(pool: asyncpg.Pool) -> dict[str, int]:
    """For each key that continues, since when."""
    rows = await pool.fetch("SELECT key, from_ms FROM outage_event WHERE until_ms IS NULL")
    return {row["key"]: row["from_ms"] for row in rows}


_COLUMNS = "key, state, functions, cause, cause_de, from_ms, until_ms, event AS number"


async def between(pool: asyncpg.Pool, from_ms: int, until_ms: int) -> list[Event]:
    """The events that were current at any time in this interval, in order of their beginning."""
    rows = await pool.fetch(
        f"""SELECT {_COLUMNS} FROM outage_event
            WHERE from_ms < $2 AND coalesce(until_ms, $2) > $1 ORDER BY from_ms, event""",  # noqa: S608
        from_ms, until_ms,
    )  # fmt: skip
    return [Event(**dict(row)) for row in rows]


async def find(pool: asyncpg.Pool, name: str) -> Event | None:
    """The event of this name, None when there is none."""
    found = await named(pool, [name])
    return found[0] if found else None


async def named(pool: asyncpg.Pool, names: Collection[str]) -> list[Event]:
    """The events with these names; `names` may contain names of notices."""
    numbers = [int(name.removeprefix(NAMED)) for name in names if name.startswith(NAMED)]
    rows = await pool.fetch(f"SELECT {_COLUMNS} FROM outage_event WHERE event = ANY ($1::bigint[])", numbers)  # noqa: S608
    return [Event(**dict(row)) for row in rows]


async def purge(pool: asyncpg.Pool, before_ms: int) -> None:
    """Delete events that were over before this instant."""
    await pool.execute("DELETE FROM outage_event WHERE until_ms < $1", before_ms)


async def _begin(connection: Connection, event: Event, from_ms: int) -> None:
    await connection.execute(
        """INSERT INTO outage_event (key, state, functions, cause, cause_de, from_ms, until_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (key) WHERE until_ms IS NULL DO NOTHING""",
        event.key, event.state, list(event.functions), event.cause, event.cause_de, from_ms, event.until_ms,
    )  # fmt: skip


async def _end(connection: asyncpg.Connection, key: str, at_ms: int) -> None:
    await connection.execute("UPDATE outage_event SET until_ms = $2 WHERE key = $1 AND until_ms IS NULL", key, at_ms)
