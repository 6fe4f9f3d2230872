"""Background work: retried after any error, counted, and logged only when its state changes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ddr.http import jobs as module
from ddr.http.jobs import Jobs
from tests.support.clock import Clock


@pytest.mark.parametrize(
    "fault", [KeyError("patient 0815"), OSError(), TimeoutError(), MemoryError(), RecursionError()]
)
async def test_work_goes_on_after_whatever_fault(
    clock: Clock, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    jobs, faults, good = Jobs(clock), [fault] * 3, asyncio.Event()

    async def work() -> None:
        if faults:
            raise faults.pop()
        good.set()

    with caplog.at_level(logging.INFO):
        running = asyncio.create_task(jobs.keep("work", work, 0.001))
        async with asyncio.timeout(60):
            await good.wait()
            while jobs.states["work"].failing_since_ms is not None:  # noqa: ASYNC110 - a matter of one round
                await asyncio.sleep(0)
    running.cancel()
    assert jobs.states["work"].failures == 3
    assert jobs.states["work"].runs >= 4
    assert jobs.states["work"].good_ms == clock()
    assert [record.message for record in caplog.records] == ["background.failed", "background.recovered"]


async def test_work_that_hangs_is_ended_and_counts_as_failed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.01)
    jobs = Jobs(clock)
    assert not await jobs.attempt("work", asyncio.Event().wait)
    assert jobs.states["work"].failures == 1
    assert jobs.states["work"].failing_since_ms == clock()


async def test_on_a_clock_that_was_set_back_it_fails_since_now(clock: Clock) -> None:
    """Else nobody is told until the clock has caught up."""
    jobs = Jobs(clock)

    async def work() -> None:
        raise OSError

    await jobs.attempt("work", work)
    clock.advance(-3600)
    await jobs.attempt("work", work)
    assert jobs.states["work"].failing_since_ms == clock()
    clock.advance(60)
    await jobs.attempt("work", work)
    assert jobs.states["work"].failing_since_ms == clock() - 60_000


async def test_rare_work_is_not_left_for_long_after_a_failure(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    this, usual = asyncio.current_task(), asyncio.sleep

    async def sleep(seconds: float) -> None:
        if asyncio.current_task() is not this:  # servers of other tests go on beside this one, and sleep in turns
            await usual(seconds)
            return
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    async def fail() -> None:
        raise ValueError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Jobs(clock).keep("work", fail, 3600)
    assert pauses[0] >= 2800 and max(pauses[1:]) <= module.AGAIN_SECONDS
