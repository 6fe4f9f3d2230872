"""Packed days of the request log give the same lines and the same proof in fewer bytes, whatever happens."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from base64 import b64decode
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from ddr.http.core import Core
from ddr.operations import housekeeping
from ddr.operations.request_log import sealing
from ddr.operations.request_log.chain import IN_COLUMNS, IN_LINES, Seal
from ddr.operations.request_log.days import LATE_MS, pack_some, packed
from ddr.operations.request_log.export import Filters, export, matching
from ddr.operations.request_log.packing import Learning, Words
from ddr.operations.request_log.verifying import findings, verify_chain, verify_file
from ddr.settings import Settings
from ddr.store.audit import request_log_packs as packs
from ddr.store.audit import request_log_seals as store
from ddr.store.audit.request_log import Batch, add, add_late
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Row
from tests.support.audit import DAY_MS
from tests.support.day import today
from tests.support.request_log import ANSWERS, CLIENTS, Log, Pen, as_date, seal_lines, some_lines
from tests.support.touched import touched
from tests.support.waiting import waiting


def tomorrow_ms() -> int:
    """A time on the day after the test, when this day may be packed."""
    return (today() + 1) * DAY_MS + LATE_MS


@pytest.fixture
def log(settings: Settings, own_pool: asyncpg.Pool) -> Log:
    return Log(own_pool, settings, Pen(), uuid4())


def some_filters(count: int) -> list[Filters]:
    """Filters, each with one to three conditions, most of which match some records."""
    chance, lines = random.Random(7), [orjson.loads(line) for line in some_lines(today() - 2, 40)]
    found = []
    for _ in range(count):
        one, since_ms = chance.choice(lines), (today() - 3) * DAY_MS + chance.randrange(3 * DAY_MS)
        wanted = {
            "since_ms": since_ms,
            "until_ms": since_ms + chance.randrange(2 * DAY_MS),
            "client": chance.choice(CLIENTS) or "nobody",
            "pairing": one["pairing_id"] or "p",
            "endpoint": chance.choice(ANSWERS)[1],
            "status": one["status"] or 200,
            "transaction": one["transaction_id"],
        }
        found.append(Filters(**{name: wanted[name] for name in chance.sample(sorted(wanted), chance.randint(1, 3))}))
    return found


async def test_what_comes_after_it_is_sealed_is_sealed_once(log: Log) -> None:
    """A worker gives a statement up and stores its batch from a file; in the end the database receives both."""
    lines = some_lines(today(), 6)
    late, other = (Batch(log.run, number, b"\n".join(part)) for number, part in ((1, lines[:3]), (2, lines[3:])))
    await seal_lines(log.pool, log.pen, log.settings, log.run, 1, lines[:3], today() * DAY_MS)
    await add(log.pool, late)
    assert await sealing.seal(log.pool, log.pen, log.settings, (today() + 1) * DAY_MS) == 0
    await add(log.pool, late)
    await add(log.pool, other)
    assert await sealing.seal(log.pool, log.pen, log.settings, (today() + 1) * DAY_MS) == 1
    assert await log.pool.fetch("SELECT FROM request_log_fresh") == []
    (handed_out,), proof = await log.exported()
    assert (sorted(handed_out[:-1]), proof.faults) == (sorted(lines), [])


async def test_what_comes_while_it_is_sealed_waits_for_the_next_seal(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load records always arrive: sealing never ended, with a seal for every few records."""
    lines, add_seal = some_lines(today(), 5), store.add_seal

    async def add_one() -> None:
        if lines:
            await add(log.pool, Batch(log.run, len(lines), lines.pop()))

    async def and_meanwhile(conn: asyncpg.Connection, row: Row) -> None:
        await add_seal(conn, row)
        await add_one()

    monkeypatch.setattr(store, "add_seal", and_meanwhile)
    await add_one()
    for left in (3, 2):
        assert await sealing.seal(log.pool, log.pen, log.settings, today() * DAY_MS) == 1
        assert (len(lines), await store.waiting(log.pool)) == (left, 1)


