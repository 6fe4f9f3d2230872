"""The admin listener."""

from __future__ import annotations

from dataclasses import replace

import httpx

from ddr.http.core import Core
from ddr.http.fleet import Fleet
from ddr.http.jobs import State
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


async def test_stale_trust_data_is_named_and_takes_no_host_out_of_the_balancer(core: Core, trust: FakeTrust) -> None:
    """It is the same for all hosts; what depends on it is answered with its own code (OPS-005)."""
    trust.is_stale = True
    answer = await get(core, "/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["diga-vz"] is False


async def test_a_lost_database_is_named_while_the_process_is_healthy(core: Core) -> None:
    pool = await open_pool(core.settings)
    await pool.close()
    lost = replace(core, pool=pool)
    assert (await get(lost, "/readyz")).json()["checks"]["database"] is False
    assert (await get(lost, "/healthz")).status_code == 200


async def test_the_worker_that_answers_is_named(core: Core) -> None:
    answer = await get(replace(core, fleet=Fleet(3, pid=17)), "/healthz")
    assert answer.json() == {"status": "ok", "worker": 3, "pid": 17}


async def test_metrics_are_in_the_text_format(core: Core) -> None:
    answer = await get(core, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert lines[0] == "# TYPE ddr_connections gauge"
    assert all(line.startswith("# ") or len(line.split()) == 2 for line in lines)


async def test_any_worker_tells_the_figures_of_all(core: Core) -> None:
    core.jobs.states["seal"] = State(runs=3, failures=1)
    fleet = Fleet(2)
    fleet.learn({"1": {'ddr_background_runs_total{job="seal"}': 7}, "2": {"of": 0, "the": 0, "past": 0}}, restarts=4)
    lines = (await get(replace(core, fleet=fleet), "/metrics")).text.splitlines()
    at = lines.index("# TYPE ddr_background_runs_total counter")
    assert lines[at + 1 : at + 3] == [
        'ddr_background_runs_total{worker="1",job="seal"} 7',
        'ddr_background_runs_total{worker="2",job="seal"} 3',
    ]
    assert "ddr_worker_restarts_total 4" in lines and "ddr_answering_worker 2" in lines
    assert not any(line.startswith("past") for line in lines)
    assert len([line for line in lines if line.startswith("# TYPE ddr_background_runs_total")]) == 1


async def test_other_paths_and_methods_are_refused(core: Core) -> None:
    assert (await get(core, "/")).status_code == 404
    answer = await get(core, "/healthz", "POST")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
