"""What DiGA see while the database restarts: refusals in FHIR's form, and data as soon as it is back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from ddr.settings import Settings
from ddr.store.database.pool import open_pool
from tests.spec.backend import Backend
from tests.support.database import itself, migrated_database
from tests.support.received import received
from tests.support.recorder import Recorder, recorder
from tests.support.relay import Relay

CGM = "continuous-glucose-measurement"
REDEEMED = "SELECT count(*) FROM authorization_code WHERE redeemed_ms IS NOT NULL"
REPLAYED = "SELECT count(*) FROM audit WHERE event = 'diga:code:replayed'"

_END_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()"""


async def test_every_connection_may_break_at_any_time(alone: Recorder) -> None:
    diga, patient = await alone.diga(), await alone.patient()
    headers = {"authorization": f"Bearer {(await alone.pair(diga, patient)).access_token}"}

    async def ask() -> httpx.Response:
        return await diga.http.get("Device", headers=headers)

    database = await asyncpg.connect(itself(alone.settings.database_url))
    for _ in range(3):
        asking = [asyncio.create_task(ask()) for _ in range(20)]
        await asyncio.sleep(0.02)
        assert await database.fetch(_END_ALL)
        for answer in await asyncio.gather(*asking):
            assert answer.status_code == 200 or (answer.status_code == 503 and int(answer.headers["retry-after"]) > 0)
            assert answer.json()["resourceType"] == ("Bundle" if answer.is_success else "OperationOutcome")
    await database.close()
    async with asyncio.timeout(60):
        while not (await ask()).is_success:
            pass  # the effects of a lost connection show at the next request
    assert [(await ask()).status_code for _ in range(10)] == [200] * 10


@pytest.mark.requirement("AS-009")
async def test_a_code_that_was_redeemed_as_the_database_was_lost_is_good_when_it_is_back(
    settings: Settings,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is away for longer than a response waits; the DiGA got 503, and presents its code once more."""
    monkeypatch.setattr("ddr.store.database.settling.SETTLE_SECONDS", 0.2)
    async with migrated_database(database_url) as url, Relay(url).running() as relay:
        own = replace(settings, database_url=relay.url)
        async with await open_pool(own) as pool, recorder(pool, own, tmp_path / "cut", received, {}) as ddr:
            database = await asyncpg.connect(itself(url))
            backend = Backend(ddr, await ddr.diga(CGM))
            code = await backend.code(await ddr.patient(), CGM)
            relay.marked = b"UPDATE authorization_code"
            unheard = await backend.exchange(code)
            assert unheard.status_code == 503 and int(unheard.headers["retry-after"]) > 0
            assert relay.is_cut.is_set()
            assert await database.fetchval(REDEEMED) == 1, "it was committed"
            relay.mend()
            async with asyncio.timeout(60):
                while True:
                    if not await database.fetchval(REDEEMED):
                        break
                    await asyncio.sleep(0.05)
            answer = await backend.exchange(code)
            assert answer.status_code == 200, answer.text
            assert (await backend.fhir(answer.json())).status_code == 200
            assert await database.fetchval(REPLAYED) == 0
            await database.close()