async def test_what_is_stored_late_and_waits_for_its_seal_is_not_missing(log: Log) -> None:
    """After an outage, records from a file are stored behind those that were sealed meanwhile."""
    run, lines = uuid4(), some_lines(today(), 4)
    for number in (1, 4):
        await add(log.pool, Batch(run, number, lines[number - 1]))
    await sealing.seal(log.pool, log.pen, log.settings, today() * DAY_MS)
    await add_late(log.pool, [Batch(run, 2, lines[1])])
    proof = await verify_chain(log.pool)
    assert proof.faults == [f"records of worker {str(run)[:8]} are missing (batch 3 to 3)"]
    assert proof.unsealed == 1
    await add_late(log.pool, [Batch(run, 3, lines[2])])
    assert (await verify_chain(log.pool)).faults == []
    await sealing.seal(log.pool, log.pen, log.settings, today() * DAY_MS)
    proof = await verify_chain(log.pool)
    assert (proof.faults, proof.entries, proof.unsealed) == ([], 4, 0)


async def test_no_plan_goes_through_all_days_for_each_of_them(log: Log) -> None:
    """After nine years there are 3,000 days, and the newest seal is queried every minute."""
    plans = []
    for first, last in ((0, 20), (20, 120)):
        for days in range(first, last):
            await log.pool.execute("SELECT request_log_open($1)", as_date(today() - days))
        found = []
        async with log.pool.acquire() as conn:
            for name in ("_NUMBERS", "_NEWEST"):
                found += await conn.fetch(f"EXPLAIN {getattr(store, name)}")
        plans.append(len(found))
    assert plans[0] == plans[1]


async def test_rows_that_wait_for_a_seal_are_not_held_one_by_one(log: Log) -> None:
    """After days without housekeeping there are millions."""
    peaks = []
    for first, last in ((1, 1000), (1001, 50_000)):
        await log.pool.execute(
            "INSERT INTO request_log_fresh (run, batch_no, records) SELECT $1, n, ''"
            " FROM generate_series($2::integer, $3) n",
            log.run,
            first,
            last,
        )
        tracemalloc.start()
        assert (await verify_chain(log.pool)).unsealed == last
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


async def test_rows_of_a_former_version_are_sealed_with_ours(log: Log) -> None:
    lines = some_lines(today(), 6)
    former = "INSERT INTO request_log_fresh (run, batch_no, records) VALUES ($1, 1, $2)"
    await log.pool.execute(former, log.run, b"\n".join(lines[:3]))
    await seal_lines(log.pool, log.pen, log.settings, log.run, 2, lines[3:], (today() + 1) * DAY_MS)
    (handed_out,), proof = await log.exported()
    assert (sorted(handed_out[:-1]), proof.faults, proof.entries) == (sorted(lines), [], 6)


async def test_records_of_a_version_with_other_attributes_are_not_damaged(log: Log) -> None:
    """Both versions serve and seal while one replaces the other."""
    record = orjson.loads(some_lines(today(), 1)[0])
    line = orjson.dumps({"more": 1, **{name: value for name, value in record.items() if name != "interface_id"}})
    await seal_lines(log.pool, log.pen, log.settings, log.run, 1, [line], (today() + 1) * DAY_MS)
    (handed_out,), proof = await log.exported()
    assert (handed_out[:-1], proof.faults) == ([line], [])


