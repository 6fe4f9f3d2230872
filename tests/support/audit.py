"""A trail of some days, as a recorder would have written it: entries of several patients, in the tables of days."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from ddr.operations.audit_packing import pack_some
from ddr.operations.audit_reading import entries
from ddr.operations.audit_trail import seal
from ddr.store.audit import patients
from ddr.store.audit.entries import WANTED
from ddr.store.audit.trail import NOBODY
from tests.support.day import today

DAY_MS, HOUR_MS = 86_400_000, 3_600_000

ALL: Mapping[str, Any] = dict.fromkeys(WANTED)
EVENTS: tuple[tuple[str, str | None, dict[str, Any]], ...] = (
    ("diga:data:read", "urn:diga:bfarm:00001", {"type": "Observation", "valuesets": ["https://x/ä"]}),
    ("diga:data:read", "urn:diga:bfarm:00002", {"b": 1.0, "a": [1, None, {"c": 1e-3}], "big": 2**53}),
    ("diga:data:refused", "urn:diga:bfarm:00001", {"reason": "grace-period"}),
    ("patient:file:taken", None, {}),
)


@dataclass(frozen=True)
class Person:
    """A patient with one or two DiGA."""

    patient_id: UUID
    pairings: tuple[str | None, ...]


def people(count: int) -> list[Person]:
    """Some patients, and entries without a patient."""
    chance = random.Random(1)
    some = [Person(UUID(int=chance.getrandbits(128)), (chance.randbytes(32).hex(), "p", None)) for _ in range(count)]
    return [Person(NOBODY, (None,)), *some]


async def write_day(pool: asyncpg.Pool, day: int, who: list[Person], count: int) -> None:
    """`count` entries of a day since 1970, ordered by time, and the seals of the day."""
    chance = random.Random(1_000_003 + day - today())  # the same entries whatever the date
    await pool.execute("SELECT audit_open($1)", (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date())
    rows = []
    for at in sorted(chance.randrange(DAY_MS) for _ in range(count)):
        person, (event, client_id, detail) = chance.choice(who), chance.choice(EVENTS)
        at_ms = day * DAY_MS + at
        rows.append(
            (person.patient_id, at_ms, event, client_id, chance.choice(person.pairings), detail, at_ms // HOUR_MS)
        )
    insert = (
        "INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail, hour)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    for part in (rows[: count // 2], rows[count // 2 :]):
        await pool.executemany(insert, part)
        await seal(pool, (day + 1) * DAY_MS - 1)


async def pack_all(pool: asyncpg.Pool) -> int:
    """Pack every past day; returns the number of packs."""
    return await pack_some(pool, (today() + 1) * DAY_MS + HOUR_MS, seconds=60)


async def as_shown(pool: asyncpg.Pool, who: list[Person], **wanted: object) -> tuple[list[Any], ...]:
    """The export, and what each patient sees, page by page and in the copy."""
    exported = [tuple(entry) async for entry in entries(pool, {**ALL, **wanted})]
    pages, copies = [], []
    for person in who:
        before, day = patients.NEWEST, 0
        while rows := await patients.before(pool, person.patient_id, before, 7, day):
            pages += [{key: row[key] for key in row if key != "day"} for row in rows]
            before, day = rows[-1]["audit_no"], rows[-1]["day"]
        upto_no = await patients.newest_no(pool, person.patient_id)
        copies += [(row["audit_no"], row["detail"]) async for row in patients.upto(pool, person.patient_id, upto_no)]
    return exported, pages, copies
