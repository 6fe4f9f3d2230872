"""The polling service: every change at least once, through failures of callback and recorder, and its own end."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.client import (
    Cursor,
    FileTokens,
    Grant,
    Kind,
    News,
    PostgresJournal,
    PostgresTokens,
    SqliteJournal,
    Watch,
    session,
    watch,
)
from ddr.client.pull import Known
from tests.client.conftest import Backend
from tests.client.foreign import DIGA, Answer, Foreign, Json, bundle, chunk, resource
from tests.spec.world import CGM, HOUR, Home
from tests.support.pooler import direct_only

SECONDS = 60
Taken = list[tuple[str, str, Kind]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for what a service waits for."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watch, "FOLLOW_SECONDS", 0.05)
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(watch, "DELIVERY_PAUSES", (0.01,))


async def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


class Taker:
    """A callback that keeps what it was told, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.taken: Taken = []
        self.ended: list[str] = []
        self.failures = failures

    async def __call__(self, news: News) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the database is away")
        self.taken += [(news.pairing_id, change.id, change.kind) for change in news.changes]

    async def end(self, pairing_id: str) -> None:
        self.ended.append(pairing_id)


@asynccontextmanager
async def watching(folder: Path, foreign: Foreign, taker: Taker, **options: Any) -> AsyncIterator[Watch]:
    """A Watch that runs meanwhile, on what is kept in `folder`."""
    given = {"interval": 3600.0, "ended": taker.end, **options}
    journal = SqliteJournal(folder / "journal.sqlite")
    async with foreign.http() as http:
        service = Watch(DIGA, http, FileTokens(folder / "tokens"), journal, taker, **given)
        running = asyncio.create_task(service.run())
        yield service
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def grants(folder: Path, *names: str) -> None:
    tokens = FileTokens(folder / "tokens")
    for name in names:
        await tokens.save(Grant(name, "", "r-" + name, "a-" + name, 4e9))


async def test_what_was_taken_does_not_come_again_after_a_restart(tmp_path: Path) -> None:
    await grants(tmp_path, "one")
    foreign, taker = Foreign({"Observation?": bundle(chunk("a"), chunk("b"))}), Taker()
    async with watching(tmp_path, foreign, taker) as service:
        await until(lambda: len(taker.taken) == 2)
        await grants(tmp_path, "two")
        await until(lambda: len(taker.taken) == 4)
        await until(lambda: not service._turns)
    foreign.pages = {"Observation?": bundle(chunk("b"), chunk("c"))}
    for name in ("one", "two"):
        await SqliteJournal(tmp_path / "journal.sqlite").settle(name, 0.0, 0, time.time())
    async with watching(tmp_path, foreign, taker, interval=0.05):
        await until(lambda: len(taker.taken) >= 6 or len(foreign.asked) > 9)
    assert sorted(set(taker.taken)) == [(who, what, Kind.NEW) for who in ("one", "two") for what in "abc"]
    assert len(taker.taken) == 6