DAMAGES = {
    "bytes of the middle": "overlay(records placing '\\x00ff00ff' from 40)",
    "its end": "substr(records, 1, length(records) - 20)",
    "something behind it": "records || '\\x00'",
    "all of it": "''",
    "no record": "'[1]'",
    "of no time": """convert_to('{"timestamp": "today"}', 'UTF8')""",
    "without the other attributes": """convert_to('{"timestamp": "2026-12-01T00:00:00Z"}', 'UTF8')""",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
async def test_a_damaged_row_is_sealed_as_it_is_and_holds_up_no_other(
    log: Log, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = some_lines(today() - 1, 9)
    for number in range(3):
        await add(log.pool, Batch(log.run, number + 1, b"\n".join(lines[number * 3 : number * 3 + 3])))
    await log.tamper(f"UPDATE request_log_fresh SET records = {damage} WHERE batch_no = 2")
    stored = await log.pool.fetchval("SELECT records FROM request_log_fresh WHERE batch_no = 2")
    for pack in (False, True):
        assert await sealing.seal(log.pool, log.pen, log.settings, (today() - 1) * DAY_MS) == (not pack)
        assert await pack_some(log.pool, tomorrow_ms() - DAY_MS if pack else 0) == pack
        (handed_out,), proof = await log.exported()
        (held,) = [one for one in map(orjson.loads, handed_out[:-1]) if one["error_code"] == "record-damaged"]
        assert b64decode(held["stored"]) == stored
        assert held["transaction_id"] == f"{log.run}-2"
        assert {*lines[:3], *lines[6:]} < {*handed_out}
        assert proof.faults == ["1 of the records under seal 1 were damaged before they were sealed"]
    assert [vars(one)["count"] for one in caplog.records if one.msg == "request_log.damaged"] == [1]


async def test_a_seal_holds_so_many_bytes_of_lines_however_small_they_are_stored(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_BYTES", 20_000)
    lines = [b'{"timestamp":"2026-01-01T00:00:00.000+00:00","same":"%s"}' % (b"x" * 7000)] * 6
    for number, line in enumerate(lines):
        await add(log.pool, Batch(log.run, number + 1, line))
    assert await sealing.seal(log.pool, log.pen, log.settings, (today() + 1) * DAY_MS) == 2
    assert (await verify_chain(log.pool)).entries == 6


@pytest.mark.requirement("OPS-023", "OPS-024")
async def test_what_is_packed_is_handed_out_and_proven_as_before(log: Log) -> None:
    for day in (today() - 3, today() - 2, today() - 1, today()):
        await log.write(day, 60, 1, 40)
    filters = [Filters(), *some_filters(15)]
    file, (before, proof) = await log.export(filters[1]), await log.exported(*filters)
    assert (proof.faults, proof.seals, proof.entries) == ([], 12, 404)
    assert len({len(lines) for lines in before}) > 5
    assert await pack_some(log.pool, today() * DAY_MS + LATE_MS - 1) == 2, "yesterday may still get seals"
    assert await pack_some(log.pool, today() * DAY_MS + LATE_MS) == 1
    assert await log.forms() == {IN_COLUMNS: 9, IN_LINES: 3}
    assert await log.exported(*filters) == (before, proof)
    assert (await verify_file(log.pool, file)).faults == []
    assert (await verify_file(log.pool, file, "1:other")).faults == ["the chain has no seal 1:other"]
    changed = file.replace(b'"status":', b'"status":1', 1)
    assert any("was changed" in fault for fault in (await verify_file(log.pool, changed)).faults)
    assert await pack_some(log.pool, today() * DAY_MS + LATE_MS) == 0
    assert await log.pool.fetchval("SELECT count(*) FROM pg_tables WHERE tablename ~ '^request_log_packed_'") == 0


async def test_packing_goes_on_where_it_stopped_while_others_write_and_read(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "STEP", 2)
    await log.write(today() - 1, *[7] * 15)
    before, rounds, finished = (await log.exported())[0][0][:-1], 0, 0
    real = packs.add

    async def add(*arguments: Any) -> bool:
        nonlocal rounds
        rounds += 1
        if rounds % 3 == 1:
            raise ConnectionError("the database went away")
        return await real(*arguments)

    monkeypatch.setattr(packs, "add", add)
    while not finished:
        try:
            finished, _ = await asyncio.gather(
                pack_some(log.pool, tomorrow_ms() - DAY_MS, 0.001), log.write(today(), 1)
            )
        except ConnectionError:
            continue
        finally:
            found, proof = await log.exported()
            assert (found[0][: len(before)], proof.faults) == (before, [])
    assert rounds > 8
    assert (await log.forms())[IN_COLUMNS] == 15


async def test_two_that_pack_the_same_day_do_it_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was thought dead continues: its words would have other numbers."""
    monkeypatch.setattr(packs, "STEP", 1)
    await log.write(today() - 1, *[9] * 8)
    before = await log.exported()
    done = [0, 0]
    while sum(done) == 0:
        done = await asyncio.gather(*(pack_some(log.pool, tomorrow_ms() - DAY_MS) for _ in range(2)))
    assert await log.exported() == before
    assert await log.forms() == {IN_COLUMNS: 8}


async def test_seals_that_come_when_the_day_is_packed_change_nothing(log: Log) -> None:
    """Also seals of a worker that was thought dead."""
    await log.write(today() - 1, 4, 4)
    day = as_date(today() - 1)
    assert await packs.begin(log.pool, day)
    learning = Learning([])
    seals = [packed(row, learning) for row in await packs.unpacked(log.pool, day)]
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 1
    before = await log.exported()
    assert await packs.add(log.pool, seals, learning.learnt()) is False
    assert await log.exported() == before


async def test_who_finishes_a_day_a_moment_after_another_worker_gives_way(log: Log, own_url: str) -> None:
    """Its session only learns with its next lock that the tables have changed."""
    await log.write(today() - 1, 4, 4)
    before, day = await log.exported(), as_date(today() - 1)
    assert await packs.begin(log.pool, day)
    assert await packs.add(log.pool, await packs.unpacked(log.pool, day), None)
    async with log.pool.acquire() as other, asyncpg.create_pool(own_url, min_size=1, max_size=1) as late:
        assert not await packs.finish(late, as_date(0), tomorrow_ms())
        await late.fetchval("SELECT to_regclass($1)", f"request_log_packed_{day:%Y%m%d}")
        await late.fetchval("SELECT to_regclass($1)", f"request_log_seal_{day:%Y%m%d}")
        async with other.transaction():
            await store.lock(other)
            finishing = asyncio.create_task(packs.finish(late, day, tomorrow_ms()))
            while not await waiting(log.pool):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            assert await other.fetchval("SELECT request_log_pack_close($1, $2)", day, tomorrow_ms())
        assert await finishing is False
    assert await log.exported() == before


async def test_a_day_that_somebody_reads_or_that_gets_a_late_seal_is_finished_later(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.write(today() - 1, 5, 5)
    async with log.pool.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE request_log_seal IN ACCESS SHARE MODE")
        assert await pack_some(log.pool, tomorrow_ms()) == 0
        await log.write(today() - 1, 3)  # does not have to wait; dated by a clock that is late
        assert (await verify_chain(log.pool)).faults == []
    assert await packs.finish(log.pool, as_date(today() - 1), tomorrow_ms()) is False, "one seal is missing"
    assert await log.forms() == {IN_LINES: 3}
    assert await pack_some(log.pool, today() * DAY_MS + LATE_MS) == 1
    await log.write(today() - 1, 2)
    assert await log.forms() == {IN_COLUMNS: 3, IN_LINES: 1}
    assert (await verify_chain(log.pool)).entries == 15
    assert (await log.exported())[1].faults == []


async def test_of_many_batches_that_come_late_those_that_are_not_sealed_are_stored_in_one_look(log: Log) -> None:
    """After a long outage there are thousands, with ten thousands of seals: one query for each would never end."""
    await log.write(today(), *[1] * 30)
    late = [Batch(run, number, b"%d" % number) for run in (log.run, uuid4()) for number in range(21, 61)]
    async with touched(log.pool, f"request_log_seal_{as_date(today()):%Y%m%d}") as work:
        await add_late(log.pool, [*late, late[-1]])
    assert 30 <= work.fetched <= 60
    async with log.pool.acquire() as connection:
        stored = set(await store.fresh(connection, 100))
    assert stored == {one for one in late if one.run != log.run or one.batch_no > 30}


async def test_a_dump_that_lasts_over_midnight_holds_up_no_seal(log: Log, core: Core) -> None:
    """Whoever creates the table of a day waits until nobody reads the log."""
    open_days = housekeeping.steps(replace(core, pool=log.pool), core.clock())["request-log-days"]
    dump = "LOCK TABLE request_log_seal IN ACCESS SHARE MODE"
    await log.write(today() - 1, 3)
    async with log.pool.acquire() as backup, backup.transaction():
        await backup.execute(dump)
        await open_days()
    await open_days()
    async with log.pool.acquire() as backup, backup.transaction():
        await backup.execute(dump)
        await open_days()
        await log.write(today(), 3)
        await log.write(today() + 1, 3)
    proof = await verify_chain(log.pool)
    assert (proof.faults, proof.entries) == ([], 9)
    over_ms = (today() + 4) * DAY_MS + LATE_MS
    assert await pack_some(log.pool, over_ms) == 5, "days on which nothing was sealed among them"
    assert await log.forms() == {IN_COLUMNS: 3}
    assert (await verify_chain(log.pool)).head == proof.head


async def test_a_filtered_export_of_packed_days_makes_few_lines_of_others(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives the same bytes as looking at every line."""
    for day in (today() - 2, today() - 1):
        await log.write(day, *[2] * 40)
    everything = (await log.exported())[0][0][:-1]
    wanted = orjson.loads(next(line for line in everything if b'":' in line and b'": ' not in line))
    filters = Filters(transaction=wanted["transaction_id"])
    before = await log.exported(filters)
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 2
    read: list[int] = []
    real = Seal.lines

    def lines(seal: Seal, words: Words) -> list[bytes]:
        read.append(seal.seal_no)
        return real(seal, words)

    monkeypatch.setattr(Seal, "lines", lines)
    file = await log.export(filters)
    assert 0 < len(read) < 40, "of 80"
    monkeypatch.undo()
    assert await log.exported(filters) == before
    assert file.splitlines()[:-1] == [
        line for line in everything if orjson.loads(line)["transaction_id"] == wanted["transaction_id"]
    ]
    assert (await verify_file(log.pool, file)).faults == []
    one, other = [number for number in range(1, 41) if number not in read][:2]
    await log.tamper(
        "UPDATE request_log_seal s SET packed = o.packed FROM request_log_seal o"
        f" WHERE s.seal_no = {one} AND o.seal_no = {other}"
    )
    assert (await verify_file(log.pool, await log.export(filters))).faults == [f"the content of seal {one} is damaged"]


async def test_a_step_through_the_seals_reads_no_others(log: Log) -> None:
    """However many there are; seals of two days with interleaved numbers come in the order of the chain."""
    for day in (today() - 3, today() - 2, today() - 1):
        await log.write(day, *[1] * 30)
    await log.tamper(
        f"UPDATE request_log_seal SET day = '{as_date(today() - 1)}' WHERE seal_no = 58",
        "ANALYZE request_log_seal",
    )
    async with log.pool.acquire() as conn:
        assert [row["seal_no"] async for row in store.seals(conn)] == [*range(1, 91)]
        days = await store._days(conn)
        assert days == [[as_date(today() - 3)], [as_date(today() - 2), as_date(today() - 1)]]
        text = await conn.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {store.PAGE}", days[0], 5, None, None, store.STEP
        )
    read = [node for node in nodes(orjson.loads(text)[0]["Plan"]) if node.get("Relation Name")]
    assert sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in read) <= store.STEP


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The executed nodes of a plan."""
    below = [node for child in plan.get("Plans", ()) for node in nodes(child)]
    return [plan, *below] if plan["Actual Loops"] else below


TOUCHED = [
    ("UPDATE request_log_word SET body = '' WHERE part = 1", "the content of seal 1 is damaged"),
    ("DELETE FROM request_log_word", "the content of seal 2 is damaged"),
    ("UPDATE request_log_seal SET packed = substr(packed, 9) WHERE seal_no = 2", "the content of seal 2 is damaged"),
    (
        "UPDATE request_log_seal SET packed = overlay(packed PLACING 'x' FROM length(packed))",
        "the content of seal 1 is damaged",
    ),
    (
        "UPDATE request_log_seal s SET packed = o.packed FROM request_log_seal o WHERE s.seal_no + o.seal_no = 3",
        "the content of seal 2 is damaged",
    ),
    ("UPDATE request_log_seal SET form = 1 WHERE seal_no = 2", "the content of seal 2 is damaged"),
    ("UPDATE request_log_seal SET entries = 4 WHERE seal_no = 2", "seal 2 was changed"),
    ("UPDATE request_log_seal SET signature = 'x' WHERE seal_no = 2", "the signature of seal 2 is invalid"),
    ("DELETE FROM request_log_seal WHERE seal_no = 2", "seal 3 does not follow seal 1"),
]


@pytest.mark.parametrize("ahead_ms", [2_000, DAY_MS, 400 * DAY_MS])
async def test_a_clock_that_is_behind_breaks_no_chain(log: Log, ahead_ms: int) -> None:
    """For a moment at midnight between two hosts, or for long: numbers continue, and none precedes its predecessor."""
    midnight_ms = today() * DAY_MS
    clocks = (midnight_ms - 1000, midnight_ms - 1000 + ahead_ms, midnight_ms - 500, midnight_ms + 1500)
    for number, now_ms in enumerate(clocks):
        lines = some_lines(today(), 2)
        await seal_lines(log.pool, log.pen, log.settings, log.run, number + 1, lines, now_ms)
    ((*lines, _),), found = await log.exported()
    assert (len(lines), found.faults) == (8, [])
    days = [row["day"] for row in await log.pool.fetch("SELECT day FROM request_log_seal ORDER BY seal_no")]
    assert days == sorted(days) or ahead_ms > DAY_MS


async def test_what_was_touched_in_a_packed_day_is_found(log: Log) -> None:
    await log.write(today() - 2, 5, 5)
    await log.write(today() - 1, 5)
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 2
    for statement, fault in TOUCHED:
        async with log.pool.acquire() as conn:
            change = conn.transaction()
            await change.start()
            assert (await findings(conn)).faults == []
            await conn.execute("SET LOCAL session_replication_role = replica")
            await conn.execute(statement)
            seen = (await findings(conn)).faults
            if "holds" in fault:  # and is not exported
                with pytest.raises(ValueError, match="is damaged"):
                    _ = [line async for line in matching(conn, Filters(), 3)]
            await change.rollback()
        assert fault in seen, (statement, seen)


async def test_lines_that_were_touched_before_stay_as_they_are(log: Log) -> None:
    """They are evidence, and the rest of the day is packed all the same."""
    await log.write(today() - 1, 5, 5, 5)
    another = "(SELECT packed FROM request_log_seal WHERE seal_no = 3)"
    await log.tamper(
        "UPDATE request_log_seal SET packed = 'x' WHERE seal_no = 1",
        f"UPDATE request_log_seal SET packed = {another} WHERE seal_no = 2",
    )
    before = (await verify_chain(log.pool)).faults
    assert before == ["the content of seal 1 is damaged", "the records under seal 2 were changed"]
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 1
    assert await log.forms() == {IN_LINES: 2, IN_COLUMNS: 1}
    assert (await verify_chain(log.pool)).faults == before


@pytest.mark.parametrize(
    "damage", ["UPDATE request_log_word SET body = ''", "DELETE FROM request_log_word WHERE part = 1"]
)
async def test_a_half_packed_day_whose_words_are_damaged_is_packed_anew_and_holds_up_no_other(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    monkeypatch.setattr(packs, "STEP", 1)
    for day in (today() - 2, today() - 1):
        await log.write(day, *[9] * 5)
    before, named = await log.exported(), as_date(today() - 2).isoformat()
    for _ in range(2):
        assert await pack_some(log.pool, tomorrow_ms() - DAY_MS, 0.001) == 0
    assert not await packs.begin_anew(log.pool, as_date(today() - 1)), "was not begun"
    await log.tamper(damage)
    async with log.pool.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE request_log_word IN ACCESS SHARE MODE")
        assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 0
        assert await log.exported() == before
    assert [await pack_some(log.pool, tomorrow_ms() - DAY_MS) for _ in range(2)] == [0, 2]
    assert [vars(one)["day"] for one in caplog.records if one.msg == "request_log.words_damaged"] == [named] * 2
    assert (await log.exported(), await log.forms()) == (before, {IN_COLUMNS: 10})
    await log.tamper(damage)
    assert not await packs.begin_anew(log.pool, as_date(today() - 2)), "only its words tell what the seals hold"


async def test_the_database_refuses_changes(log: Log) -> None:
    await log.write(today() - 2, 3)
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 1
    await packs.begin(log.pool, as_date(today() - 1))
    await log.write(today() - 1, 3)
    other = (
        "INSERT INTO request_log_packed SELECT (s).* FROM (SELECT s FROM request_log_seal s WHERE seal_no = 2) AS one"
    )
    await log.pool.execute(other)
    await log.tamper("UPDATE request_log_packed SET entries = 2")
    assert await packs.finish(log.pool, as_date(today() - 1), tomorrow_ms()) is False, "is not the same seal"
    tables = await log.pool.fetch(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
        " WHERE c.relkind = 'r' AND c.relname ~ '^request_log_'"
    )
    names = [row["relname"] for row in tables]
    parents = {"request_log_seal", "request_log_packed", "request_log_word"}
    assert {name.rstrip("_0123456789") for name in names} == parents
    for name in (*parents, *names):
        statements = [f"TRUNCATE {name}"]
        if await log.pool.fetchval(f"SELECT count(*) FROM {name}"):
            statements += [f"UPDATE {name} SET day = day", f"DELETE FROM {name}"]
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await log.pool.execute(statement)


async def test_a_packed_day_goes_when_its_time_is_over(log: Log) -> None:
    """With its words, and with what was packed of an unfinished day; not while somebody reads."""
    for day in (today() - 40, today() - 33, today() - 29):
        await log.write(day, 4, 4)
    assert await pack_some(log.pool, (today() - 33) * DAY_MS + LATE_MS) == 1
    await packs.begin(log.pool, as_date(today() - 33))
    async with log.pool.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE request_log_seal IN ACCESS SHARE MODE")
        assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 0
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 2
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 0
    proof = await verify_chain(log.pool)
    assert (proof.faults, proof.seals, proof.entries) == ([], 2, 8)
    assert await pack_some(log.pool, today() * DAY_MS) == 1
    left = await log.pool.fetch(
        "SELECT tablename FROM pg_tables WHERE tablename ~ '^request_log_.*[0-9]{8}$' ORDER BY 1"
    )
    kept = as_date(today() - 29).strftime("%Y%m%d")
    assert [row["tablename"] for row in left] == [f"request_log_seal_{kept}", f"request_log_word_{kept}"]
    assert [row["day"] for row in await log.pool.fetch("SELECT day FROM request_log_pack")] == [as_date(today() - 29)]


async def test_the_head_stays_when_all_days_are_gone(log: Log) -> None:
    """As on a recorder that got no requests for longer than the log is kept."""
    await log.write(today() - 40, 4)
    former = (await verify_chain(log.pool)).head
    await log.write(today() - 33, 4)
    head = (await verify_chain(log.pool)).head
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 2
    proof = await verify_chain(log.pool, head)
    assert (proof.faults, proof.seals, proof.head) == ([], 0, head)
    assert (await verify_chain(log.pool, former)).faults == [f"the chain has no seal {former}"]


@pytest.mark.parametrize("said", ["sealed_ms, sealed_ms + 2678400000", "sealed_ms - 2678400000, sealed_ms"])
async def test_what_is_said_to_have_been_dropped_and_is_too_young_is_found(log: Log, said: str) -> None:
    """A seal's own signature covers its time; nothing covers what is noted beside it."""
    await log.write(today() - 1, 4, 4)
    assert (await verify_chain(log.pool)).faults == []
    await log.tamper(
        "INSERT INTO request_log_dropped (seal_no, chain, signature, sealed_ms, dropped_ms)"
        f" SELECT seal_no, chain, signature, {said} FROM request_log_seal WHERE seal_no = 2",
        "DELETE FROM request_log_seal",
    )
    assert (await verify_chain(log.pool)).faults == ["seals up to 2 were dropped before 30 days had passed"]


async def test_a_worker_of_the_version_before_seals_and_drops_as_it_did(log: Log) -> None:
    """Its statements, as they were before days were packed."""
    for day in (today() - 40, today() - 1):
        await log.write(day, 4)
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 2
    former = dict((await log.pool.fetch("SELECT * FROM request_log_seal ORDER BY seal_no"))[-1])
    newest = await log.pool.fetchval("SELECT seal_no FROM request_log_seal ORDER BY day DESC, seal_no DESC LIMIT 1")
    assert newest == 2, "the chain goes on from there"
    names = [name for name in former if name != "form"]
    await log.pool.execute("SELECT request_log_open($1)", as_date(today() - 1))
    await log.pool.execute(
        f"INSERT INTO request_log_seal ({', '.join(names)})"
        f" VALUES ({', '.join(f'${number + 1}' for number in range(len(names)))})",
        *({**former, "seal_no": 3, "packed": b"lines"}[name] for name in names),
    )
    assert await log.pool.fetchval("SELECT form FROM request_log_seal WHERE seal_no = 3") == IN_LINES
    assert await log.pool.fetchval("SELECT request_log_drop($1)", as_date(today() - 30)) == 1


@pytest.mark.parametrize("avoided", ["nestloop", "hashjoin", "mergejoin", "indexscan", "nestloop, hashjoin"])
async def test_days_are_found_by_whatever_plan(log: Log, avoided: str) -> None:
    """A plan may read the names of all tables before it checks which of them are days of the log."""
    for day in (today() - 40, today() - 2):
        await log.write(day, 4)
    database = await log.pool.fetchval("SELECT current_database()")
    for method in avoided.split(", "):
        await log.pool.execute(f"ALTER DATABASE {database} SET enable_{method} = off")
    await log.pool.execute(f"ALTER DATABASE {database} SET enable_indexonlyscan = off")
    await log.pool.execute("ANALYZE pg_class, pg_inherits")
    await log.pool.expire_connections()
    assert await log.pool.fetchval("SELECT request_log_drop($1)", as_date(today() - 50)) == 0  # the previous version
    assert await pack_some(log.pool, tomorrow_ms()) == 2
    assert await packs.due(log.pool, as_date(today() + 1)) is None
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) == 1
    assert (await verify_chain(log.pool)).faults == []


