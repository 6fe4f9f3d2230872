"""The admin listener."""

from __future__ import annotations

from dataclasses import replace

import httpx
import orjson
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from ddr.call import Call
from ddr.durations import HOUR_MS
from ddr.http.core import Core
from ddr.http.fleet import Fleet
from ddr.http.jobs import State
from ddr.http.metrics import Metrics
from ddr.operations.admin import create_admin
from ddr.operations.status.checks import look
from ddr.store.database.pool import connect, open_pool
from tests.support.pooler import direct_only
from tests.support.trust import FakeTrust


async def get(core: Core, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(create_admin(core))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.request(method, path)


async def test_a_worker_that_can_serve_is_ready(core: Core) -> None:
    answer = await get(core, "/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": {"database": True, "diga-vz": True, "zts": True}}


async def test_stale_trust_data_is_named_and_takes_no_host_out_of_the_balancer(core: Core, trust: FakeTrust) -> None:
    """It is the same on all hosts; what depends on it is answered with its own code (OPS-005)."""
    trust.is_stale = True
    answer = await get(core, "/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["diga-vz"] is False


@pytest.mark.parametrize(("old", "fresh"), [("diga-vz", "zts"), ("zts", "diga-vz")])
async def test_the_registry_that_is_too_old_is_named_and_not_another(
    core: Core, trust: FakeTrust, old: str, fresh: str
) -> None:
    trust.is_stale, now_ms = True, core.clock()
    core.registry_seen.update({old: lambda: now_ms - 25 * HOUR_MS, fresh: lambda: now_ms, "hiis-vz": lambda: 0})
    assert (await get(core, "/readyz")).json()["checks"] == {"database": True, old: False, fresh: True}
    found = {one.key: one.cause for one in await look(core, 0)}
    assert fresh not in found and found[old] == f"{old} has not been readable for too long"


async def test_a_lost_database_is_named_while_the_process_is_healthy(core: Core) -> None:
    pool = await open_pool(core.settings)
    await pool.close()
    lost = replace(core, pool=pool)
    assert (await get(lost, "/readyz")).json()["checks"]["database"] is False
    assert (await get(lost, "/healthz")).status_code == 200


@direct_only
async def test_a_database_that_answers_and_cannot_be_used_is_told_so(
    core: Core, own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await connect(own_url, 1) as pool:
        full = replace(core, pool=pool)
        name = await pool.fetchval("SELECT current_database()")
        await pool.execute(f"ALTER DATABASE {name} SET temp_file_limit = 0")
        assert (await get(full, "/readyz")).json()["database-fault"] == "ConfigurationLimitExceededError"
        assert (await look(full, 0))[0].cause == "The database has reached one of its limits"
        await pool.execute(f"ALTER DATABASE {name} RESET temp_file_limit")
        await pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        assert (await get(full, "/readyz")).json()["database-fault"] == "the server is read-only"
        assert (await look(full, 0))[0].cause == "The database cannot store anything"
    told = [(record.msg, record.error) for record in caplog.records if hasattr(record, "error")]
    assert told == [
        ("database.unfit", "ConfigurationLimitExceededError"), ("database.unfit", "the server is read-only")
    ]  # fmt: skip


async def test_the_worker_that_answers_is_named(core: Core) -> None:
    answer = await get(replace(core, fleet=Fleet(3, pid=17)), "/healthz")
    assert answer.json() == {"status": "ok", "worker": 3, "pid": 17}


async def families(core: Core) -> dict[str, Metric]:
    """The samples of `/metrics`, as the library reads them."""
    answer = await get(core, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    """The values by those of the labels, in the order of the labels' names."""
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in family.samples}


async def test_every_metric_has_a_type_and_a_sentence(core: Core) -> None:
    found = await families(core)
    assert {"ddr_connections", "ddr_build_info", "ddr_worker_restarts"} <= found.keys()
    assert all(family.documentation and family.type in ("counter", "gauge", "histogram") for family in found.values())


async def test_any_worker_tells_the_figures_of_all(core: Core) -> None:
    core.jobs.states["seal"] = State(runs=3, failures=1)
    fleet = Fleet(2)
    fleet.learn({"1": {'ddr_background_runs_total{work="seal"}': 7}, "2": {"of": 0, "the": 0, "past": 0}}, restarts=4)
    found = await families(replace(core, fleet=fleet))
    assert values(found["ddr_background_runs"]) == {("seal", "1"): 7, ("seal", "2"): 3}
    assert values(found["ddr_worker_restarts"]) == {(): 4} and values(found["ddr_answering_worker"]) == {(): 2}
    assert "past" not in found


async def test_histograms_of_all_workers_are_told(core: Core) -> None:
    other = Metrics()
    for metrics, times in ((core.metrics, 1), (other, 2)):
        for _ in range(times):
            call = Call()
            call.spent("turn", 0.03)
            metrics.note("diga", "Observation.search", 503, call)
    fleet = Fleet(1)
    fleet.learn(orjson.loads(orjson.dumps({"2": other.figures()})), restarts=0)
    found = await families(replace(core, fleet=fleet))
    counts = {
        (one.labels["worker"], one.labels["le"]): one.value
        for one in found["ddr_request_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["phase"] == "turn" and one.labels["le"] in ("0.025", "0.05")
    }
    assert counts == {("1", "0.025"): 0, ("1", "0.05"): 1, ("2", "0.025"): 0, ("2", "0.05"): 2}
    assert values(found["ddr_refusals"])["Observation.search", "diga", "503", "2"] == 2


async def test_figures_of_another_version_are_left_out(core: Core) -> None:
    fleet = Fleet(1)
    series = 'ddr_request_seconds{listener="diga",interaction="x",phase="all"}'
    fleet.learn({"2": {series: [1, 2, 3], "ddr_connections": [1], "ddr_of_tomorrow": 1}}, restarts=0)
    found = await families(replace(core, fleet=fleet))
    assert "ddr_of_tomorrow" not in found and "ddr_request_seconds" not in found
    assert list(values(found["ddr_connections"])) == [("1",)]


async def test_other_paths_and_methods_are_refused(core: Core) -> None:
    assert (await get(core, "/")).status_code == 404
    answer = await get(core, "/healthz", "POST")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