async def test_what_a_clock_that_was_ahead_has_noted_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: no poll, and no look at everything, until the time came that the clock had shown."""
    monkeypatch.setattr(watch, "LEASE_SECONDS", 0.1)
    await grants(tmp_path, "one")
    journal, ahead = SqliteJournal(tmp_path / "journal.sqlite"), time.time() + 30 * 86_400.0
    await journal.add("one", 0.0)
    await journal.keep("one", Cursor("2026-11-20T12:00:00Z", {"gone": Known("1", "")}), ahead)
    await journal.settle("one", ahead, 0, ahead)
    taker = Taker()
    async with watching(tmp_path, Foreign({"Observation?": bundle(chunk("a"))}), taker, interval=0.05):
        await until(lambda: len(taker.taken) == 2)
    assert taker.taken == [("one", "a", Kind.NEW), ("one", "gone", Kind.DELETED)]


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await grants(tmp_path, "one")
    monkeypatch.setattr(watch, "LEASE_SECONDS", 0.1)
    clock = SimpleNamespace(time=lambda: time.time() + 86_400.0, monotonic=time.monotonic)
    monkeypatch.setattr(watch, "time", clock)
    foreign = Foreign({"Observation?": bundle(chunk("a"))})
    async with watching(tmp_path, foreign, Taker(), interval=0.05) as service:
        await until(lambda: service.figures.turns > 1)
        clock.time = time.time
        turns = service.figures.turns
        await until(lambda: service.figures.turns > turns + 3)


async def test_a_callback_that_fails_is_called_again(tmp_path: Path) -> None:
    await grants(tmp_path, "one")
    foreign, taker = Foreign({"Observation?": bundle(chunk("a"))}), Taker(failures=3)
    async with watching(tmp_path, foreign, taker, interval=0.05) as service:
        await until(lambda: len(taker.taken) > 0)
        assert service.figures.last_errors["RuntimeError"] >= 2
    assert set(taker.taken) == {("one", "a", Kind.NEW)}


async def test_what_the_recorder_does_not_show_is_told(tmp_path: Path) -> None:
    await grants(tmp_path, "one")
    told: list[int] = []

    async def deliver(news: News) -> None:
        told.append(news.unshown)

    async with Foreign({"Observation?": bundle(chunk("a"), total=3)}).http() as http:
        journal = SqliteJournal(tmp_path / "journal.sqlite")
        running = asyncio.create_task(Watch(DIGA, http, FileTokens(tmp_path / "tokens"), journal, deliver).run())
        await until(lambda: bool(told))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert told == [2]


async def test_pages_that_were_taken_are_not_asked_for_again(tmp_path: Path) -> None:
    await grants(tmp_path, "one")
    failing: list[Answer] = [lambda _: httpx.Response(404)]
    second: Answer = lambda request: failing.pop()(request) if failing else resource(bundle(chunk("b")))  # noqa: E731
    pages: dict[str, Json | Answer] = {
        "Observation?p=2": second,
        "Observation?": bundle(chunk("a"), following="Observation?p=2"),
    }
    foreign, taker = Foreign(pages), Taker()
    async with watching(tmp_path, foreign, taker):
        await until(lambda: len(taker.taken) == 2)
    assert [one[1] for one in taker.taken] == ["a", "b"]


async def test_turns_are_few_at_a_time_and_a_slow_one_keeps_nobody_waiting(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(12)]
    await grants(tmp_path, *names)
    at_once, most, slow = 0, 0, asyncio.Event()

    class Slow(Taker):
        async def __call__(self, news: News) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            if news.pairing_id == "p0":
                await slow.wait()
            await super().__call__(news)
            at_once -= 1

    taker = Slow()
    async with watching(tmp_path, Foreign({"Observation?": bundle(chunk("a"))}), taker, concurrency=3, interval=0.2):
        await until(lambda: len({one[0] for one in taker.taken}) == 11)
        slow.set()
        await until(lambda: len({one[0] for one in taker.taken}) == 12)
    assert 1 < most <= 3


async def test_many_new_ones_are_spread_over_the_interval(tmp_path: Path) -> None:
    await grants(tmp_path, *(f"p{number:02}" for number in range(20)))
    taker = Taker()
    async with watching(
        tmp_path, Foreign({"Observation?": bundle(chunk("a"))}), taker, concurrency=2, interval=4000
    ) as service:
        await until(lambda: len(taker.taken) > 0 and not service._turns)
        file = SqliteJournal(tmp_path / "journal.sqlite")._db
        rows = [row[0] for row in await file.execute("SELECT due FROM watched ORDER BY due")]
    gaps = [after - before for before, after in pairwise(rows[:-1])]
    assert all(190 < gap < 210 for gap in gaps), gaps


async def test_the_grace_period_is_waited_for_and_faults_are_borne(tmp_path: Path) -> None:
    await grants(tmp_path, "one")
    answers = [
        httpx.Response(429, headers={"retry-after": "0"}),
        httpx.Response(503, headers={"retry-after": "0"}),
        httpx.Response(403),
        resource(bundle(chunk("a"))),
    ]
    taker = Taker()
    foreign = Foreign({"Observation?": lambda _: answers.pop(0)})
    async with watching(tmp_path, foreign, taker) as service:
        await until(lambda: len(taker.taken) == 1)
        assert service.figures.last_errors == {"Throttled": 1, "Busy": 1, "ScopeRefused": 1}


async def test_what_the_recorder_has_ended_is_told_and_forgotten(tmp_path: Path) -> None:
    await grants(tmp_path, "one", "two")
    foreign = Foreign({"Observation?": bundle(chunk("a"))})
    await FileTokens(tmp_path / "tokens").save(Grant("one", "", "r", "a", 0))
    foreign.token = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    taker = Taker()
    async with watching(tmp_path, foreign, taker) as service:
        await until(lambda: service.figures.ended == 1 and len(taker.taken) == 1)
    assert taker.ended == ["one"] and len(foreign.refreshed) == 1
    assert await FileTokens(tmp_path / "tokens").pairings() == ["two"]
    assert await SqliteJournal(tmp_path / "journal.sqlite").pairings() == ["two"]


@direct_only  # it locks by the session
async def test_those_that_end_at_once_wait_for_no_second_connection(database_url: str) -> None:
    """Before: each held one for the lock of its tokens and waited for another one for the journal, which the others
    held: with a pool for both, and a DiGA whose entry had ended, the service stood still for good."""
    names, taker = ["one", "two", "three"], Taker()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool, Foreign({}).http() as http:
        tokens, journal = PostgresTokens(pool), PostgresJournal(pool)
        await tokens.prepare()
        await journal.prepare()
        try:
            for name in names:
                await tokens.save(Grant(name, "", "r", "a", 0, ended=True))
            service, stop = Watch(DIGA, http, tokens, journal, taker, ended=taker.end), asyncio.Event()
            running = asyncio.create_task(service.run(stop))
            try:
                await until(lambda: service.figures.ended == 3)
                stop.set()
                await running
                assert sorted(taker.ended) == sorted(names)
                assert (await tokens.pairings(), await journal.pairings()) == ([], [])
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        finally:
            await pool.execute("DROP TABLE ddr_client_grants, ddr_client_watched")


async def test_a_patient_who_pairs_again_just_then_is_not_told_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new tokens wait for the refresh of the old ones, which the recorder has ended with them. Before: it was told,
    so that a DiGA deleted what it had, and got from then on what is new only."""
    whole = FileTokens.save

    async def save(self: FileTokens, grant: Grant) -> None:
        await whole(self, grant)
        if grant.ended:
            await whole(self, Grant("one", "", "r1", "a1", 4e9))

    monkeypatch.setattr(FileTokens, "save", save)
    await FileTokens(tmp_path / "tokens").save(Grant("one", "", "r", "a", 0))
    foreign, taker = Foreign({"Observation?": bundle(chunk("a"))}), Taker()
    foreign.token = lambda _: httpx.Response(400, json={"error": "invalid_grant"})
    async with watching(tmp_path, foreign, taker) as service:
        await until(lambda: len(taker.taken) == 1)
        await until(lambda: not service._turns or all(turn.done() for turn in service._turns))
    assert (taker.ended, len(foreign.refreshed)) == ([], 1)
    assert await FileTokens(tmp_path / "tokens").pairings() == ["one"]


