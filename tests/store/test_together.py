"""Natural batching: what arrives during a statement is sent as the next one, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import cast
from unittest.mock import patch

import pytest

from ddr.store.database import together
from ddr.store.database.pool import Pool
from ddr.store.database.together import Line, Way

BAD, ODD = "bad", "odd"  # what no statement takes, and what goes by itself


class Table:
    """A database that notes what it is asked; statements end when they are let."""

    def __init__(self, most: int = together.MOST) -> None:
        self.alone: list[str] = []
        self.several: list[list[str]] = []
        self.forsaken: list[str] = []
        self.away: Exception | None = None
        self.open, self.open_for_several = asyncio.Event(), asyncio.Event()
        self.line = Line(cast(Pool, None), Way("SELECT 1", self._one, self._all, self.key, most))

    @staticmethod
    def key(item: str) -> str | None:
        return item[0] if item[0].isdigit() else None

    async def _one(self, _: object, item: str) -> str:
        self.alone.append(item)
        await self.open.wait()
        if item.startswith(BAD):
            raise ValueError(item)
        return item.upper()

    async def _all(self, _: object, items: Sequence[str]) -> Sequence[str | None]:
        self.several.append(list(items))
        await self.open_for_several.wait()
        if self.away:
            raise self.away
        if any(item.startswith(BAD) for item in items):
            raise ValueError
        return [None if item.startswith(ODD) else item.upper() for item in items]

    async def _forsaken(self, result: str) -> None:
        self.forsaken.append(result)

    def ask(self, *items: str) -> list[asyncio.Task[str]]:
        """Each as a request of its own."""
        return [asyncio.create_task(self.line.ask(item, self._forsaken)) for item in items]

    async def under_way(self, *items: str) -> list[asyncio.Task[str]]:
        """The same, begun."""
        tasks = self.ask(*items)
        await turns()
        return tasks

    async def done(self, tasks: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
        """What became of them."""
        self.open.set()
        self.open_for_several.set()
        return await asyncio.gather(*tasks, return_exceptions=True)


async def turns() -> None:
    """Everybody who can go on does."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_finds_nothing_under_way_goes_at_once_and_others_together() -> None:
    table = Table()
    tasks = await table.under_way("a", "b", "c", "d")
    assert (table.alone, table.several) == (["a"], [])
    assert await table.done(tasks) == ["A", "B", "C", "D"]
    assert (table.alone, table.several) == (["a"], [["b", "c", "d"]])
    assert await table.done(table.ask("e")) == ["E"]
    assert table.alone == ["a", "e"], "and nothing is left of it"


async def test_one_alone_in_waiting_goes_by_itself() -> None:
    table = Table()
    assert await table.done(await table.under_way("a", "b")) == ["A", "B"]
    assert (table.alone, table.several) == (["a", "b"], [])


async def test_those_with_one_key_go_one_after_the_other_in_order() -> None:
    table = Table()
    assert await table.done(await table.under_way("a", "1x", "2x", "1y", "1z", "2y")) == list(
        map(str.upper, ["a", "1x", "2x", "1y", "1z", "2y"])
    )
    assert (table.several, table.alone) == ([["1x", "2x"], ["1y", "2y"]], ["a", "1z"])


async def test_no_statement_takes_more_than_its_most() -> None:
    table = Table(most=3)
    await table.done(await table.under_way(*"abcdefgh"))
    assert table.several == [["b", "c", "d"], ["e", "f", "g"]]


async def test_a_bad_one_fails_by_itself() -> None:
    table = Table()
    found = await table.done(await table.under_way("a", "b", BAD, ODD, "c"))
    assert [str(one) for one in found] == ["A", "B", BAD, ODD.upper(), "C"]
    assert isinstance(found[2], ValueError)
    assert table.several == [["b", BAD, ODD, "c"]]


async def test_what_cannot_be_done_for_several_is_asked_again_by_itself_only() -> None:
    table = Table()
    assert await table.done(await table.under_way("a", ODD, "b")) == ["A", ODD.upper(), "B"]
    assert table.alone == ["a", ODD]


