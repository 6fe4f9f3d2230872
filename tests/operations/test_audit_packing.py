"""The packed audit trail is exported, shown and verified as before, and is as unchangeable as before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ddr.operations import audit_packing
from ddr.operations.audit_packing import pack_some
from ddr.operations.audit_reading import entries
from ddr.operations.audit_trail import purge, seal
from ddr.operations.audit_verifying import verify
from ddr.store.audit import days, packs, patients, seals
from ddr.store.audit.trail import Event, record
from tests.support.audit import ALL, DAY_MS, HOUR_MS, Person, as_shown, pack_all, people, write_day
from tests.support.day import today
from tests.support.full_disk import full_after
from tests.support.request_log import as_date
from tests.support.skew import fetched, in_passing
from tests.support.touched import touched
from tests.support.waiting import waiting

YEAR_0, YEAR_300000 = -62_150_000_000_000, 9_405_000_000_000_000


def tomorrow_ms() -> int:
    """A time on the day after the test, when this day may be packed."""
    return (today() + 1) * DAY_MS + HOUR_MS


@pytest.fixture
def trail(own_pool: asyncpg.Pool) -> asyncpg.Pool:
    """A database of its own: a chain covers the whole trail, including other tests' entries."""
    return own_pool


async def tamper(pool: asyncpg.Pool, *statements: str) -> None:
    """Changes that a database administrator could make."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await conn.execute(statement)


async def test_what_is_packed_is_handed_out_and_shown_as_before(trail: asyncpg.Pool) -> None:
    who = people(6)
    for day in (today() - 40, today() - 2, today() - 1):
        await write_day(trail, day, who, 120)
    await record(trail, Event.DATA_READ, today() * DAY_MS, patient_id=who[1].patient_id)
    filters: list[dict[str, Any]] = [
        {},
        {"client_id": "urn:diga:bfarm:00001", "event": "diga:data:"},
        {"pairing_id": who[2].pairings[0]},
        {"from_ms": (today() - 2) * DAY_MS + HOUR_MS, "until_ms": (today() - 1) * DAY_MS + HOUR_MS},
    ]
    before = [await as_shown(trail, who, **wanted) for wanted in filters]
    assert [len(part) for part in before[0]] == [361] * 3
    seen = await verify(trail)
    assert await pack_all(trail) == 3
    days_left = {row["name"] for row in await trail.fetch("SELECT name FROM audit_day")}
    assert len(days_left) == 4, "the tables of days that are packed are gone"
    assert await trail.fetchval("SELECT count(*) FROM audit") == 1
    assert [await as_shown(trail, who, **wanted) for wanted in filters] == before
    assert await verify(trail) == seen
    assert (seen.faults, seen.seals, seen.entries, seen.unsealed) == ((), 6, 360, 1)
    assert await pack_all(trail) == 0


@pytest.mark.parametrize("at_ms", [YEAR_0, YEAR_300000, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("count", [0, 20])
async def test_an_entry_of_a_clock_gone_mad_keeps_its_time_and_spoils_no_other(
    trail: asyncpg.Pool, at_ms: int, count: int
) -> None:
    """Alone under its seal, and among other entries."""
    who = people(3)
    await write_day(trail, today() - 1, who, count)
    await record(trail, Event.DATA_READ, at_ms, patient_id=who[1].patient_id)
    await seal(trail, today() * DAY_MS - 1)
    before, seen = await as_shown(trail, who), await verify(trail)
    assert await pack_all(trail) == 1
    assert (await packs.numbered(trail, 1)).day == today() - 1
    assert await as_shown(trail, who) == before
    assert await verify(trail) == seen and seen.faults == ()


async def test_many_entries_are_exported_in_order_with_little_memory(
    trail: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.operations.audit_reading.IN_MEMORY", 10)
    monkeypatch.setattr("ddr.store.audit.packs.ROWS", 2)
    await write_day(trail, today() - 1, people(9), 100)
    before = [entry async for entry in entries(trail, ALL)]
    await pack_all(trail)
    assert [entry async for entry in entries(trail, ALL)] == before


async def test_a_full_folder_for_temporary_files_is_named(
    trail: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is not on the export's own disk, where an operator would look."""
    monkeypatch.setattr("ddr.operations.audit_reading.IN_MEMORY", 10)
    await write_day(trail, today() - 1, people(9), 100)
    await pack_all(trail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "empty").touch()
    with full_after(tmp_path / "empty", 100), pytest.raises(OSError) as full:
        [entry async for entry in entries(trail, ALL)]
    assert full.value.filename == str(tmp_path)


