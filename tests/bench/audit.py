"""What a year of audit trail adds: to the page of accesses, admission, verification from a seal, sealing.

Two databases with the same patients alternate: one has a packed year, the other its last day. On this day some
patients' data was requested so often that it fills their page, so that both show the same.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from uuid import UUID

import asyncpg

from ddr.operations.audit_packing import pack_some
from ddr.operations.audit_trail import seal
from ddr.operations.audit_verifying import verify
from ddr.patient_pages.visitor import COOKIE
from ddr.store.audit.patients import before
from ddr.store.database.ids import Kind
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.pool import open_pool
from ddr.store.patients.sessions import Session, open_session
from tests.bench.figure import Figure, Goal, against
from tests.bench.growth import CLIENTS, FLAT, compared, processes_of, read
from tests.bench.inside import ask
from tests.bench.population import Population, population
from tests.bench.trail import DETAIL, EVENT, POLLS, Made, Pairing, entries_of, write
from tests.bench.turns import Seen, Step, in_turns
from tests.support.audit import DAY_MS, HOUR_MS
from tests.support.day import today
from tests.support.recorder import Recorder

PATIENTS, DAYS = 100, 365
LOOKED, OFTEN = 8, 576  # patients of each page; entries of the last day that fill one
MONTH = 30  # days of which the chain is computed anew
TO_SEAL = 20_000  # entries, those of two days
BYTES = Goal(most=8)
_PAIRINGS = "SELECT patient_id, client_id, pairing_id FROM pairing ORDER BY patient_id"
_FRESH = """
INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail)
SELECT patient_id, $2::bigint + n, $3, client_id, pairing_id, $4::jsonb
  FROM pairing, generate_series(1, $1::integer) AS n"""
_SIZE = """
SELECT sum(coalesce(parts, pg_total_relation_size(name::regclass)))::bigint
  FROM unnest($1::text[]) AS name,
       LATERAL (SELECT sum(pg_total_relation_size(relid)) AS parts FROM pg_partition_tree(name::regclass)) AS t"""
PACKED, SEALS = ("audit_packed", "audit_word", "audit_pack"), ("audit_seal",)


@dataclass(frozen=True)
class Behind:
    """A population with a trail behind it; steps ask for a patient's page of accesses."""

    one: Population
    jobs: asyncpg.Pool  # for work that nobody waits for, as in a worker
    made: Made
    page: Step  # of patients whose last day fills it
    usual: Step  # of others
    old: Step  # of others, half of the trail further back

    def load(self, name: str) -> Sequence[Step]:
        """Clients of a page, or of admissions (`read`)."""
        steps = {"page": self.page, "usual": self.usual, "old": self.old, "read": self.one.turns(read)}
        return [steps[name]] * CLIENTS


async def run(running: Recorder, folder: Path, rounds: int, duration: float) -> list[Figure]:
    """Medians in this process, and processor time of the database, in turns with a year and with a day."""
    async with AsyncExitStack() as stack:
        day = await stack.enter_async_context(behind(running, folder / "day", 1))
        year = await stack.enter_async_context(behind(running, folder / "year", DAYS))
        stored = [await year.one.pool.fetchval(_SIZE, names) for names in (PACKED, SEALS)]
        trails = {"year": year, "day": day}
        verified = [[await _verified(one, 1) for one in trails.values()] for _ in range(rounds)]
        month = await _verified(year, MONTH)
        loads = {f"{name}@{kind}": one.load(name) for name in ("page", "read") for kind, one in trails.items()}
        loads |= {f"{name}@year": year.load(name) for name in ("usual", "old")}
        seen = await in_turns(loads, await processes_of(day.one), rounds, duration)
        sealed = [[await _sealed(one) for one in trails.values()] for _ in range(rounds)]
        packed = [await _packed(one) for one in trails.values()]
    return [
        *pages_and_admission(seen),
        _against_day("audit_seal", f"audit trail: to seal an entry, {TO_SEAL:,} at once", sealed),
        _against_day("audit_pack", f"audit trail: to pack an entry of a day of {rounds * TO_SEAL:,}", [packed]),
        _against_day("audit_verify", "audit trail: to verify an entry of the last day, from its first seal", verified),
        Figure("audit_verify_month", f"audit trail: to verify an entry of the last {MONTH} days", month, "us"),
        Figure(
            "audit_bytes_entry",
            f"audit trail: an entry of {DAYS} days of {PATIENTS} pairings, packed",
            stored[0] / year.made.entries,
            "bytes",
            target=BYTES,
        ),
        Figure("audit_bytes_seals", "audit trail: the seals of a day, one a minute", stored[1] / DAYS, "bytes"),
    ]