async def test_a_database_that_is_away_is_away_for_all_and_not_asked_again() -> None:
    table = Table()
    table.away = ConnectionError("away")
    found = await table.done(await table.under_way("a", "b", "c"))
    assert found[0] == "A"
    assert [type(one) for one in found[1:]] == [ConnectionError] * 2
    assert table.alone == ["a"]


@pytest.mark.parametrize("who", [0, 1, 2])
async def test_who_is_cancelled_takes_nobody_along(who: int) -> None:
    """The first, or one who waits: before its statement has begun."""
    table = Table()
    tasks = await table.under_way("a", "b", "c", "d")
    tasks[who].cancel()
    found = await table.done(tasks)
    assert [one for one in found if isinstance(one, str)] == [x for x in "ABCD" if x != "ABCD"[who]]
    assert isinstance(found[who], asyncio.CancelledError)
    assert not table.forsaken
    assert await table.done(table.ask("e")) == ["E"]


async def test_who_is_cancelled_under_way_cancels_nothing_and_the_result_is_told() -> None:
    table = Table()
    tasks = await table.under_way("a", "b", "c")
    table.open.set()
    await turns()
    assert table.several == [["b", "c"]]
    tasks[1].cancel()
    found = await table.done(tasks)
    assert found[2] == "C"
    assert isinstance(found[1], asyncio.CancelledError)
    await turns()
    assert table.forsaken == ["B"]


async def test_nobody_waits_for_one_that_waits_for_a_lock() -> None:
    table, stuck = Table(), asyncio.Event()

    async def one(_: object, item: str) -> str:
        await stuck.wait()
        return item

    async def several(_: object, items: Sequence[str]) -> Sequence[str | None]:
        return list(items)

    table.line = Line(cast(Pool, None), Way("SELECT 1", one, several))
    with patch.object(together, "PATIENCE_SECONDS", 0.0):
        first = table.ask("a")
        assert await asyncio.gather(*table.ask("b", "c")) == ["b", "c"]
        assert not first[0].done()
        stuck.set()
        assert await first[0] == "a"
    assert await asyncio.gather(*table.ask("d")) == ["d"]


@pytest.mark.parametrize("seed", range(60))
async def test_however_they_come_and_go_each_gets_its_own_once(seed: int) -> None:
    """Arrivals, cancellations, odd and bad ones at random: as if each had gone by itself."""
    random, performed, forsaken = Random(seed), Counter[str](), []
    running: Counter[str] = Counter()

    async def one(_: object, item: str) -> str:
        await asyncio.sleep(0)
        performed[item] += 1
        if item.startswith(BAD):
            raise ValueError(item)
        return item.upper()

    async def several(_: object, items: Sequence[str]) -> Sequence[str | None]:
        keys = [item[0] for item in items if item[0].isdigit()]
        assert len(keys) == len(set(keys))
        running["several"] += 1
        assert running["several"] == 1, "one at a time"
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        running["several"] -= 1
        if any(item.startswith(BAD) for item in items):
            raise ValueError
        done = [None if item.startswith(ODD) else item for item in items]
        performed.update(filter(None, done))
        return [item and item.upper() for item in done]

    async def left(result: str) -> None:
        forsaken.append(result.lower())

    line = Line(cast(Pool, None), Way("SELECT 1", one, several, Table.key))
    tasks: dict[str, asyncio.Task[str]] = {}
    for number in range(40):
        item = f"{random.choice(['0', '1', '2', 'n', 'n', 'm', 'm', 'm', ODD, ODD, BAD])}-{number}"
        tasks[item] = asyncio.create_task(line.ask(item, left))
        if random.random() < 0.25:
            tasks[random.choice(list(tasks))].cancel()
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
    found = dict(zip(tasks, await asyncio.gather(*tasks.values(), return_exceptions=True), strict=True))
    await turns()
    for item, result in found.items():
        if isinstance(result, asyncio.CancelledError):
            assert performed[item] == (item in forsaken), item
        elif item.startswith(BAD):
            assert str(result) == item
        else:
            assert (result, performed[item]) == (item.upper(), 1), item
    assert len(forsaken) == len(set(forsaken))
    assert all(isinstance(found[item], asyncio.CancelledError) for item in forsaken)
    assert await line.ask("last") == "LAST"
