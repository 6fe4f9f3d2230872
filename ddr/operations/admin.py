"""The admin listener: is the process alive, can it serve, a few figures. Loopback only; no patient data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, json_reply, problem, send_reply
from ddr.http.core import Core

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
    return json_reply({"status": "ok"})


async def _ready(core: Core) -> Reply:
    """200 when requests can be served, else 503 with what is missing."""
    checks = {"database": await core.pool.ready(), "diga-vz": not core.registry.stale(core.clock())}
    ready = all(checks.values())
    return json_reply({"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


async def _metrics(core: Core) -> Reply:
    figures = {
        "ddr_database_connections": core.pool.get_size(),
        "ddr_database_connections_idle": core.pool.get_idle_size(),
        "ddr_registry_stale": int(core.registry.stale(core.clock())),
        "ddr_worker_peak_memory_bytes": peak_memory_bytes(),
    }
    lines = [f"# TYPE {name} gauge\n{name} {value}\n" for name, value in figures.items()]
    return Reply(200, "".join(lines).encode(), EXPOSITION)


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far; 0 where the kernel does not tell (other than Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


_PAGES: dict[str, Callable[[Core], Awaitable[Reply]]] = {"/healthz": _health, "/readyz": _ready, "/metrics": _metrics}