def pages_and_admission(seen: Mapping[str, Seen]) -> list[Figure]:
    """With a year and with a day; `seen` by what was asked for and behind which trail."""
    page, usual, old = seen["page@year"], seen["usual@year"], seen["old@year"]
    text, long = "page of 500 accesses", "a year of the audit trail against a day"
    return [
        *_compared("audit_page", f"{text}: {long}", page, seen["page@day"]),
        *_compared("audit_admission", f"Observation read: {long}", seen["read@year"], seen["read@day"]),
        against("audit_page_days", f"{text}: those of five days against one", "ms", usual.p50_ms, page.p50_ms),
        against("audit_page_old", f"{text}: half a year back against the newest", "ms", old.p50_ms, usual.p50_ms, FLAT),
    ]


def _compared(name: str, text: str, year: Seen, day: Seen) -> list[Figure]:
    """Median, and processor time of the database and of this process."""
    own = against(f"{name}_cpu", f"{text}, CPU of the recorder", "us", year.worker_us, day.worker_us, FLAT)
    return [*compared(name, text, year, day), own]


def _against_day(name: str, text: str, rounds: Sequence[Sequence[float]]) -> Figure:
    """Microseconds with a year and with a day."""
    year, day = zip(*rounds, strict=True)
    return against(name, f"{text}: a year of the trail against a day", "us", year, day, FLAT)


@asynccontextmanager
async def behind(running: Recorder, folder: Path, days: int, patients: int = PATIENTS) -> AsyncIterator[Behind]:
    """Patients, one pairing each, with a trail that ends yesterday."""
    free = entries_of(patients, days) + LOOKED * (OFTEN - POLLS)
    async with (
        population(running, folder, patients, free) as one,
        await open_pool(one.core.settings, BACKGROUND) as jobs,
    ):
        often, others = one.patient_ids[:LOOKED], one.patient_ids[LOOKED : 2 * LOOKED]
        found = [Pairing(*row) for row in await one.pool.fetch(_PAIRINGS)]
        pairings = [each._replace(polls=OFTEN) if each.patient_id in often else each for each in found]
        made = await write(one.pool, pairings, today() - days, days)
        await one.pool.execute("VACUUM ANALYZE audit_packed, audit_word, audit_seal, audit_pack")
        places = [await _place(one, patient_id, made.entries // 2) for patient_id in others]
        yield Behind(
            one,
            jobs,
            made,
            await _pages(one, often, [""] * LOOKED),
            await _pages(one, others, [""] * LOOKED),
            await _pages(one, others, [f"?before={place}" for place in places]),
        )


async def _pages(one: Population, patient_ids: Sequence[UUID], queries: Sequence[str]) -> Step:
    """A step that asks for the page of one patient after the other, each logged in."""
    now_ms = one.core.clock()
    cookies = [await open_session(one.pool, Session(patient, "patient"), now_ms) for patient in patient_ids]
    turns = cycle(zip(cookies, queries, strict=True))

    async def step() -> int:
        cookie, query = next(turns)
        fields = {"cookie": f"{COOKIE}={cookie}", "accept": "text/html"}
        return len(await ask(one.apps["public"], "GET", f"/me/access{query}", fields))

    return step


async def _place(one: Population, patient_id: UUID, before_no: int) -> str:
    """Of the patient's last entry below a number, as a page names it."""
    (row,) = await before(one.pool, patient_id, before_no, 1)
    return one.core.ids.encode(Kind.AUDIT, row["audit_no"], row["day"])


async def _verified(one: Behind, days: int) -> float:
    """Microseconds for an entry of the last days, from their first seal on."""
    begun = time.perf_counter()
    found = await verify(one.jobs, from_seal=one.made.first_seals[-days])
    if found.faults:
        raise RuntimeError(found.faults[0])
    return (time.perf_counter() - begun) / found.entries * 1e6


async def _sealed(one: Behind) -> float:
    """Microseconds for an entry of today that is sealed; what was not sealed before is left out of the count."""
    pool = one.jobs
    await seal(pool, one.one.core.clock())
    await pool.execute(_FRESH, TO_SEAL // PATIENTS, one.one.core.clock() - TO_SEAL, EVENT, DETAIL)
    begun = time.perf_counter()
    await seal(pool, one.one.core.clock())
    return (time.perf_counter() - begun) / TO_SEAL * 1e6


async def _packed(one: Behind) -> float:
    """Microseconds for an entry of today, as if the day were over."""
    pool, begun = one.jobs, time.perf_counter()
    await pack_some(pool, (today() + 1) * DAY_MS + HOUR_MS)
    seconds = time.perf_counter() - begun
    return seconds / int(await pool.fetchval("SELECT entries FROM audit_pack ORDER BY pack_no DESC LIMIT 1")) * 1e6
