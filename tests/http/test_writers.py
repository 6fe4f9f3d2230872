"""Of the writers for one patient, two are inside; the others wait, not for ever, and leave nothing behind."""

from __future__ import annotations

import asyncio
from types import NoneType
from uuid import uuid4

import pytest

from ddr.http.waiting import over
from ddr.http.writers import MOST, Writers
from ddr.store.database.faults import BUSY, PatientBusy, fault_of


async def test_as_many_as_may_are_inside_and_nobody_waits_for_another_patient() -> None:
    writers, patient = Writers(), uuid4()
    inside, most, done = 0, 0, 0

    async def write() -> None:
        nonlocal inside, most, done
        async with writers.one(patient):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(write())
        async with writers.one(uuid4()):
            assert done == 0
    assert (most, done, writers.places, writers.waiting) == (MOST, 5, {}, {})


async def test_who_waits_too_long_or_goes_away_leaves_the_place_to_others() -> None:
    writers, patient = Writers(seconds=0.01), uuid4()
    async with writers.one(patient), writers.one(patient):
        with pytest.raises(PatientBusy) as busy:
            async with writers.one(patient):
                raise AssertionError("a third one")
        writers.seconds = 60
        gone = asyncio.create_task(writers.one(patient).__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert fault_of(busy.value) == BUSY
    async with writers.one(patient), writers.one(patient):
        pass
    assert (writers.places, writers.waiting) == ({}, {})


@pytest.mark.parametrize("too_late", [False, True])
async def test_a_place_that_comes_when_its_waiter_goes_away_is_the_next_ones(too_late: bool) -> None:
    writers, patient, order = Writers(), uuid4(), list[str]()

    async def write(name: str) -> None:
        async with writers.one(patient):
            order.append(name)

    async with writers.one(patient), writers.one(patient):
        gone, *others = [asyncio.create_task(write(name)) for name in ("gone", "second", "third")]
        await asyncio.sleep(0)
        if not too_late:
            gone.cancel()
    if too_late:  # the place is its own, and it has not run since
        gone.cancel()
    await asyncio.gather(*others)
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (order, writers.places, writers.waiting) == (["second", "third"], {}, {})


async def test_who_is_told_to_go_is_not_given_a_place_and_nobody_passes_who_waits() -> None:
    writers, patient, order = Writers(), uuid4(), list[str]()

    async def write(name: str) -> None:
        async with writers.one(patient):
            order.append(name)
            await asyncio.sleep(0)

    async with writers.one(patient):
        async with writers.one(patient):
            tasks = [asyncio.create_task(write(name)) for name in ("told to go", "second")]
            await asyncio.sleep(0)
            over(next(iter(writers.waiting[patient])))
        tasks.append(asyncio.create_task(write("third")))
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in told] == [PatientBusy, NoneType, NoneType] and order == ["second", "third"]
    assert (writers.places, writers.waiting) == ({}, {})
