"""The law of admission, in virtual time: served requests stay fast whatever comes, and a crowd is not turned away.

One worker that handles several requests at once, each of which takes SERVICE seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from ddr.call import CONNECTION, CURRENT, Call, spent
from ddr.http.admission import APART, PATIENCE, Admission, NoTurn
from ddr.http.breadth import CROWDED, RUSHED, USUAL, Breadth
from ddr.http.guard import SELDOM_SECONDS, Seldom
from ddr.http.pace import Pace
from tests.support.virtual import run

SERVICE = 0.02  # seconds
LOOK = 0.02  # between two looks at how late the loop is
CONNECTIONS = 4
AT_ONCE = 4  # places of reading that one DiGA can have (ddr.http.admission.SHARES)
SUSTAINED = AT_ONCE / SERVICE  # requests a second


@dataclass
class Seen:
    """Seconds until the end of the answer."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)  # when these were


class World:
    """A worker, and who asks it. To be made within the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(CONNECTIONS, self._loop.time)
        self._random = random.Random(7)

    async def ask(self, seen: Seen, whose: str = "diga", room: str = "reading") -> None:
        """One request."""
        began = self._loop.time()
        try:
            async with self.admission.turn(room, whose):
                await asyncio.sleep(SERVICE)
            seen.served.append(self._loop.time() - began)
        except NoTurn:
            seen.told.append(self._loop.time())
            seen.refused.append(seen.told[-1] - began)

    async def offered(self, rate: float, seconds: float, whose: str = "diga", connections: int = 10_000) -> Seen:
        """So many requests a second at random instants, as long as connections are free for them; nobody waits for the
        answers to those before."""
        seen, until, asking = Seen(), self._loop.time() + seconds, set[asyncio.Task[None]]()
        async with asyncio.TaskGroup() as group:
            while self._loop.time() < until:
                if len(asking) < connections:
                    asking.add(one := group.create_task(self.ask(seen, whose)))
                    one.add_done_callback(asking.discard)
                await asyncio.sleep(self._random.expovariate(rate))
        return seen

    async def insisting(self, connections: int, seconds: float, whose: str = "diga") -> Seen:
        """So many connections, each of which asks again when it has its answer."""
        seen, until = Seen(), self._loop.time() + seconds

        async def connection() -> None:
            while self._loop.time() < until:
                await self.ask(seen, whose)

        await asyncio.gather(*(connection() for _ in range(connections)))
        return seen


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


@pytest.mark.parametrize(("times", "most"), [(1.2, 0.5), (1.5, 5 * SERVICE), (4, 3 * SERVICE), (15, 3 * SERVICE)])
def test_what_is_served_in_a_flood_stays_fast(times: float, most: float) -> None:
    """The higher, the sooner it is seen as one."""

    async def story() -> tuple[Seen, Seen]:
        world = World()
        return await world.offered(SUSTAINED / 20, 10), await world.offered(times * SUSTAINED, 4)

    light, heavy = run(story())
    assert not light.refused and p99(light.served) < 1.01 * SERVICE
    assert p99(heavy.served) <= most
    assert len(heavy.served) >= 0.9 * SUSTAINED * 4  # nothing is left idle for it
    assert max(heavy.refused) <= PATIENCE * (1 + APART) + SERVICE


def test_who_insists_does_not_change_that() -> None:
    async def story() -> Seen:
        return await World().insisting(128, 4)

    heavy = run(story())
    assert p99(heavy.served) <= 3 * SERVICE
    assert len(heavy.served) >= 0.9 * SUSTAINED * 4


def test_in_a_flood_a_connection_is_refused_once_in_the_patience() -> None:
    """A refusal takes the worker's time, too, and who is told at once is there again at once."""

    async def story() -> Seen:
        world = World()
        await world.offered(4 * SUSTAINED, 2, connections=128)
        return await world.offered(4 * SUSTAINED, 4, connections=128)

    heavy = run(story())
    assert len(heavy.refused) <= 128 * 4 / PATIENCE
    assert max(heavy.refused) <= PATIENCE * (1 + APART) + SERVICE
    assert p99(heavy.served) <= 3 * SERVICE
    assert len(heavy.served) >= 0.9 * SUSTAINED * 4


def test_those_who_are_told_do_not_come_back_in_step() -> None:
    """A crowd that came at one moment would be there again at one moment, each time all of it beside those served."""
    told = run(_told())
    tenths = Counter(int(10 * at) for at in told if at >= told[0] + 4)
    assert sum(tenths.values()) > 200
    assert max(tenths.values()) <= 3 * sum(tenths.values()) / len(range(min(tenths), max(tenths) + 1))


async def _told() -> list[float]:
    return (await World().insisting(128, 8)).told


def test_a_crowd_that_comes_at_once_is_served() -> None:
    async def story() -> Seen:
        world, seen = World(), Seen()
        for _ in range(3):
            await asyncio.gather(*(world.ask(seen) for _ in range(150)))
            await asyncio.sleep(2)
        return seen

    seen = run(story())
    assert not seen.refused
    assert max(seen.served) <= PATIENCE


