"""What a Watch remembers, in SQLite, PostgreSQL and a test's memory: turns are leased, extended, taken from the
dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ddr.client import Cursor, FileTokens, Grant, Journal, News, PostgresJournal, SqliteJournal, Watch, watch
from tests.client.foreign import DIGA, Foreign, bundle, chunk
from tests.client.mortal import Disk, Life, MortalJournal


@pytest.fixture(params=["sqlite", "postgres", "mortal"])
async def journal(request: pytest.FixtureRequest, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[Journal]:
    if request.param == "sqlite":
        yield SqliteJournal(tmp_path / "journal.sqlite")
        return
    if request.param == "mortal":
        yield MortalJournal(Disk(), Life())
        return
    found = PostgresJournal(pool)
    await found.prepare()
    await found.prepare()
    try:
        yield found
    finally:
        await pool.execute("DROP TABLE ddr_client_watched")


async def test_turns_are_lent_to_one(journal: Journal) -> None:
    assert await journal.next_due() is None and await journal.cursor("p1") is None
    for number in range(20):
        await journal.add(f"p{number:02}", 100.0 + number)
    await journal.add("p00", 0.0)  # it is there: nothing changes
    assert await journal.pairings() == [f"p{number:02}" for number in range(20)]
    assert await journal.next_due() == 100.0
    names = list[str]()
    for _ in range(3):  # whom another one is just claiming may be left for the next time
        claimed = await asyncio.gather(*(journal.claim(109.5, 200.0, 4) for _ in range(4)))
        names += [turn.pairing_id for turns in claimed for turn in turns]
    assert sorted(names) == [f"p{number:02}" for number in range(10)]
    assert await journal.claim(109.5, 200.0, 4) == []


async def test_what_was_read_is_kept(journal: Journal) -> None:
    await journal.add("one", 1.0)
    (turn,) = await journal.claim(1.0, 50.0, 9)
    assert (turn.cursor, turn.due, turn.failures, turn.whole) == (Cursor(), 1.0, 0, 0.0)
    await journal.keep("one", Cursor("2026-01-01T00:00:00Z"), 60.0)
    assert await journal.cursor("one") == Cursor("2026-01-01T00:00:00Z") and await journal.next_due() == 60.0
    await journal.settle("one", 70.0, 3, 5.0)
    (turn,) = await journal.claim(70.0, 90.0, 9)
    assert (turn.cursor.since, turn.due, turn.failures, turn.whole) == ("2026-01-01T00:00:00Z", 70.0, 3, 5.0)
    await journal.remove("one")
    assert await journal.pairings() == []


async def test_interrupted_turns_come_first_and_a_settled_one_is_not_held(journal: Journal) -> None:
    for name, due in (("waiting", 1.0), ("dead", 2.0), ("done", 0.0)):
        await journal.add(name, due)
    assert [turn.pairing_id for turn in await journal.claim(0.0, 10.0, 1)] == ["done"]
    await journal.settle("done", 500.0, 0, 0.0)
    assert [turn.pairing_id for turn in await journal.claim(2.0, 10.0, 2)] == ["waiting", "dead"]
    await journal.settle("waiting", 3.0, 0, 0.0)
    await journal.hold(["dead", "waiting", "done"], 20.0)
    assert [turn.pairing_id for turn in await journal.claim(19.0, 30.0, 3)] == ["waiting"]
    await journal.settle("waiting", 3.0, 0, 0.0)
    assert [turn.pairing_id for turn in await journal.claim(20.0, 20.0, 3, interrupted=True)] == ["dead"]
    assert [turn.pairing_id for turn in await journal.claim(20.0, 30.0, 3)] == ["dead", "waiting"]
    await journal.settle("dead", 600.0, 0, 0.0)
    assert [turn.pairing_id for turn in await journal.claim(500.0, 600.0, 3)] == ["waiting", "done"]


async def test_turns_of_a_clock_that_was_ahead_are_hastened_and_stay_apart(journal: Journal) -> None:
    for name, due in (("soon", 110.0), ("later", 300.0), ("ahead", 87_005.5), ("further", 87_073.5)):
        await journal.add(name, due)
    await journal.hasten(100.0, 100.0)
    hastened = {turn.pairing_id: turn.due for turn in await journal.claim(9e9, 9e9, 9)}
    assert hastened == {"soon": 110.0, "later": 300.0, "ahead": 105.5, "further": 173.5}
    await journal.hasten(100.0, 100.0)  # also what is lent
    assert {turn.due for turn in await journal.claim(200.0, 9e9, 9)} == {100.0}


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"since": "", "known": {"a": [1, 2, 3]}}', '{"since": "", "known": 5}']
)
async def test_a_cursor_that_cannot_be_read_keeps_nobody_else_waiting(text: str, tmp_path: Path) -> None:
    """Before: an error of Python whenever somebody was to be polled, and so nobody was."""
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    for name in ("broken", "good"):
        await journal.add(name, 0.0)
    await journal._db.execute("UPDATE watched SET cursor = ? WHERE pairing_id = 'broken'", text)
    assert [(turn.pairing_id, turn.cursor) for turn in await journal.claim(1.0, 2.0, 9)] == [
        ("broken", Cursor()),
        ("good", Cursor()),
    ]
    assert await journal.cursor("broken") == Cursor()


async def test_a_long_turn_is_kept_from_others(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(watch, "FOLLOW_SECONDS", 0.05)
    tokens = FileTokens(tmp_path / "tokens")
    await tokens.save(Grant("one", "", "r", "a", 4e9))
    begun, go_on, taken = asyncio.Event(), asyncio.Event(), list[str]()

    async def deliver(news: News) -> None:
        taken.append(news.pairing_id)
        begun.set()
        await go_on.wait()

    async with Foreign({"Observation?": bundle(chunk("a"))}).http() as http:
        service = Watch(DIGA, http, tokens, journal, deliver, interval=3600.0)
        running = asyncio.create_task(service.run())
        await asyncio.wait_for(begun.wait(), 60)
        first = await journal.next_due()
        assert first is not None and first > time.time()
        async with asyncio.timeout(60):
            while (await journal.next_due() or 0.0) <= first:  # noqa: ASYNC110 - the beat tells nobody
                await asyncio.sleep(0.02)
        go_on.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert taken == ["one"]
