"""The clock that all hosts share."""

from __future__ import annotations

import time

import asyncpg
import pytest

from ddr.http.clock import now_ms
from ddr.store.database.clock import DatabaseClock


class Shifted:
    """A pool whose database is ahead."""

    def __init__(self, pool: asyncpg.Pool, ahead_ms: int) -> None:
        self.pool, self.ahead_ms = pool, ahead_ms

    def acquire(self) -> Shifted:
        return self

    async def __aenter__(self) -> Shifted:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def fetchval(self, statement: str) -> int:
        now: int = await self.pool.fetchval(statement)
        return now + self.ahead_ms


@pytest.mark.parametrize("ahead_ms", [5_000, -5_000, -600_000])
async def test_hosts_follow_the_database_and_so_agree(pool: asyncpg.Pool, ahead_ms: int) -> None:
    clock = DatabaseClock()
    await clock.read(Shifted(pool, ahead_ms))
    assert abs(clock() - now_ms() - ahead_ms) < 1_000


async def test_a_host_whose_own_clock_is_set_does_not_notice(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, before = DatabaseClock(), now_ms()
    await clock.read(pool)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert 0 <= clock() - before < 10_000
    told = clock.host_ahead_ms()
    assert -clock() - 1 <= told <= -before, "its own says 1970"


async def test_it_is_not_moved_by_the_noise_of_answers(pool: asyncpg.Pool) -> None:
    clock = DatabaseClock()
    await clock.read(pool)
    readings = []
    for noise_ms in (20, -20, 20, -20):
        await clock.read(Shifted(pool, noise_ms))
        readings.append(clock())
    assert readings == sorted(readings)
