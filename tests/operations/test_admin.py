"""The admin listener."""

from __future__ import annotations

from dataclasses import replace

import httpx

from ddr.http.core import Core
from ddr.operations.admin import create_admin
from ddr.store.database.pool import open_pool
from tests.support.trust import FakeTrust


async def get(core: Core, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(create_admin(core))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.request(method, path)


async def test_a_worker_that_can_serve_is_ready(core: Core) -> None:
    answer = await get(core, "/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": {"database": True, "diga-vz": True}}


async def test_stale_trust_data_is_named(core: Core, trust: FakeTrust) -> None:
    trust.is_stale = True
    answer = await get(core, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["diga-vz"] is False


async def test_a_lost_database_is_named_while_the_process_is_healthy(core: Core) -> None:
    pool = await open_pool(core.settings)
    await pool.close()
    lost = replace(core, pool=pool)
    assert (await get(lost, "/readyz")).json()["checks"]["database"] is False
    assert (await get(lost, "/healthz")).status_code == 200


async def test_metrics_are_in_the_text_format(core: Core) -> None:
    answer = await get(core, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert lines[0] == "# TYPE ddr_database_connections gauge"
    assert all(line.startswith("# ") or len(line.split()) == 2 for line in lines)


async def test_other_paths_and_methods_are_refused(core: Core) -> None:
    assert (await get(core, "/")).status_code == 404
    answer = await get(core, "/healthz", "POST")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
