"""What DiGA see while the database restarts: refusals in the form of FHIR, and answers again as soon as it is back."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx

from tests.support.database import itself
from tests.support.recorder import Recorder

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
    async with asyncio.timeout(10):
        while not (await ask()).is_success:
            pass  # what a lost connection leaves behind shows at the next request
    assert [(await ask()).status_code for _ in range(10)] == [200] * 10
