"""A clock that is wrong by days or years: no record is lost, the chains can be verified, and retention works."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations import audit_packing, housekeeping
from ddr.operations.audit_trail import purge
from ddr.operations.audit_verifying import verify
from ddr.operations.host_figures import host_figures
from ddr.operations.request_log import sealing
from ddr.operations.request_log.days import LATE_MS, pack_some
from ddr.operations.request_log.export import Filters
from ddr.operations.request_log.verifying import verify_chain, verify_file
from ddr.settings import Settings
from ddr.store.audit import packs, patients
from ddr.store.audit.packs import Pack
from ddr.store.audit.seals import Run
from ddr.store.database import clock
from tests.support.audit import DAY_MS, HOUR_MS, as_shown, pack_all, people, write_day
from tests.support.day import today
from tests.support.request_log import Log, Pen, as_date

FAR = 400  # days by which a clock is fast


@pytest.fixture
def pool(own_pool: asyncpg.Pool) -> asyncpg.Pool:
    """A database of its own: chains cover everything that is recorded."""
    return own_pool


@pytest.fixture
def log(settings: Settings, pool: asyncpg.Pool) -> Log:
    return Log(pool, settings, Pen(), uuid4())


async def last_looked_at(pool: asyncpg.Pool, at_ms: int) -> None:
    """Nobody can set the database's clock here, but the time that it showed at the last look."""
    await clock.look(pool)
    await pool.execute("UPDATE clock_seen SET at_ms = $1", at_ms)


async def days_left(log: Log) -> list[int]:
    """The days with seals, counted from today."""
    return sorted(
        (row["day"] - as_date(today())).days
        for row in await log.pool.fetch("SELECT DISTINCT day FROM request_log_seal")
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("off", [FAR, 10 * 365, -FAR])
async def test_the_request_log_goes_day_by_day_around_days_of_a_wrong_clock(log: Log, off: int, packed: bool) -> None:
    await log.write(today() - 41, 4)
    await log.write(today() - 40, 4, 4)
    for day in (today() - 40 + off, today() - 39 + off):
        await log.write(day, 4, 4)
    after = await log.export(Filters(since_ms=(today() - 20) * DAY_MS, until_ms=(today() + 1) * DAY_MS))
    ahead = await log.export(Filters(since_ms=(today() - 40 + off) * DAY_MS))
    for day in (today() - 38, today() - 37, today() - 20, today()):
        await log.write(day, 4, 4)
    await log.pool.execute("SELECT request_log_open($1)", as_date(today() - 50))  # a day without seals
    if packed:
        await pack_some(log.pool, (today() + 1) * DAY_MS + LATE_MS)
    whole = await verify_chain(log.pool)
    assert (whole.faults, whole.seals) == ([], 15)
    assert await sealing.drop(log.pool, 39, today() * DAY_MS) == 3, "and the day without seals"
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) > 0
    assert await days_left(log) == [-20, 0]
    proof = await verify_chain(log.pool)
    assert (proof.faults, proof.seals, proof.entries, proof.head) == ([], 4, 16, whole.head)
    assert (await verify_file(log.pool, after)).faults == []
    assert (await verify_file(log.pool, ahead)).faults == []
    await log.write(today(), 3)
    assert (await verify_chain(log.pool)).faults == []


async def test_a_seal_of_an_hour_ahead_puts_a_day_off_that_goes_on_behind_it(log: Log) -> None:
    """Numbers of two days are interleaved, as in logs of earlier versions: both days are deleted together."""
    for day in (today() - 33, today() - 32, today() - 31, today() - 1):
        await log.write(day, 4, 4)
    await log.tamper(f"UPDATE request_log_seal SET day = '{as_date(today() - 31)}' WHERE seal_no = 3")
    assert await sealing.drop(log.pool, 31, today() * DAY_MS) == 1, "the one before both"
    assert (await verify_chain(log.pool)).faults == []
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 2
    assert (await verify_chain(log.pool)).faults == []
    assert await days_left(log) == [-1]