async def test_a_patient_who_pairs_again_after_the_end_was_told_begins_anew(tmp_path: Path) -> None:
    """Before: with the cursor of what was deleted on its word."""
    tokens, journal = FileTokens(tmp_path / "tokens"), SqliteJournal(tmp_path / "journal.sqlite")
    await tokens.save(Grant("one", "", "r", "a", 0))
    await journal.add("one", 0.0)
    await journal.keep("one", Cursor("", {"a": Known("1@" + chunk("a")["meta"]["lastUpdated"], "")}), 0.0)
    foreign = Foreign({"Observation?": bundle(chunk("a"))})
    foreign.token = lambda _: httpx.Response(400, json={"error": "invalid_grant"})

    class Deleting(Taker):
        async def end(self, pairing_id: str) -> None:
            await super().end(pairing_id)
            await tokens.save(Grant("one", "", "r1", "a1", 4e9))

    taker = Deleting()
    async with watching(tmp_path, foreign, taker, interval=0.05) as service:
        await until(lambda: service.figures.turns > 3)
    assert (taker.ended, taker.taken) == (["one"], [("one", "a", Kind.NEW)])


def refreshing(*outcomes: str) -> Answer:
    """A token endpoint that loses answers or is busy, in this order, and then works."""
    left = list(outcomes)

    def token(request: httpx.Request) -> httpx.Response:
        match left.pop(0) if left else "":
            case "lost":
                raise httpx.ReadError("lost", request=request)
            case "busy":
                return httpx.Response(503, headers={"retry-after": "0"})
            case "half":
                return httpx.Response(200, json={"refresh_token": "y"})
            case _:
                return httpx.Response(200, json={"access_token": "x", "refresh_token": "y", "expires_in": 600})

    return token


