"""The admin listener: is the process alive, can it serve, a few figures. Loopback only; no patient data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, json_reply, problem, send_reply
from ddr.http.core import Core
from ddr.http.fleet import Figures, Fleet
from ddr.operations.figures import worker_figures
from ddr.store.database.faults import FAULTS
from ddr.store.registries import losses

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus text format


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
    """200 as long as the event loop runs; says nothing about what the process depends on."""
    return json_reply({"status": "ok", "worker": core.fleet.number, "pid": core.fleet.pid})


async def _ready(core: Core) -> Reply:
    """200 when this worker can answer for itself, else 503; and what is missing.

    A stale registry is told, but takes no host out of a balancer: it is the same for all, and each of them answers what
    depends on it with the codes that DiGA know (OPS-005), which a balancer does not.
    """
    checks = {"database": await core.pool.ready(), "diga-vz": not core.registry.stale(core.clock())}
    ready = checks["database"]
    return json_reply({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


async def _metrics(core: Core) -> Reply:
    """The figures of all workers of this host; those of others are up to a second old."""
    workers = core.fleet.figures(worker_figures(core))
    text = exposition(workers, core.fleet) + await _registry_figures(core)
    return Reply(200, text.encode(), EXPOSITION)


async def _registry_figures(core: Core) -> str:
    """Ends that wait for an operator (`ddr registry confirm`); left out when the database does not tell."""
    try:
        held = await losses.held(core.pool)
    except FAULTS:
        return ""
    return f"# TYPE ddr_registry_ends_held gauge\nddr_registry_ends_held {held}\n"


def exposition(workers: Mapping[int, Figures], fleet: Fleet) -> str:
    """Prometheus text format: one family after another, each sample with the number of its worker."""
    families: dict[str, list[str]] = {}
    for number, figures in workers.items():
        for series, value in figures.items():
            name, _, labels = series.partition("{")
            labels = ",".join(filter(None, (f'worker="{number}"', labels.rstrip("}"))))
            families.setdefault(name, []).append(f"{name}{{{labels}}} {value}\n")
    families["ddr_worker_restarts_total"] = [f"ddr_worker_restarts_total {fleet.restarts}\n"]
    families["ddr_answering_worker"] = [f"ddr_answering_worker {fleet.number}\n"]
    return "".join(f"# TYPE {name} {_kind(name)}\n{''.join(samples)}" for name, samples in families.items())


def _kind(name: str) -> str:
    return "counter" if name.endswith("_total") else "gauge"


_PAGES: dict[str, Callable[[Core], Awaitable[Reply]]] = {"/healthz": _health, "/readyz": _ready, "/metrics": _metrics}