async def test_packing_goes_on_where_it_stopped_while_others_write(
    trail: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shard after shard, with failures between them; a part that is packed is not shown twice."""
    monkeypatch.setattr(audit_packing, "SHARD", 10)
    who = people(8)
    await write_day(trail, today() - 1, who, 100)
    before, finished, rounds = await as_shown(trail, who), 0, 0
    real = packs.note

    async def note(*arguments: Any) -> bool:
        nonlocal rounds
        rounds += 1
        if rounds % 3 == 0:
            raise ConnectionError("the database went away")
        return await real(*arguments)

    monkeypatch.setattr(packs, "note", note)
    while not finished:
        assert await as_shown(trail, who) == before
        try:
            finished = await pack_some(trail, tomorrow_ms(), seconds=0.001)
        except ConnectionError:
            continue
    assert rounds >= 10
    assert await as_shown(trail, who) == before
    assert (await verify(trail)).faults == ()


@pytest.mark.parametrize("packed", [False, True])
async def test_a_worker_that_packs_what_another_one_packs_gives_way(trail: asyncpg.Pool, packed: bool) -> None:
    """As after a machine slept: the sleeper's turn is over, and yet it continues.

    With `packed` the other worker has got as far as the rows; otherwise only as far as the words.
    """
    who = people(3)
    await write_day(trail, today() - 1, who, 30)
    before = await as_shown(trail, who)
    assert await pack_some(trail, tomorrow_ms(), seconds=-1) == 0
    work = await audit_packing._next(trail, tomorrow_ms())
    assert work is not None
    async with trail.acquire() as other:
        turn = other.transaction()
        await turn.start()
        await packs._learn_words(other, work)
        if packed:
            await turn.commit()
            turn = other.transaction()
            await turn.start()
            count = await audit_packing._shard(other, work, UUID(int=0), None)
            assert await packs.note(other, work, UUID(int=audit_packing.IDS - 1), count)
        packing = asyncio.create_task(pack_some(trail, tomorrow_ms()))
        while not await waiting(trail):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        await turn.commit()
    assert await packing == (0 if packed else 1)
    assert await pack_some(trail, tomorrow_ms()) == (1 if packed else 0)
    assert await as_shown(trail, who) == before
    assert (await verify(trail)).faults == ()


async def test_a_worker_whose_rows_another_one_packs_for_long_gives_way(trail: asyncpg.Pool) -> None:
    """A shard of a large day takes longer than a worker waits for a lock."""
    await write_day(trail, today() - 1, people(3), 30)
    work = await audit_packing._next(trail, tomorrow_ms())
    assert work is not None
    await packs.learn_words(trail, work)
    async with packs.long(trail) as other:
        count = await audit_packing._shard(other, work, UUID(int=0), None)
        assert await pack_some(trail, tomorrow_ms()) == 0
        assert await packs.note(other, work, UUID(int=audit_packing.IDS - 1), count)
    assert await pack_some(trail, tomorrow_ms()) == 1
    assert (await verify(trail)).faults == ()


async def test_a_pack_that_another_worker_has_finished_is_no_fault(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 1, people(3), 30)
    await pack_all(trail)
    done = await packs.numbered(trail, 1)
    assert not await audit_packing._finish(trail, done, tomorrow_ms())


async def test_packing_goes_on_where_other_shards_were_made(
    trail: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large day has larger shards; whatever smaller ones have packed of it, the rest is packed. Each has its time."""
    who, limits = people(8), list[str]()
    await write_day(trail, today() - 1, who, 100)
    before, real = await as_shown(trail, who), packs.note

    async def note(conn: asyncpg.Connection, *arguments: Any) -> bool:
        limits.append(await conn.fetchval("SHOW statement_timeout"))
        return await real(conn, *arguments)

    monkeypatch.setattr(packs, "note", note)
    monkeypatch.setattr(audit_packing, "SHARD", 10)
    while len(limits) < 5:
        assert await pack_some(trail, tomorrow_ms(), seconds=0.001) == 0
    monkeypatch.setattr(audit_packing, "MOST_SHARDS", 3)
    assert await pack_all(trail) == 1
    assert limits == [f"{packs.LONG_SECONDS}s"] * len(limits) and len(limits) in (7, 8)
    assert await as_shown(trail, who) == before
    assert (await verify(trail)).faults == ()


async def test_a_day_is_packed_when_it_is_over_and_sealed(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 1, people(2), 10)
    late_ms = audit_packing.LATE_MS
    assert await pack_some(trail, today() * DAY_MS + late_ms - 1) == 0
    assert await pack_some(trail, today() * DAY_MS + late_ms) == 1
    await record(trail, Event.DATA_READ, today() * DAY_MS)
    assert await pack_some(trail, tomorrow_ms()) == 0, "not sealed yet"
    await seal(trail, today() * DAY_MS)
    assert await pack_some(trail, tomorrow_ms()) == 1
    assert await trail.fetchval("SELECT count(*) FROM audit") == 1, "the table of a day that goes on stays"
    assert [entry.audit_no async for entry in entries(trail, ALL)] == list(range(1, 12))


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_word SET content = replace(content, 'read', 'lost')", "was changed"),
        ("DELETE FROM audit_word WHERE word_no = 1", "refers to a word that is missing"),
        ("UPDATE audit_word SET content = '7'", "refers to a word that is missing"),
        ("UPDATE audit_packed SET patient_id = gen_random_uuid() WHERE pairing IS NOT NULL", "was changed"),
        ("UPDATE audit_packed SET pairing = '=q' WHERE pairing = '=p'", "was changed"),
        ("UPDATE audit_packed SET body = substr(body, 2)", "is damaged"),
        ("DELETE FROM audit_packed WHERE pairing = '=p'", "entries, but there are"),
        ("INSERT INTO audit_packed SELECT patient_id, day, part + 9, pairing, body FROM audit_packed", "there are"),
        ("DELETE FROM audit_packed", "covers 10 entries, but there are 0"),
        ("DELETE FROM audit_pack", "covers 10 entries, but there are 0"),
        ("DELETE FROM audit_seal WHERE seal_no = 2", "seal 3 does not follow seal 1"),
        ("DELETE FROM audit_seal WHERE seal_no > 2", "10 packed entries above 20 are not covered by any seal"),
        ("UPDATE audit_seal SET form = 1 WHERE seal_no = 2", "seal 2 does not follow seal 1"),
        ("UPDATE audit_pack SET dropped_ms = 1", "were dropped before 30 days had passed"),
        (f"UPDATE audit_pack SET dropped_ms = last_ms + {31 * DAY_MS}", "were dropped before 30 days had passed"),
        (f"UPDATE audit_pack SET dropped_ms = packed_ms, last_ms = last_ms - {31 * DAY_MS}", "were dropped before"),
        (f"UPDATE audit_seal SET purged_ms = last_ms + {31 * DAY_MS}", "were dropped before 30 days had passed"),
    ],
)
async def test_what_was_touched_in_a_pack_is_found(trail: asyncpg.Pool, statement: str, fault: str) -> None:
    who = people(3)
    await write_day(trail, today() - 2, who, 20)
    await write_day(trail, today() - 1, who, 10)
    monday = await trail.fetchval("SELECT max(upto_no) FROM audit_seal WHERE seal_no <= 2")
    assert monday == 20
    await pack_all(trail)
    assert (await verify(trail)).faults == ()
    await tamper(trail, statement)
    found = (await verify(trail)).faults
    assert any(fault in one for one in found), found


