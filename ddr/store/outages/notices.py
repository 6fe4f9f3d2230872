"""Operators' notices: maintenance and disruptions, as stored, and as a worker knows them between two readings."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import asyncpg

from ddr.durations import DAY_MS
from ddr.store.database.locks import LOCK, Lock
from ddr.store.database.pool import Connection
from ddr.store.outages.retractions import LastWord

LOOK_SECONDS = 2.0  # how often a worker reads them, so that a change is in force everywhere within five
KEPT_MS = 30 * DAY_MS  # how long an ended one is shown
LETTERS = "bcdfghjkmnpqrstvwxyz23456789"


@dataclass(frozen=True)
class Notice:
    """One notice. Instants in milliseconds; `until_ms` None: not known yet (a disruption)."""

    notice: str
    planned: bool
    state: str  # demoted | unavailable
    functions: Sequence[str]
    from_ms: int
    until_ms: int | None
    cause: str
    cause_de: str
    impact: str
    impact_de: str
    contact: str
    urgent_reason: str | None
    announced_ms: int
    changed_ms: int
    ended_ms: int | None = None
    cancelled_ms: int | None = None

    @property
    def end_ms(self) -> int | None:
        """When it was over or will be."""
        ends = [end for end in (self.until_ms, self.ended_ms) if end is not None]
        return min(ends) if ends else None

    @property
    def over_when_told(self) -> bool:
        """True for a notice that was made only afterwards."""
        return self.until_ms is not None and self.until_ms <= self.announced_ms

    def in_force(self, now_ms: int) -> bool:
        """True while it is current."""
        end_ms = self.end_ms
        return self.cancelled_ms is None and self.from_ms <= now_ms and (end_ms is None or now_ms < end_ms)

    def to_come(self, now_ms: int) -> bool:
        """True before it begins."""
        return self.cancelled_ms is None and now_ms < self.from_ms

    def says_all_of(self, other: Notice) -> bool:
        """True while this notice stands and another one, made now, would say nothing more: a command was typed twice.

        A notice that begins with the command began when it was typed first. A notice made afterwards always stands.
        """
        now_ms = other.announced_ms
        over = other.over_when_told and self.over_when_told
        stands = self.in_force(now_ms) or self.to_come(now_ms) or over
        begun = self.from_ms <= other.from_ms <= now_ms and not over
        told = ("notice", "announced_ms", "changed_ms", *(("from_ms",) if begun else ()))
        return stands and replace(other, **{name: getattr(self, name) for name in told}) == self


class Closure(NamedTuple):
    """Maintenance in progress: what clients are told, and in how many seconds it is over."""

    detail: str
    retry_seconds: int


class Notices:
    """The notices that a worker knows; `read` updates them, and a database that is away changes nothing.

    `words`: what operators said afterwards about notices and events, as of the last reading of the status.
    """

    def __init__(self, known: Iterable[Notice] = ()) -> None:
        self.known = tuple(known)
        self.words: Mapping[str, LastWord] = {}

    async def read(self, pool: asyncpg.Pool, now_ms: int) -> None:
        """Read all notices that are not too old again."""
        self.known = tuple(await recent(pool, now_ms - KEPT_MS))

    def closing(self, function: str, now_ms: int) -> tuple[Notice, int] | None:
        """The maintenance that closes this function now, and when all of it is over; one window may follow another."""
        windows = sorted(
            (one for one in self.known if one.planned and one.state == "unavailable" and function in one.functions),
            key=lambda one: one.from_ms,
        )
        now = next((one for one in windows if one.in_force(now_ms)), None)
        if now is None:
            return None
        end_ms = now_ms
        for one in windows:
            if one.cancelled_ms is None and one.from_ms <= end_ms:
                end_ms = max(end_ms, one.end_ms or end_ms)
        return now, end_ms

    def closed(self, function: str) -> list[tuple[int, int]]:
        """From when until when maintenance closed this function, in the last days and in the future."""
        return [
            (one.from_ms, one.end_ms)
            for one in self.known
            if one.cancelled_ms is None and one.end_ms is not None and one.state == "unavailable"
            if one.planned and function in one.functions
        ]


def seconds_until(end_ms: int, now_ms: int) -> int:
    """Whole seconds, rounded up; at least one."""
    return max(1, math.ceil((end_ms - now_ms) / 1000))


def new_name() -> str:
    """A name that is easy to type and reveals nothing."""
    return "".join(secrets.choice(LETTERS) for _ in range(6))


_COLUMNS = ", ".join(field.name for field in fields(Notice))
# Never goes back, whatever the clock of the machine on which an operator acts: subscribers ignore what is not newer.
_CHANGED = "changed_ms = greatest($2, changed_ms + 1)"


async def recent(pool: Connection, since_ms: int) -> list[Notice]:
    """The notices that were not yet over before `since_ms`, in order of their beginning."""
    rows = await pool.fetch(
        f"""SELECT {_COLUMNS} FROM outage_notice
            WHERE coalesce(least(until_ms, ended_ms), cancelled_ms, $1::bigint) >= $1 ORDER BY from_ms, notice""",  # noqa: S608
        since_ms,
    )
    return [Notice(**dict(row)) for row in rows]


async def add(pool: Connection, notice: Notice) -> None:
    """Store a new notice."""
    values = {**vars(notice), "functions": list(notice.functions)}  # in the order of the columns
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await pool.execute(f"INSERT INTO outage_notice ({_COLUMNS}) VALUES ({places})", *values.values())  # noqa: S608


async def add_once(pool: asyncpg.Pool, notice: Notice, check: Callable[[], None] = lambda: None) -> Notice:
    """Store a new notice, unless a standing one says all of it. Returns the one that stands. `check` is called before
    storing, and may raise."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK, Lock.OUTAGES)
        since_ms = notice.announced_ms if notice.until_ms is None else min(notice.announced_ms, notice.until_ms)
        for known in await recent(connection, since_ms):
            if known.says_all_of(notice):
                return known
        check()
        await add(connection, notice)
        return notice


async def find(pool: asyncpg.Pool, name: str) -> Notice | None:
    """The notice with this name; None if there is none."""
    found = await named(pool, [name])
    return found[0] if found else None


async def named(pool: asyncpg.Pool, names: Collection[str]) -> list[Notice]:
    """The notices with these names, however old."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM outage_notice WHERE notice = ANY ($1::text[])",  # noqa: S608
        list(names),
    )
    return [Notice(**dict(row)) for row in rows]


async def end(pool: asyncpg.Pool, name: str, now_ms: int) -> bool:
    """End it now; False when it is not current."""
    done = await pool.fetchval(
        f"""UPDATE outage_notice SET ended_ms = greatest($2, from_ms), {_CHANGED}
            WHERE notice = $1 AND cancelled_ms IS NULL AND ended_ms IS NULL AND from_ms <= $2
              AND coalesce(until_ms, $2 + 1) > $2 RETURNING true""",  # noqa: S608
        name, now_ms,
    )  # fmt: skip
    return bool(done)


async def cancel(pool: Connection, name: str, now_ms: int) -> bool:
    """Cancel it; False when it has begun."""
    done = await pool.fetchval(
        f"""UPDATE outage_notice SET cancelled_ms = $2, {_CHANGED}
            WHERE notice = $1 AND cancelled_ms IS NULL AND from_ms > $2 RETURNING true""",  # noqa: S608
        name, now_ms,
    )  # fmt: skip
    return bool(done)
