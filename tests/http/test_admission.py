"""Turns: no request waits longer than the patience, no room and no caller takes all, and nothing is lost on the way."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from ddr.http.admission import Admission, NoTurn


async def hold(admission: Admission, room: str, whose: object, let_go: asyncio.Event) -> None:
    async with admission.turn(room, whose):
        await let_go.wait()


async def settled() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def admission() -> Admission:
    """16 places, of which reading and ingestion keep 4 each, the others 1 each."""
    return Admission(8)


async def test_each_room_keeps_its_share(admission: Admission) -> None:
    let_go = asyncio.Event()
    uploads = [asyncio.create_task(hold(admission, "ingestion", i, let_go)) for i in range(30)]
    await settled()
    assert admission.running == 10  # what the shares of the others leave
    readers = [asyncio.create_task(hold(admission, "reading", i, let_go)) for i in range(4)]
    browser = asyncio.create_task(hold(admission, "pages", "a", let_go))
    await settled()
    assert admission.running == 15
    let_go.set()
    await asyncio.gather(*uploads, *readers, browser)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_one_caller_does_not_take_the_places_of_others(admission: Admission) -> None:
    let_go = asyncio.Event()
    greedy = [asyncio.create_task(hold(admission, "ingestion", "greedy", let_go)) for _ in range(50)]
    await settled()
    assert admission.running == 2
    async with asyncio.timeout(60), admission.turn("ingestion", "other"):
        assert admission.running == 3
    let_go.set()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_who_would_wait_too_long_is_told_at_once(admission: Admission) -> None:
    let_go, loop = asyncio.Event(), asyncio.get_running_loop()
    for line in admission._lines.values():
        line.seconds = 0.5  # as requests took before
    held = [asyncio.create_task(hold(admission, "reading", i, let_go)) for i in range(10)]
    await settled()
    waiting = [asyncio.create_task(hold(admission, "reading", f"w{i}", let_go)) for i in range(25)]
    await settled()
    began = loop.time()
    with pytest.raises(NoTurn):
        async with admission.turn("reading", "late"):
            pass
    assert loop.time() - began < 0.2
    let_go.set()
    await asyncio.gather(*held)
    assert any(isinstance(found, NoTurn) for found in await asyncio.gather(*waiting, return_exceptions=True))


async def test_the_patience_ends_also_when_the_guess_was_wrong(admission: Admission) -> None:
    let_go = asyncio.Event()
    with patch("ddr.http.admission.PATIENCE", 0.1):
        held = [asyncio.create_task(hold(admission, "reading", i, let_go)) for i in range(10)]
        await settled()
        with pytest.raises(NoTurn):
            async with admission.turn("reading", "late"):
                pass
    let_go.set()
    await asyncio.gather(*held)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_who_goes_away_leaves_its_place(admission: Admission) -> None:
    let_go = asyncio.Event()
    held = [asyncio.create_task(hold(admission, "reading", i, let_go)) for i in range(15)]
    await settled()
    for task in held[:12]:
        task.cancel()
    await settled()
    assert (admission.running, admission.waiting) == (3, 0)
    let_go.set()
    await asyncio.gather(*held, return_exceptions=True)
    assert admission.running == 0