async def test_an_entry_with_a_number_beyond_all_keeps_no_other_from_being_sealed(trail: asyncpg.Pool) -> None:
    """Only an administrator can have put it into the database."""
    who = people(3)
    await tamper(
        trail,
        "INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id, detail) VALUES"
        f" (gen_random_uuid(), {(today() - 1) * DAY_MS}, 'x', 'c', 'p', '{{\"a\": [1e400, 2, 0.5]}}')",
    )
    await write_day(trail, today() - 1, who, 10)
    before = [entry async for entry in entries(trail, ALL)]
    assert before[0].detail["a"][1:] == [2, 0.5]
    proof = await verify(trail)
    assert (proof.faults, proof.entries, proof.unsealed) == ((), 11, 0)
    await pack_all(trail)
    assert await verify(trail) == proof
    assert [entry async for entry in entries(trail, ALL)] == before


async def test_two_entries_that_change_places_are_found(trail: asyncpg.Pool) -> None:
    """The digest does not depend on the order, but still identifies each entry."""
    await write_day(trail, today() - 1, people(3), 20)
    await pack_all(trail)
    first, second = await trail.fetch("SELECT patient_id, part, body FROM audit_packed LIMIT 2")
    swap = "UPDATE audit_packed SET body = '\\x{}' WHERE patient_id = '{}' AND part = {}"
    await tamper(
        trail,
        swap.format(second["body"].hex(), first["patient_id"], first["part"]),
        swap.format(first["body"].hex(), second["patient_id"], second["part"]),
    )
    assert any("was changed" in one for one in (await verify(trail)).faults)


