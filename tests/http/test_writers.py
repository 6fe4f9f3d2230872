"""Of those who write for one patient two are inside; the others wait, not for ever, and leave nothing behind."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

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
    assert (most, done, writers.places) == (MOST, 5, {})


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
    assert writers.places == {}
