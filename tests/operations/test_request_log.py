"""The request log without HTTP: faults in a changed file, how texts are stored, and what waits on the disk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.http.request_log.endpoints import CONNECTION, UNKNOWN, belongs, endpoint, spoken
from ddr.http.request_log.log import KEEP_ROWS, KEPT, RequestLog
from ddr.http.request_log.record import described
from ddr.http.request_log.spool import Spool, in_folder, taken
from ddr.oauth.metadata import PATHS
from ddr.operations.request_log.chain import Batches, faults, ranges, seal_of
from ddr.operations.request_log.compare import differences
from ddr.store.audit import request_log as store
from ddr.store.audit.request_log import Batch
from ddr.store.audit.trail import NewEntry
from ddr.store.database.pool import connect
from tests.support.database import migrated_database
from tests.support.full_disk import full_after
from tests.support.request_log import fresh_lines


def lines(*numbers: int) -> list[bytes]:
    return [
        orjson.dumps({"timestamp": f"2026-11-22T10:00:00.{n:03}+00:00", "transaction_id": f"t{n}", "message": "m"})
        for n in numbers
    ]


@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_any_difference_is_found_and_nothing_else(one: list[int], other: list[int]) -> None:
    assert bool(differences(lines(*one), lines(*other))) == (one != other)


@given(st.integers(1, 9), st.data())
def test_the_line_is_named(count: int, data: st.DataObject) -> None:
    wanted = lines(*range(count))
    at = data.draw(st.integers(0, count - 1))
    (removed,) = differences([*wanted[:at], *wanted[at + 1 :]], wanted)
    assert removed.startswith(f"a line was removed before line {at + 1}: ")
    assert f" t{at} " in removed
    (changed,) = differences([*wanted[:at], b"{}", *wanted[at + 1 :]], wanted)
    assert changed.startswith(f"line {at + 1} was changed; it was ")
    assert differences([*wanted[:at], b"{}", *wanted[at:]], wanted) == [f"line {at + 1} was added"]


@given(st.sets(st.integers(1, 40)))
def test_gaps_are_what_is_not_there(numbers: set[int]) -> None:
    assert {n for a, b in ranges(numbers) for n in range(a, b + 1)} == numbers


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), max_size=4), max_size=6),
    st.booleans(),
    st.sets(st.integers(1, 60)),
)
def test_batches_that_are_missing_are_those_between_others(
    seals: list[list[tuple[int, int]]], whole: bool, waiting: set[int]
) -> None:
    """In whatever order they were sealed, even if one was sealed twice. One that waits for its seal is not missing."""
    batches, there = Batches(), set[int]()
    for seal in seals:
        batches.add({"run": [[first, first + more] for first, more in seal]})
        there |= {number for first, more in seal for number in range(first, first + more + 1)}
    gaps = ranges({*range(1 if whole else min(there, default=1), max(there, default=0))} - there - waiting)
    assert batches.missing(whole, {"run": ranges(waiting)}) == [
        f"records of worker run are missing (batch {a} to {b})" for a, b in gaps
    ]


def test_however_many_batches_there_are_they_are_not_counted_one_by_one() -> None:
    """There may be months with thousands per second; and a changed seal is reported, whatever it contains."""
    batches, many = Batches(), 10**15
    for runs in ({"a": [[1, many]]}, {"a": [[many + 1, many + 2], [many + 4, many + 4]]}, {"b": "c"}, {"b": [None]}):
        batches.add(runs)  # type: ignore[arg-type]
    assert batches.missing(known_from_start=True, waiting={}) == [
        f"records of worker a are missing (batch {many + 3} to {many + 3})"
    ]


@given(st.lists(st.integers(0, 999), min_size=1, max_size=20))
def test_a_seal_fits_its_own_lines_only(numbers: list[int]) -> None:
    seal = seal_of(lines(*numbers), 1, bytes(32), {"run": [[1, 2]]}, 1, 5)
    assert faults((0, bytes(32)), seal) == []
    assert faults((1, bytes(32)), seal) != []
    assert seal.lines() == sorted(lines(*numbers))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Rate limit exceeded. Please retry after the specified time.", None),
        ("The access token expired", None),
        ("Unknown search parameter anna. Supported search parameters: x", "Unknown search parameter …"),
        ("Resource Device/anna is not known", "Resource …"),
        ("Invalid date/time format or date range: anna", "Invalid date/time format or date range…"),
        ("Unknown input parameter 'anna'.", "Unknown input parameter …"),
    ],
)
def test_of_texts_what_is_ours_is_kept(text: str, kept: str | None) -> None:
    assert described(text) == (kept or text)


@given(st.text(max_size=40))
def test_no_path_is_repeated(text: str) -> None:
    for path in (f"/fhir/{text}Q7", f"/oauth/{text}Q7", f"/{text}Q7", f"/fhir/Device/{text}Q7"):
        assert "Q7" not in endpoint(path)[1]
        assert "Q7" not in spoken(text + "Q7", endpoint(path)[1], 200)
    assert not belongs(f"/me/{text}")


def test_what_is_below_a_document_belongs_to_the_interface() -> None:
    """The interface's rooms answer it, and it has no name of its own."""
    for path in PATHS:
        assert belongs(path) and belongs(f"{path}/x") and endpoint(f"{path}/x") == (CONNECTION, UNKNOWN)


