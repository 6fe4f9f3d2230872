"""A thousand pairings with everyday times (Grace-Period 900 s, a refresh repeated for 10 s), in virtual time.

Processes of the DiGA are killed, requests cut off, responses lost, consents withdrawn, and the recorder is closed
twice, for most of an hour. `make poller` does the same in real time with real processes and shorter times.
"""

from __future__ import annotations

import asyncio
import math
import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from ddr.client import Grant, Kind, oauth, recorder, session, watch
from ddr.client.journal import Turn
from tests.client import crowd as recorders
from tests.client.crowd import CLOSED_RETRY, EPOCH, GRACE, Crowd, now
from tests.client.mortal import Disk, MortalJournal, Process, Row
from tests.support.virtual import run

PAIRINGS, PROCESSES, AT_ONCE = 1000, 2, 8
STORM = 1300.0  # seconds
KILL, CHANGE, WITHDRAW = 20.0, 1.0, 60.0  # seconds between two of them
CLOSED = [(EPOCH + 600, EPOCH + 780), (EPOCH + 1100, EPOCH + 1130)]
OPTIONS = {"interval": GRACE, "concurrency": AT_ONCE}


@pytest.fixture(autouse=True)
def virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's clocks are those of the loop, its chance is always the same."""
    clock = SimpleNamespace(time=now, monotonic=now)
    for module in (watch, session, oauth):
        monkeypatch.setattr(module, "time", clock)
    chance = random.Random(17)
    for module in (watch, recorder):
        monkeypatch.setattr(module, "random", chance)


class Story:
    """What happens, and what is left of it."""

    def __init__(self) -> None:
        self._chance = random.Random(17)
        names = [f"p{number:04}" for number in range(PAIRINGS)]
        self.disk, self.crowd = Disk(), Crowd(names, CLOSED, self._chance)
        self.disk.grants = {name: Grant(name, "", f"{name}.0", "", 0.0) for name in names}
        self._processes: list[Process] = []
        self._dead: list[Process] = []
        self.withdrawn: set[str] = set()
        self.kills = self.started_while_closed = 0

    async def tell(self) -> None:
        """The storm; then everybody has a look at everything, without a fault, and the processes end."""
        for whose in self.crowd.pairings.values():
            self.crowd.change(whose)
        self._processes = [Process(self.disk, self.crowd, **OPTIONS) for _ in range(PROCESSES)]
        storm = [asyncio.create_task(one) for one in (self._kill(), self._change(), self._withdraw())]
        await asyncio.wait(storm, timeout=STORM)  # they do not end by themselves
        for one in storm:
            one.cancel()
        assert [one for one in await asyncio.gather(*storm, return_exceptions=True) if isinstance(one, Exception)] == []
        self.crowd.calm, calm = True, now()
        async with asyncio.timeout(4 * GRACE):
            while waiting := [row for row in self.disk.rows.values() if row.whole < calm]:
                for row in waiting:
                    row.whole = 0.0  # looks at everything with its next turn
                await asyncio.sleep(5)
        for process in (*self._processes, *self._dead):
            await process.stop()

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(KILL * self._chance.uniform(0.5, 1.5))
            victim = self._processes.pop(self._chance.randrange(PROCESSES))
            victim.kill()
            self._dead.append(victim)
            self.kills += 1
            try:
                await asyncio.sleep(self._chance.uniform(0.5, 5.0))  # until somebody notices
            finally:
                self._processes.append(Process(self.disk, self.crowd, **OPTIONS))
                self.started_while_closed += any(start <= now() < end for start, end in CLOSED)

    async def _change(self) -> None:
        while True:
            await asyncio.sleep(CHANGE * self._chance.uniform(0.5, 1.5))
            self.crowd.change(self._chance.choice(list(self.crowd.pairings.values())))

    async def _withdraw(self) -> None:
        while True:
            await asyncio.sleep(WITHDRAW * self._chance.uniform(0.5, 1.5))
            whose = self._chance.choice(list(self.crowd.pairings.values()))
            whose.ended = True
            self.withdrawn.add(whose.name)


async def told() -> Story:
    """A story that has been told."""
    story = Story()
    await story.tell()
    return story


def test_a_thousand_pairings_lose_nothing_and_none_is_forgotten() -> None:
    story = run(told())
    crowd, disk, seen = story.crowd, story.disk, story.crowd.seen
    assert min(seen[what] for what in ("requests cut off", "answers lost", "refreshes repeated")) > 0, seen
    assert story.withdrawn and story.kills

    live = crowd.pairings.keys() - story.withdrawn
    assert seen["taken for theft"] == 0 and disk.grants.keys() == disk.rows.keys() == live
    assert set(disk.ended) == story.withdrawn

    kept: dict[str, dict[str, object]] = {name: {} for name in crowd.pairings}
    for name, change in disk.told:
        if change.kind is Kind.DELETED:
            kept[name].pop(change.id, None)
        else:
            assert change.resource is not None
            assert change.resource == crowd.versions[name, change.id, change.resource["meta"]["versionId"]]
            kept[name][change.id] = change.resource
    assert {name: kept[name] for name in live} == {name: crowd.pairings[name].content for name in live}

    polls = [crowd.pairings[name].polls for name in live]
    longest = max(after - before for each in polls for before, after in pairwise(each))
    assert min(map(len, polls)) > 1 and longest < 1.5 * GRACE
    # As the recorder wishes: so many at once (and what a dead process had sent), nobody too early but by whom a kill
    # or a lost answer has kept ignorant, and while it is closed only as many as find that out, each process by itself.
    assert crowd.most_at_once <= (PROCESSES + 1) * AT_ONCE
    assert seen["came back too early"] <= story.kills
    assert seen["told that the Grace-Period runs"] <= seen["answers lost"] + story.kills
    lessons = PROCESSES * sum(math.ceil((end - start) / CLOSED_RETRY) for start, end in CLOSED)
    assert seen["told that it is closed"] <= AT_ONCE * (lessons + story.started_while_closed)


def test_who_has_his_hands_full_does_not_look_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are due, and answers take long: the journal is asked when there is room, not all the time."""
    monkeypatch.setattr(recorders, "LATENCY", (30.0, 30.0))
    looks, next_due, claim = [0], MortalJournal.next_due, MortalJournal.claim

    async def counted_next_due(self: MortalJournal) -> float | None:
        looks[0] += 1
        return await next_due(self)

    async def counted_claim(self: MortalJournal, *values: Any, **options: Any) -> list[Turn]:
        looks[0] += 1
        return await claim(self, *values, **options)

    monkeypatch.setattr(MortalJournal, "next_due", counted_next_due)
    monkeypatch.setattr(MortalJournal, "claim", counted_claim)

    async def busy() -> int:
        names = ["p0", "p1", "p2"]
        disk, crowd = Disk(), Crowd(names, [], random.Random(17))
        crowd.calm = True
        disk.grants = {name: Grant(name, "", f"{name}.0", "", 0.0) for name in names}
        disk.due = dict.fromkeys(names, 0.0)
        disk.rows = {name: Row() for name in names}
        process = Process(disk, crowd, interval=GRACE, concurrency=1)
        await asyncio.sleep(60.0)
        found = looks[0]
        process.kill()
        await process.stop()
        return found

    assert 0 < run(busy()) < 10
