"""The admin listener: liveness, readiness, metrics. Loopback only; no patient data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, json_reply, problem, send_reply
from ddr.http.core import Core
from ddr.operations.exposition import CONTENT_TYPE, exposition
from ddr.operations.figures import DESCRIBED as WORKER
from ddr.operations.figures import worker_figures
from ddr.operations.host_figures import DESCRIBED as HOST
from ddr.operations.host_figures import host_figures
from ddr.operations.status.checks import DIGA_VZ, ZTS, too_old


def create_admin(core: Core) -> ASGIApp:
    """GET /healthz, /readyz and /metrics."""

    async def admin(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, await _answer(core, scope))

    return admin


async def _answer(core: Core, scope: Scope) -> Reply:
    page = _PAGES.get(scope["path"])
    if page is None:
        return problem(404, "Not found")
    if scope["method"] not in ("GET", "HEAD"):
        return problem(405, "Method not allowed", headers=(("allow", "GET, HEAD"),))
    return await page(core)


async def _health(core: Core) -> Reply:
    """200 as long as the event loop runs; it says nothing about dependencies."""
    return json_reply({"status": "ok", "worker": core.fleet.number, "pid": core.fleet.pid})


async def _ready(core: Core) -> Reply:
    """200 when this worker can serve requests, else 503; the body says what is missing.

    A stale registry is reported, but takes no host out of a balancer. It is stale for all hosts, and each answers the
    requests that depend on it with the codes that DiGA know (OPS-005), which a balancer does not.
    """
    old = too_old(core, core.clock())
    checks = {"database": await core.pool.ready(), **{name: name not in old for name in (DIGA_VZ, ZTS)}}
    ready = checks["database"]
    told = {"status": "ready" if ready else "not ready", "checks": checks}
    if core.pool.unfit is not None:
        told["database-fault"] = core.pool.unfit.error
    if states := core.pool.servers.states.report():
        told["database-hosts"] = states
    return json_reply(told, 200 if ready else 503)


async def _metrics(core: Core) -> Reply:
    """The metrics of all workers of this host; those of the other workers are up to a second old."""
    host = await host_figures(core)

    def written() -> bytes:
        return exposition(core.fleet.figures(worker_figures(core)), host, described(core))

    return Reply(200, await asyncio.to_thread(written), CONTENT_TYPE)


def described(core: Core) -> Mapping[str, str]:
    """The names in `/metrics`, with a sentence for each."""
    counted = {
        f"{one.name}_total" if one.type == "counter" else one.name: one.documentation
        for one in core.metrics.registry.collect()
    }
    return {**WORKER, **HOST, **counted}


_PAGES: dict[str, Callable[[Core], Awaitable[Reply]]] = {"/healthz": _health, "/readyz": _ready, "/metrics": _metrics}