async def test_the_database_refuses_changes(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 1, people(1), 10)
    await pack_all(trail)
    await write_day(trail, today() - 2, people(1), 10)
    for statement in (
        "UPDATE audit_packed SET body = ''",
        "DELETE FROM audit_packed",
        "TRUNCATE audit_packed",
        "UPDATE audit_word SET content = ''",
        "DELETE FROM audit_word",
        "TRUNCATE audit_word",
        "DELETE FROM audit_pack",
        "TRUNCATE audit_pack",
        "UPDATE audit_pack SET upto_no = 0",
        "UPDATE audit_pack SET entries = 0",
        "UPDATE audit_pack SET packed_ms = NULL",
        "UPDATE audit_pack SET dropped_ms = 1",
        "UPDATE audit_seal SET purged_ms = 1",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await trail.execute(statement)
    tables = "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relkind = 'r'"
    names = [row["relname"] for row in await trail.fetch(tables)]
    assert {name.rstrip("0123456789") for name in names} == {"audit_", "audit_rest", "audit_packed_", "audit_word_"}
    for name in names:
        for statement in (
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
            f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM {name}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await trail.execute(statement)


async def test_a_worker_of_the_version_before_purges_nothing_and_fails_nothing(trail: asyncpg.Pool) -> None:
    """Its statement from before entries were packed returns no row when it changes none; it deletes nothing then."""
    marking = """
        UPDATE audit_seal SET purged_ms = $2
        WHERE seal_no = (SELECT seal_no FROM audit_seal WHERE purged_ms IS NULL ORDER BY seal_no LIMIT 1)
          AND purged_ms IS NULL AND last_ms < $1
        RETURNING upto_no
        """
    now_ms = tomorrow_ms() + 731 * DAY_MS
    assert await trail.fetchval(marking, now_ms - 730 * DAY_MS, now_ms) is None
    await write_day(trail, today() - 1, people(1), 10)
    await seal(trail, tomorrow_ms())
    before = await trail.fetch("SELECT * FROM audit_seal")
    assert before and await trail.fetchval(marking, now_ms - 730 * DAY_MS, now_ms) is None
    assert await trail.fetch("SELECT * FROM audit_seal") == before
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await trail.execute(marking, now_ms, before[0]["last_ms"])  # sooner than any version was allowed to


async def test_verifying_can_begin_with_any_seal(trail: asyncpg.Pool) -> None:
    who = people(3)
    for day in (today() - 2, today() - 1):
        await write_day(trail, day, who, 20)
    await pack_all(trail)
    await record(trail, Event.DATA_READ, today() * DAY_MS)
    await seal(trail, today() * DAY_MS)
    whole = await verify(trail)
    assert (whole.seals, whole.entries) == (5, 41)
    for number, left in ((2, 31), (3, 21), (4, 11), (5, 1), (6, 0)):
        part = await verify(trail, from_seal=number)
        assert (part.faults, part.seals, part.entries, part.head) == ((), 6 - number, left, whole.head)
    with pytest.raises(LookupError, match="the chain has no seal 6"):
        await verify(trail, from_seal=7)
    await tamper(trail, "DELETE FROM audit_packed WHERE day = (SELECT min(day) FROM audit_packed)")
    assert (await verify(trail)).faults
    assert (await verify(trail, from_seal=3)).faults == ()


async def test_months_go_when_all_in_them_is_old_enough(trail: asyncpg.Pool) -> None:
    who = people(2)
    for day in (today() - 800, today() - 100, today() - 1):
        await write_day(trail, day, who, 10)
    assert await purge(trail, 30, today() * DAY_MS) == 0, "nothing is packed"
    await pack_all(trail)
    tables = "SELECT count(*) FROM pg_tables WHERE tablename ~ '^audit_(packed|word)_[0-9]+$'"
    assert await trail.fetchval(tables) == 6
    assert await purge(trail, 730, today() * DAY_MS) == 10
    assert await purge(trail, 30, today() * DAY_MS) == 10
    assert await purge(trail, 30, today() * DAY_MS) == 0, "the last month goes on"
    assert await trail.fetchval(tables) == 2
    findings = await verify(trail)
    assert (findings.faults, findings.seals, findings.entries, findings.purged_seals) == ((), 6, 10, 4)
    assert len((await as_shown(trail, who))[0]) == 10


async def test_nothing_goes_before_thirty_days_whatever_is_set(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 70, people(1), 10)
    await pack_all(trail)
    assert await purge(trail, 0, (today() - 69 + 29) * DAY_MS) == 0
    assert (await verify(trail)).entries == 10
    assert await purge(trail, 0, today() * DAY_MS) == 10


async def test_a_month_that_was_dropped_by_a_time_still_to_come_is_found(trail: asyncpg.Pool) -> None:
    """A caller of the database's function passes the time; the proof uses the database's own clock."""
    await write_day(trail, today() - 1, people(1), 10)
    await pack_all(trail)
    far_ms = (today() + 800) * DAY_MS
    assert await trail.fetchval("SELECT audit_drop($1, $1)", far_ms) == 10
    assert (await verify(trail, now_ms=far_ms)).faults == ()
    assert "were dropped before 30 days had passed" in str((await verify(trail)).faults)


async def test_entries_find_a_place_when_their_day_has_no_table(trail: asyncpg.Pool) -> None:
    """A database with a wrong clock, or a recorder without housekeeping, loses nothing."""
    who = people(2)
    far = "INSERT INTO audit (patient_id, at_ms, event, hour) VALUES ($1, $2, 'x', $3)"
    for hour in (today() * 24 + 9_999, 5, today() * 24 - 9_999):
        await trail.execute(far, who[1].patient_id, (today() - 1) * DAY_MS, hour)
    await trail.execute("SELECT audit_open(DATE '1970-01-01')")  # is refused silently: there are entries of that day
    await record(trail, Event.DATA_READ, (today() - 1) * DAY_MS, patient_id=who[1].patient_id)
    before = await as_shown(trail, who)
    assert [len(part) for part in before] == [4, 4, 4]
    await seal(trail, (today() - 1) * DAY_MS)
    assert await pack_all(trail) == 1
    assert await trail.fetchval("SELECT count(*) FROM audit_rest") == 0
    assert await as_shown(trail, who) == before
    assert (await verify(trail)).faults == ()


async def test_a_day_whose_entries_have_a_place_is_not_looked_for_in_all_of_them(trail: asyncpg.Pool) -> None:
    """After a month without housekeeping there are many, and reading them all delays every new entry."""
    many, day = 1000, today() + 400
    put = "INSERT INTO audit (patient_id, at_ms, event, hour) SELECT $1, 0, 'x', $2 + n FROM generate_series(1, $3) n"
    await trail.execute(put, people(1)[0].patient_id, day * 24 - many, many)
    async with in_passing(trail) as conn:
        await conn.execute("SELECT audit_open($1)", as_date(day))
        assert await fetched(conn, "audit_rest") <= many / 10
    async with in_passing(trail) as conn:
        await conn.execute("SELECT audit_open($1)", as_date(day + 1))
        assert await conn.fetchval("SELECT to_regclass($1)", f"audit_{as_date(day + 1):%Y%m%d}") is not None


async def test_a_table_that_a_backup_holds_is_dropped_later(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 1, people(1), 10)
    async with trail.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE audit IN ACCESS SHARE MODE")
        assert await pack_all(trail) == 1
        await record(trail, Event.DATA_READ, today() * DAY_MS)  # does not have to wait
        assert await trail.fetchval("SELECT count(*) FROM audit") == 11
        assert (await verify(trail)).entries == 10
    assert len(await days.clear(trail)) == 1
    assert await trail.fetchval("SELECT count(*) FROM audit") == 1


async def test_a_month_that_a_backup_holds_goes_later(trail: asyncpg.Pool) -> None:
    await write_day(trail, today() - 70, people(1), 10)
    await pack_all(trail)
    async with trail.acquire() as backup, backup.transaction():
        await backup.execute("LOCK TABLE audit_packed IN ACCESS SHARE MODE")
        assert await purge(trail, 30, today() * DAY_MS) == 0
    assert await purge(trail, 30, today() * DAY_MS) == 10
    assert (await verify(trail)).faults == ()


async def test_a_damaged_row_does_not_hide_the_other_days_from_the_patient(trail: asyncpg.Pool) -> None:
    who = [Person(uuid4(), ("p",))]
    for day in (today() - 2, today() - 1):
        await write_day(trail, day, who, 10)
    await pack_all(trail)
    await tamper(trail, f"UPDATE audit_packed SET body = 'x' WHERE day = {today() - 1}")
    assert len(await patients.before(trail, who[0].patient_id, patients.NEWEST, 100)) == 10


async def test_the_next_day_to_be_packed_is_found_without_reading_the_seals_of_all_years(trail: asyncpg.Pool) -> None:
    count, last = 20_000, 19_000  # seals, one a minute, and the last one that is packed
    await trail.execute(
        "INSERT INTO audit_seal (seal_no, upto_no, entries, last_ms, sealed_ms, digest, chain, form)"
        " SELECT n, n, 1, n * 60000::bigint, n * 60000::bigint, sha256(''), sha256(''), 2"
        "   FROM generate_series(1, $1) AS n",
        count,
    )
    await trail.execute("ANALYZE audit_seal")
    async with touched(trail, "audit_seal") as work:
        run = await seals.day_after(trail, last, count * 60_000)
    assert run == (13, last, count, count * 60_000)
    assert work.fetched < 5_000, "those of this day only"