async def test_a_refresh_without_an_answer_is_repeated_at_once(tmp_path: Path) -> None:
    """Later than ten seconds after it the recorder takes it for theft."""
    await FileTokens(tmp_path / "tokens").save(Grant("one", "", "r", "a", 0))
    token = refreshing("lost", "lost")
    foreign = Foreign({"Observation?": bundle(chunk("a"))}, token=token)
    taker = Taker()
    async with watching(tmp_path, foreign, taker):
        await until(lambda: len(taker.taken) == 1)
    assert len(foreign.refreshed) == 3 and len(set(foreign.refreshed)) == 1


async def test_a_refresh_without_an_answer_is_repeated_through_503(tmp_path: Path) -> None:
    await FileTokens(tmp_path / "tokens").save(Grant("one", "", "r", "a", 0))
    token = refreshing("lost", "busy", "busy", "half")
    foreign, taker = Foreign({"Observation?": bundle(chunk("a"))}, token=token), Taker()
    async with watching(tmp_path, foreign, taker) as service:
        await until(lambda: len(taker.taken) == 1)
        assert service.figures.turns == 1 and len(foreign.refreshed) == 5


async def test_an_unanswered_refresh_goes_before_all_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, and 30 are overdue: the recorder would not repeat it when their turns are over."""
    monkeypatch.setattr(session, "REPEAT_SECONDS", 0.0)  # a turn gives up at once
    monkeypatch.setattr(session, "LONGEST_PAUSE", 0.0)
    names = [f"p{number:02}" for number in range(30)]
    await grants(tmp_path, *names)
    await FileTokens(tmp_path / "tokens").save(Grant("p00", "", "r", "a", 0))
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    for number, name in enumerate(names):
        await journal.add(name, float(number))
    token = refreshing("lost", "busy")
    foreign, taker = Foreign({"Observation?": bundle(chunk("a"))}, token=token), Taker()
    async with watching(tmp_path, foreign, taker, concurrency=1) as service:
        await until(lambda: len(taker.taken) >= 3)
        assert "p00" in {one[0] for one in taker.taken[:3]}
        assert service.figures.last_errors == {"Unanswered": 1, "Busy": 1}


async def test_a_real_recorder_is_watched(backend: Backend, home: Home, tmp_path: Path) -> None:
    start = home.ddr.clock() - 4 * HOUR
    await home.device("d")
    await home.cgm("d", start)
    await home.readings("d", start, [100, 110])
    pairing_id = await backend.pair(home.patient, CGM)
    taker, stop = Taker(), asyncio.Event()
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    service = Watch(backend.diga, backend.http, backend.tokens, journal, taker, interval=0.1, ended=taker.end)
    running = asyncio.create_task(service.run(stop))
    await until(lambda: len(taker.taken) > 0)
    await home.readings("d", start + HOUR, [120])
    await until(lambda: taker.taken[-1][2] is not Kind.NEW)
    stop.set()
    await running
    assert {one[0] for one in taker.taken} == {pairing_id}


async def test_a_journal_that_is_away_for_a_while_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await grants(tmp_path, "one", "two")
    away, lost = {"claim": 2, "settle": 1, "pairings": 1, "keep": 1}, list[str]()

    def breaking(name: str) -> None:
        whole = getattr(SqliteJournal, name)

        async def part(self: SqliteJournal, *given: Any, **more: Any) -> Any:
            if running and away[name]:
                away[name] -= 1
                lost.append(name)
                raise OSError("the database is away")
            return await whole(self, *given, **more)

        monkeypatch.setattr(SqliteJournal, name, part)

    running = False
    for name in away:
        breaking(name)
    monkeypatch.setattr(watch, "LEASE_SECONDS", 0.1)
    taker = Taker()
    async with watching(tmp_path, Foreign({"Observation?": bundle(chunk("a"))}), taker) as service:
        await asyncio.sleep(0)
        running = True
        await until(lambda: len({one[0] for one in taker.taken}) == 2 and not any(away.values()))
        await until(lambda: service.figures.last_errors.get("OSError") == len(lost) == 5)
    assert "never retrieved" not in caplog.text


async def test_a_journal_that_is_away_at_the_beginning_is_an_error(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    await journal._db.execute("DROP TABLE watched")
    foreign = Foreign({})
    async with foreign.http() as http:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await Watch(DIGA, http, FileTokens(tmp_path / "tokens"), journal, Taker()).run()
