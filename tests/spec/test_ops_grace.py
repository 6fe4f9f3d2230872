"""The Grace-Period is charged only for responses that arrived (OPS-028)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from ddr.demo.tls import client_context
from ddr.diga_api import search, visible
from ddr.settings import Settings
from ddr.store.authorization import grace
from ddr.store.database.pool import open_pool
from ddr.store.search.pages import first_page as first_page_of_all
from tests.spec.world import BG, Reader, paired
from tests.support.grace import pass_time
from tests.support.pooler import direct_only
from tests.support.recorder import Recorder

LEFT_SECONDS = 10


class Held:
    """Searches that begin while this is in place wait in the middle of their work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

        async def first_page(*args: Any) -> Any:
            self.begun.set()
            await self.go_on.wait()
            return await first_page_of_all(*args)

        monkeypatch.setattr(search, "first_page", first_page)


@pytest.fixture
async def reader(strict_ddr: Recorder) -> Reader:
    """A DiGA with a pairing whose Grace-Period does not run."""
    return await paired(strict_ddr, await strict_ddr.patient(), BG)


@pytest.fixture
async def doomed(settings: Settings, strict_ddr: Recorder) -> AsyncIterator[asyncpg.Pool]:
    """The connections of a worker that is about to be killed, in place of the recorder's."""
    usual = strict_ddr.core.pool
    pool = strict_ddr.core.pool = await open_pool(settings)
    yield pool
    strict_ddr.core.pool = usual
    pool.terminate()


async def status(reader: Reader) -> int:
    return (await reader.get("Observation")).status_code


@pytest.mark.requirement("OPS-028")
async def test_a_client_that_left_before_the_answer_need_not_wait(
    strict_ddr: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        held = Held(patch)
        base = strict_ddr.settings.diga_base_url.rpartition(":")[2]
        context = client_context(strict_ddr.authority.cert, reader.diga.certificate)
        _, writer = await asyncio.open_connection("localhost", int(base), ssl=context)
        token = reader.tokens.access_token
        writer.write(f"GET /fhir/Observation HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        await held.begun.wait()
        writer.close()
        await writer.wait_closed()
        held.go_on.set()
    async with asyncio.timeout(LEFT_SECONDS):
        while await status(reader) != 200:  # noqa: ASYNC110 - the recorder has not seen yet that the client left
            await asyncio.sleep(0.05)
    assert await status(reader) == 429


@direct_only  # the pooler's session continues; test_pooler shows what happens then
@pytest.mark.requirement("OPS-028")
async def test_a_worker_that_died_before_the_answer_charges_nothing(
    strict_ddr: Recorder, reader: Reader, doomed: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        held = Held(patch)
        lost = asyncio.create_task(status(reader))
        await held.begun.wait()
    strict_ddr.core.pool = other = await open_pool(strict_ddr.settings)
    assert await status(reader) == 429  # one of two simultaneous requests is answered
    doomed.terminate()
    async with asyncio.timeout(LEFT_SECONDS):
        while await status(reader) != 200:  # noqa: ASYNC110 - the database has not seen yet that its client is gone
            await asyncio.sleep(0.05)
    assert await status(reader) == 429
    lost.cancel()
    held.go_on.set()
    await asyncio.gather(lost, return_exceptions=True)
    await other.close()


@pytest.mark.requirement("OPS-028")
@pytest.mark.parametrize("statement_cache", [100, 0], ids=["direct", "pooled"])
async def test_a_claim_ends_with_its_time_unless_its_worker_puts_it_off(
    strict_ddr: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch, statement_cache: int
) -> None:
    """The session of a dead worker may continue, as behind a pooler; a worker that is alive may answer slowly."""
    core, pool = strict_ddr.core, strict_ddr.core.pool
    monkeypatch.setattr(core, "settings", replace(core.settings, database_statement_cache=statement_cache))
    monkeypatch.setattr(grace, "RENEW_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        held = Held(patch)
        slow = asyncio.create_task(status(reader))
        await held.begun.wait()
        await pass_time(pool)
        await core.grace_claims.flush(pool)
        patch.undo()
        assert await status(reader) == 429, "its worker lives"
        await pass_time(pool)
        assert await status(reader) == 200, "nothing was heard of it"
    await core.grace_claims.flush(pool)
    await pass_time(pool)
    assert await status(reader) == 429, "an answer that is confirmed counts for ever"
    held.go_on.set()
    assert await slow == 200


@pytest.mark.requirement("OPS-028")
async def test_what_fails_between_the_claim_and_the_search_charges_nothing(
    strict_ddr: Recorder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(visible, "due", lambda *_: True)
        patch.setattr(visible, "open_up", fail)
        assert await status(reader) == 503
    assert await status(reader) == 200


@pytest.mark.requirement("OPS-028")
async def test_an_answer_that_arrived_counts_whatever_becomes_of_its_worker(
    strict_ddr: Recorder, reader: Reader, doomed: asyncpg.Pool
) -> None:
    assert await status(reader) == 200
    await strict_ddr.core.grace_claims.flush(doomed)
    strict_ddr.core.pool = other = await open_pool(strict_ddr.settings)
    doomed.terminate()
    assert await status(reader) == 429
    await other.close()


@pytest.mark.requirement("OPS-028")
async def test_of_many_at_once_exactly_one_is_answered(reader: Reader) -> None:
    assert sorted(await asyncio.gather(*(status(reader) for _ in range(8)))) == [200] + [429] * 7