async def test_while_a_clock_is_ahead_nothing_goes_that_would_not_have_gone(log: Log) -> None:
    """The clock of this test's database is treated as one that is a year fast: at once, and five days later."""
    begun = today() - 370
    for day in range(begun - 40, begun):
        await log.write(day, 1)
    await last_looked_at(log.pool, begun * DAY_MS)
    assert await clock.look(log.pool) // DAY_MS == 370
    for passed in (0, 5):
        gap = (begun * DAY_MS, (today() - passed) * DAY_MS)
        await log.pool.execute("UPDATE clock_gap SET from_ms = $1, until_ms = $2", *gap)
        assert await sealing.drop(log.pool, 30, today() * DAY_MS) == (passed or 10)
        assert (await verify_chain(log.pool)).faults == []
    assert len(await days_left(log)) == 25


async def test_a_clock_that_is_set_back_takes_back_what_it_jumped_over(pool: asyncpg.Pool) -> None:
    gap = "INSERT INTO clock_gap (from_ms, until_ms) SELECT at_ms + $1::bigint, at_ms + $2::bigint FROM clock_seen"
    later = "at_ms = at_ms + $1::bigint", "from_ms = from_ms + $1::bigint, until_ms = until_ms + $1::bigint"

    async def gaps() -> list[int]:
        rows = await pool.fetch("SELECT until_ms - from_ms AS gap_ms FROM clock_gap ORDER BY until_ms")
        return [row["gap_ms"] // DAY_MS for row in rows]

    assert await clock.look(pool) == 0
    # No recorder ran for a hundred days. Later the clock was 500 days fast, then 100 more, and ten days passed.
    for begun, ended in ((-300, -200), (-10, 490), (495, 595)):
        await pool.execute(gap, begun * DAY_MS, ended * DAY_MS)
    await pool.execute(f"UPDATE clock_seen SET {later[0]}", 530 * DAY_MS)
    assert await clock.look(pool) // DAY_MS == -530
    assert await gaps() == [100, 70], "it still is 70 days ahead"
    await pool.execute(f"UPDATE clock_seen SET {later[0]}", 70 * DAY_MS)
    await pool.execute(f"UPDATE clock_gap SET {later[1]} WHERE until_ms > $2", 70 * DAY_MS, (today() - 1) * DAY_MS)
    assert await clock.look(pool) // DAY_MS == -70
    assert await gaps() == [100]
    before_ms = (today() - 250) * DAY_MS
    assert await pool.fetchval("SELECT clock_counted($1)", before_ms) == before_ms - 100 * DAY_MS
    assert await pool.fetchval("SELECT clock_counted($1)", today() * DAY_MS) == today() * DAY_MS


async def test_a_clock_that_was_set_is_told_once(
    core: Core, pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    look = housekeeping.steps(replace(core, pool=pool), core.clock())["clock"]
    await look()
    for moved_ms, expected in (
        (8 * DAY_MS + 60_000, ("clock.leapt", 8 * 86_400)),
        (-7_200_000, ("clock.set_back", 7_200)),
    ):
        await pool.execute("UPDATE clock_seen SET at_ms = at_ms - $1::bigint", moved_ms)
        caplog.clear()
        for _ in range(3):
            await look()
        ((event, seconds),) = [(one.msg, vars(one)["seconds"]) for one in caplog.records if "clock." in one.msg]
        assert event == expected[0]
        assert abs(seconds - expected[1]) < 3_600


async def test_that_a_clock_was_set_is_told_for_a_day_whoever_noticed(core: Core, pool: asyncpg.Pool) -> None:
    async def figures() -> list[object]:
        found = await host_figures(replace(core, pool=pool))
        return [found["ddr_clock_moved_seconds"], found["ddr_clock_gap_seconds"]]

    assert await figures() == [0, 0]
    await clock.look(pool)
    for moved_ms in (8 * DAY_MS, -2 * HOUR_MS):
        await pool.execute("UPDATE clock_seen SET at_ms = at_ms - $1::bigint", moved_ms)
        await sealing.drop(pool, 30, today() * DAY_MS)
        assert await clock.look(pool) == 0
        assert await figures() == pytest.approx([moved_ms / 1000, 8 * DAY_MS / 1000], abs=60)
    await pool.execute("UPDATE clock_seen SET moved_at_ms = moved_at_ms - $1::bigint", DAY_MS)
    assert await figures() == pytest.approx([0, 8 * DAY_MS / 1000], abs=60)


@pytest.mark.parametrize("packed_while_ahead", [False, True])
@pytest.mark.parametrize("off", [3, FAR, 10 * 365])
async def test_the_trail_is_packed_shown_and_dropped_around_days_of_a_wrong_clock(
    pool: asyncpg.Pool, off: int, packed_while_ahead: bool
) -> None:
    who = people(3)
    await write_day(pool, today() - 100, who, 20)
    for day in (today() + off, today() + off + 1):
        await write_day(pool, day, who, 20)
    if packed_while_ahead:
        assert await audit_packing.pack_some(pool, (today() + off + 2) * DAY_MS + HOUR_MS, seconds=60) == 3
    else:
        assert [await pack_all(pool), await pack_all(pool)] == [1, 0], "nobody knows yet when those were made"
    for day in (today() - 99, today() - 98, today() - 60, today() - 1):
        await write_day(pool, day, who, 20)
    before, whole = await as_shown(pool, who), await verify(pool)
    assert [len(part) for part in before] == [140] * 3
    assert await pack_all(pool) == 4
    assert await pool.fetchval("SELECT count(*) FROM audit") == (40 if off == 3 else 0), "made ahead in any case"
    names = [row["name"] for row in await pool.fetch("SELECT name FROM audit_day")]
    assert len([name for name in names if name > f"audit_{as_date(today() + 5):%Y%m%d}"]) == 0
    assert await as_shown(pool, who) == before
    assert await verify(pool) == whole
    await pool.execute("INSERT INTO clock_gap VALUES ($1, $2)", (today() - 90) * DAY_MS, today() * DAY_MS)
    assert await purge(pool, 30, today() * DAY_MS) == 0, "the gap does not count"
    await pool.execute("DELETE FROM clock_gap")
    gone = await purge(pool, 30, today() * DAY_MS)
    assert gone == 120
    found = await verify(pool)
    assert (found.faults, found.head, found.entries) == ((), whole.head, 140 - gone)
    assert (await as_shown(pool, who))[0] == before[0][gone:]


async def test_a_patient_finds_each_entry_once_where_a_clock_jumped_before_there_were_tables(
    pool: asyncpg.Pool,
) -> None:
    """The tables of the days before are packed and gone; the first entries of the new day had no table."""
    person = people(1)[1]
    far = "INSERT INTO audit (patient_id, at_ms, event, hour) VALUES ($1, 0, 'x', $2)"
    await pool.execute("SELECT audit_open($1)", as_date(today() + 401))
    for day in (0, 400, 401):
        await pool.execute(far, person.patient_id, (today() + day) * 24)
    for name in [
        row["name"] for row in await pool.fetch("SELECT name FROM audit_day WHERE first_hour < $1", (today() + 9) * 24)
    ]:
        await pool.execute(f"ALTER TABLE audit DETACH PARTITION {name}")
        await pool.execute("DELETE FROM audit_day WHERE name = $1", name)
    assert [row["audit_no"] for row in await patients.before(pool, person.patient_id, patients.NEWEST, 9)] == [3, 2]


@pytest.mark.parametrize("ahead", [1, 20, 31, 32, 900])
def test_days_of_packs_go_on_behind_a_clock_that_was_ahead(ahead: int) -> None:
    """Until time has caught up, or with each month of seals in its own; no day precedes that of the pack before."""
    newest = Pack(1, 20_000 + ahead, 0, 0, 0, (20_000 + ahead) * DAY_MS, packed_ms=1)
    months: dict[int, set[int]] = {}
    for day in range(20_000, 20_400):
        made = audit_packing._day(Run(day, 0, 0, day * DAY_MS), newest)
        assert made >= max(newest.day, day)
        months.setdefault(packs.month_of(made), set()).add(packs.month_of(day))
        newest = Pack(1, made, 0, 0, 0, day * DAY_MS, packed_ms=1)
    assert max(map(len, months.values())) <= (3 if ahead < 62 else 1)
    assert (newest.day == 20_399) == (ahead < 62)