@pytest.fixture
async def own(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with migrated_database(database_url) as url, await connect(url, 2) as pool:
        yield pool


async def stored(pool: asyncpg.Pool) -> list[bytes]:
    return sorted(await fresh_lines(pool))


async def test_records_of_one_moment_share_rows(own: asyncpg.Pool, tmp_path: Path) -> None:
    log = RequestLog(own, tmp_path)
    await asyncio.gather(*(log.write(b"%03d" % number) for number in range(200)))
    assert await stored(own) == [b"%03d" % number for number in range(200)]
    assert await own.fetchval("SELECT count(*) FROM request_log_fresh") <= 3


async def test_one_connection_stores_what_comes_one_after_the_other(own: asyncpg.Pool, tmp_path: Path) -> None:
    log, add = RequestLog(own, tmp_path), store.add

    async def slow(conn: asyncpg.Connection, batch: Batch, entries: Sequence[NewEntry], *of: Any) -> None:
        for _ in range(20):  # steps in which the next one can arrive
            await asyncio.sleep(0)
        await add(conn, batch, entries, *of)

    acquiring = patch.object(type(own), "_acquire", autospec=True, side_effect=type(own)._acquire)
    with acquiring as acquired, patch.object(store, "add", slow):
        first = asyncio.create_task(log.write(b"000"))
        for number in range(1, 2 * KEEP_ROWS):
            await asyncio.sleep(0)
            following = asyncio.create_task(log.write(b"%03d" % number))
            await first  # while it is stored the next one has already arrived
            first = following
        await first
        await log.close()
    assert 1 < acquired.call_count <= 3  # and sometimes somebody else may have the lock
    assert own.get_idle_size() == own.get_size()
    assert len(await stored(own)) == 2 * KEEP_ROWS


async def test_who_waits_is_told_in_the_step_in_which_the_statement_ends(own: asyncpg.Pool, tmp_path: Path) -> None:
    """In each further step everything that other requests have ready would be done first."""
    log, rounds, ended = RequestLog(own, tmp_path), 0, 0

    async def count() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    async def stored_at_once(conn: asyncpg.Connection, batch: Batch, entries: Sequence[NewEntry], *of: Any) -> None:
        nonlocal ended
        await asyncio.sleep(0)
        ended = rounds

    counting = asyncio.create_task(count())
    with patch.object(store, "add", stored_at_once):
        await log.write(b"one")
    told = rounds
    counting.cancel()
    assert told - ended <= 1


async def test_who_was_served_is_told_first_and_refusals_one_by_one(own: asyncpg.Pool, tmp_path: Path) -> None:
    log, told, rounds = RequestLog(own, tmp_path), [], 0

    async def answer(name: str, refused: bool) -> None:
        await log.write(name.encode(), refused)
        told.append((name, rounds))

    answers = [asyncio.create_task(answer(f"{kind}{n}", kind == "no")) for n in range(5) for kind in ("no", "yes")]
    while not all(one.done() for one in answers):
        await asyncio.sleep(0)
        rounds += 1
    assert {name[:3] for name, _ in told[:5]} == {"yes"}
    assert len({at for name, at in told if name.startswith("no")}) == 5


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.spool")
    return path


def left(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def cut_off(folder: Path) -> Path:
    """The only file of a spool, now with a line that its writer did not finish."""
    path = only_file(folder)
    with path.open("ab") as file:
        file.write(b'["cut off')
    return path


async def test_what_a_dead_process_left_is_taken_over_once(
    own: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = uuid.uuid4()
    spool = Spool(tmp_path, run)
    batches = [Batch(run, number, b"%d" % number) for number in (1, 2, 3)]
    for batch in batches:
        spool.append(batch)
    await store.add(own, batches[0])  # it was in doubt, but had been stored
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.add(own, batches[0])
    path = cut_off(tmp_path)
    assert in_folder(tmp_path) == (path.stat().st_size, path.stat().st_mtime)
    with taken(path) as held:
        assert held is None  # its owner is alive
    spool.waiting()
    log = RequestLog(own, tmp_path)
    await log.recover()
    assert await stored(own) == [b"1", b"2", b"3"]
    assert not caplog.records, "what a crash cut off was never answered"
    assert in_folder(tmp_path) == (0, None)
    with taken(path) as held:
        assert held is None  # its owner is gone


async def test_a_batch_that_a_full_disk_cut_off_costs_no_other(own: asyncpg.Pool, tmp_path: Path) -> None:
    """Later records belong to answered requests, so they must not continue a line that nobody can read."""
    run = uuid.uuid4()
    spool = Spool(tmp_path, run)
    spool.append(Batch(run, 1, b"1"))
    with full_after(only_file(tmp_path), 9), pytest.raises(OSError, match="No space"):
        spool.append(Batch(run, 2, b"2" * 5000))
    spool.append(Batch(run, 3, b"3"))
    spool.waiting()
    await RequestLog(own, tmp_path).recover()
    assert await stored(own) == [b"1", b"3"]
    assert in_folder(tmp_path) == (0, None)


async def test_a_damaged_line_of_the_spool_is_told_and_keeps_no_other_waiting(
    own: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = uuid.uuid4()
    spool = Spool(tmp_path, run)
    spool.append(Batch(run, 1, b"1"))
    with only_file(tmp_path).open("ab") as file:
        for damaged in (b"1", b'["", 2, "2"]', b"[1, 2, 3]", b'["%s", 2]', b"\0\0\xff"):
            file.write(damaged + b"\n")
        for number in (b'""', b"2.5", b"%d" % (1 << 63), b"1" * 30):
            file.write(b'["%s", %s, "2"]\n' % (str(run).encode(), number))
    spool.append(Batch(run, 3, b"3"))
    cut_off(tmp_path)
    spool.waiting()
    await RequestLog(own, tmp_path).recover()
    assert await stored(own) == [b"1", b"3"]
    told = [(one.message, one.levelname, vars(one)["count"]) for one in caplog.records]
    assert told == [("request_log.spool_damaged", "ERROR", 9)]


async def test_without_database_and_disk_records_wait_in_memory(
    own: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    log = RequestLog(own, tmp_path / "file")
    await own.execute("ALTER TABLE request_log_fresh RENAME TO away")
    await log.write(b"one")
    assert "request_log.not_durable" in caplog.messages
    await own.execute("ALTER TABLE away RENAME TO request_log_fresh")
    await log.recover()
    await log.write(b"two")
    assert await stored(own) == [b"one", b"two"]


async def test_a_record_for_which_memory_has_just_room_is_not_lost_while_others_are_stored(
    own: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest record, which is being stored, makes room for it."""
    (tmp_path / "file").write_text("no folder")
    log, add_late, rows = RequestLog(own, tmp_path / "file"), store.add_late, []

    async def and_meanwhile(pool: asyncpg.Pool, batches: Sequence[Batch]) -> None:
        rows.append(len(batches))
        await add_late(pool, batches)
        if len(rows) == 1:
            await log.write(b"last")

    monkeypatch.setattr(store, "add_late", and_meanwhile)
    await own.execute("ALTER TABLE request_log_fresh RENAME TO away")
    for number in range(KEPT):
        await log.write(b"%d" % number)
    await own.execute("ALTER TABLE away RENAME TO request_log_fresh")
    await log.recover()
    assert sorted(await stored(own)) == sorted([*(b"%d" % number for number in range(KEPT)), b"last"])
    assert len(rows) < KEPT / 50


async def test_who_waits_is_told_when_the_system_gives_no_thread_for_the_file(
    own: asyncpg.Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def none(*of: object) -> None:
        raise RuntimeError("can't start new thread")

    log = RequestLog(own, tmp_path)
    await own.execute("ALTER TABLE request_log_fresh RENAME TO away")
    with patch("ddr.http.request_log.log.asyncio.to_thread", none):
        async with asyncio.timeout(60):
            assert await log.write(b"one")
    assert "request_log.not_durable" in caplog.messages
    await own.execute("ALTER TABLE away RENAME TO request_log_fresh")
    await log.recover()
    assert await stored(own) == [b"one"]


async def test_a_file_that_another_worker_stores_and_removes_meanwhile_is_no_fault(
    own: asyncpg.Pool, tmp_path: Path
) -> None:
    run = uuid.uuid4()
    spool = Spool(tmp_path, run)
    spool.append(Batch(run, 1, b"1"))
    spool.waiting()

    def late(descriptor: int, how: int) -> None:
        only_file(tmp_path).unlink()

    with patch("ddr.http.request_log.spool.fcntl.flock", late):
        await RequestLog(own, tmp_path).recover()
    assert left(tmp_path) == []


async def test_a_file_that_cannot_be_read_is_told_and_keeps_no_record_from_the_database(
    own: asyncpg.Pool, tmp_path: Path
) -> None:
    """For example a disk with one bad place, or a file of another account."""
    (tmp_path / "0.spool").mkdir()  # the first file that is looked at
    log = RequestLog(own, tmp_path)
    await own.execute("ALTER TABLE request_log_fresh RENAME TO away")
    await log.write(b"one")
    await own.execute("ALTER TABLE away RENAME TO request_log_fresh")
    for _ in range(2):  # it fails as long as the file exists
        with pytest.raises(IsADirectoryError):
            await log.recover()
    await log.write(b"two")
    assert await stored(own) == [b"one", b"two"]


async def test_a_file_that_cannot_be_begun_is_kept_from_nobody(own: asyncpg.Pool, tmp_path: Path) -> None:
    """Its descriptor is closed: there are as many attempts as rows."""
    log, folder = (
        RequestLog(own, tmp_path),
        patch("ddr.http.request_log.spool.keep_names", side_effect=OSError(5, "no")),
    )
    await own.execute("ALTER TABLE request_log_fresh RENAME TO away")
    with folder:
        await log.write(b"one")
    assert only_file(tmp_path).stat().st_size == 0
    await own.execute("ALTER TABLE away RENAME TO request_log_fresh")
    await log.recover()
    assert (left(tmp_path), await stored(own)) == ([], [b"one"])