@pytest.mark.parametrize("part", [1, 2])
async def test_words_of_which_a_part_is_gone_are_not_taken_for_others(
    log: Log, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Lines are not skipped because of such words either, and nothing more is packed with them."""
    monkeypatch.setattr(packs, "STEP", 1)
    lines = [line for line in some_lines(today() - 1, 200) if b'": ' not in line]
    for number, client in enumerate(CLIENTS):
        own = [line for line in lines if orjson.loads(line)["client_id"] == client]
        now_ms = (today() - 1) * DAY_MS + number
        await seal_lines(log.pool, log.pen, log.settings, log.run, number + 1, own, now_ms)
    assert await pack_some(log.pool, tomorrow_ms() - DAY_MS) == 1
    assert await log.pool.fetchval("SELECT count(*) FROM request_log_word") == 3
    assert len((await log.export(Filters(client=CLIENTS[part - 1]))).splitlines()) > 2
    await log.tamper(f"DELETE FROM request_log_word WHERE part = {part}")
    with pytest.raises(ValueError, match="is damaged"):
        await log.export(Filters(client=CLIENTS[part - 1]))
    words = await packs.words(log.pool, as_date(today() - 1))
    assert len(words) == 3 and Words(words).damaged
    with pytest.raises(ValueError, match="words of the request log are damaged"):
        Learning(words)


async def test_an_export_of_which_days_are_dropped_meanwhile_has_no_manifest(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest would claim that the export is complete. An export of later days has one."""
    monkeypatch.setattr(store, "STEP", 1)
    for day in (today() - 33, today() - 32, today() - 31, today() - 1):
        await log.write(day, 4, 4)
    early, late = (
        export(log.pool, log.pool, log.pen, Filters(since_ms=since_ms), today() * DAY_MS)
        for since_ms in (None, (today() - 2) * DAY_MS)
    )
    given = [await anext(lines) for lines in (early, late)]
    assert await sealing.drop(log.pool, 30, today() * DAY_MS) > 0
    with pytest.raises(ChangedMeanwhile):
        given += [line async for line in early]
    assert not any(b'"manifest"' in line for line in given)
    given += [line async for line in late]
    assert b'"manifest"' in given[-1]