def test_connections_that_take_turns_are_all_served_in_order() -> None:
    async def story() -> Seen:
        return await World().insisting(4 * AT_ONCE, 10)

    seen = run(story())
    assert not seen.refused
    assert max(seen.served) <= 5 * SERVICE


def test_after_a_flood_a_crowd_is_served_again() -> None:
    async def story() -> Seen:
        world, seen = World(), Seen()
        await world.offered(4 * SUSTAINED, 3)
        await asyncio.sleep(2 * PATIENCE)
        await asyncio.gather(*(world.ask(seen) for _ in range(50)))
        return seen

    assert not run(story()).refused


def test_a_flood_of_one_is_not_felt_by_others() -> None:
    async def story() -> tuple[Seen, Seen]:
        world = World()
        return await asyncio.gather(world.offered(5 * SUSTAINED, 4, "flood"), world.offered(10, 4, "other"))

    flood, other = run(story())
    assert flood.refused and not other.refused
    assert max(other.served) <= 3 * SERVICE


def test_a_worker_that_is_late_begins_less_and_later_more_again() -> None:
    breadth = Breadth(16)
    for _ in range(20):
        breadth.note(2 * USUAL.late)
    assert breadth.places == USUAL.least
    for _ in range(100):
        breadth.note(0.0)
    assert breadth.places == 16
    assert Breadth(2).places == 2  # few connections


def test_while_more_comes_than_can_be_done_less_lateness_is_borne() -> None:
    usual, crowded = Breadth(16), Breadth(16)
    for _ in range(50):
        usual.note(2 * CROWDED.late)
        crowded.note(2 * CROWDED.late, CROWDED)
    assert (usual.places, crowded.places) == (16, CROWDED.least)
    for _ in range(100):
        crowded.note(0.0)
    assert crowded.places == 16


async def _narrowest(world: World, seconds: float) -> int:
    """The fewest places within so many seconds, in which each look finds the loop late, but not by much."""
    fewest = world.admission.breadth.places
    for _ in range(round(seconds / LOOK)):
        await asyncio.sleep(LOOK)
        world.admission.late(2 * RUSHED.late)
        fewest = min(fewest, world.admission.breadth.places)
    return fewest


def test_in_the_first_moments_of_a_flood_less_is_begun_and_not_of_a_crowd() -> None:
    async def flood() -> int:
        world = World()
        return (await asyncio.gather(_narrowest(world, 0.25), world.offered(6 * SUSTAINED, 0.25)))[0]

    async def crowd() -> int:
        world, seen = World(), Seen()
        asking = asyncio.gather(*(world.ask(seen) for _ in range(64)))
        fewest = await _narrowest(world, 2 * PATIENCE)
        await asking
        assert not seen.refused
        return fewest

    async def turns() -> int:
        world = World()
        return (await asyncio.gather(_narrowest(world, 2), world.insisting(4 * AT_ONCE, 2)))[0]

    most = 2 * CONNECTIONS
    assert (run(flood()), run(crowd()), run(turns())) == (RUSHED.least, most, most)


def test_waits_for_the_database_narrow_too_and_count_once_a_look() -> None:
    breadth = Breadth(16)
    for _ in range(50):
        breadth.waited(2 * USUAL.late)
    assert breadth.places == 16  # nobody has looked yet
    breadth.note(0.0)
    narrow = breadth.places
    assert USUAL.least < narrow < 16
    breadth.note(0.0)
    assert breadth.places >= narrow


def test_a_request_tells_how_long_it_waited_for_a_connection() -> None:
    async def story() -> int:
        admission = World().admission
        token = CURRENT.set(Call())
        async with admission.turn("reading", "diga"):
            spent(CONNECTION, 2 * USUAL.late)
        CURRENT.reset(token)
        admission.late(0.0)
        return admission.most - admission.breadth.places

    assert run(story()) > 0


def test_places_that_come_back_are_given_to_who_waits() -> None:
    async def story() -> int:
        world, seen = World(), Seen()
        for _ in range(20):
            world.admission.late(1.0)
        tasks = [asyncio.create_task(world.ask(seen, f"diga-{number}")) for number in range(8)]
        await asyncio.sleep(0)
        few = world.admission.running
        for _ in range(100):
            world.admission.late(0.0)
        more = world.admission.running
        await asyncio.gather(*tasks)
        return more - few

    assert run(story()) > 0


def test_between_two_refusals_everybody_else_gets_on() -> None:
    async def story() -> list[int]:
        pace, refused, seen = Pace(), 0, []

        async def refusal() -> None:
            nonlocal refused
            await pace.step()
            refused += 1

        refusals = [asyncio.create_task(refusal()) for _ in range(50)]
        refusals[3].cancel()
        while not all(task.done() for task in refusals):
            before = refused
            await asyncio.sleep(0)  # one step of somebody who is worked on
            seen.append(refused - before)
        assert refused == 49
        return seen

    assert max(run(story())) == 1


def test_refusals_in_a_flood_are_told_once_a_second() -> None:
    now = 5.0
    seldom = Seldom(lambda: now)
    assert [seldom.due() for _ in range(3)] == [True, False, False]
    now += SELDOM_SECONDS
    assert seldom.due()
