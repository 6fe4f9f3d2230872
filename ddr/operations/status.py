"""GET /status: what works at the moment, for anybody, machine-readable (HDDT operations; OPS-008).

Registry data that is too old is an outage of what relies on it; a registry that does not answer is announced before.
Notes on entries are for the operator (`ddr registry show`), not for the public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.fhir.instants import instant
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, json_reply, problem, send_reply
from ddr.http.core import Core
from ddr.operations.figures import background
from ddr.store.database.faults import FAULTS
from ddr.store.registries import losses
from ddr.store.registries.sources import Source, read_sources

PATH = "/status"
OPERATIONAL, DEMOTED, UNAVAILABLE = "operational", "demoted", "unavailable"  # the specification's words (OPS-029)
NEEDED = ("diga-vz", "zts")  # without them requests are refused
TROUBLE_MS = 60_000  # what fails for so long is announced
FUNCTIONS = ["pairing", "data-retrieval"]


def create_status(core: Core) -> ASGIApp:
    """The feed as an application of its own."""

    async def status(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, await _answer(core, scope))

    return status


async def _answer(core: Core, scope: Scope) -> Reply:
    if scope["path"].rstrip("/") != PATH:
        return problem(404, "Not found")
    if scope["method"] not in ("GET", "HEAD"):
        return problem(405, "Method not allowed", headers=(("allow", "GET, HEAD"),))
    return json_reply(await feed(core))


async def feed(core: Core) -> dict[str, Any]:
    """The document: overall status, events in force, and the state of each registry."""
    now_ms = core.clock()
    try:
        sources, held = await read_sources(core.pool), await losses.held(core.pool)
    except FAULTS:
        lost = _event(core, UNAVAILABLE, None, "The database does not answer")
        return _document(core, now_ms, [lost], {})
    events = [event for name, source in sources.items() if (event := _registry_event(core, name, source, now_ms))]
    events += _background_events(core, now_ms)
    if held:
        events.append(
            _event(core, DEMOTED, None, f"The DiGA-VZ took away {held} permissions at once; they are checked")
        )
    if core.settings.maintenance:
        events.insert(0, _event(core, UNAVAILABLE, None, core.settings.maintenance))
    return _document(core, now_ms, events, sources)


def _document(core: Core, now_ms: int, events: list[dict[str, Any]], sources: Mapping[str, Source]) -> dict[str, Any]:
    order = (UNAVAILABLE, DEMOTED)
    return {
        "status": next((word for word in order if any(event["status"] == word for event in events)), OPERATIONAL),
        "updated": instant(now_ms),
        "events": events,
        "registries": {name: _registry(source) for name, source in sources.items()},
        "metadata": {
            "fhir": f"{core.settings.public_base_url}/fhir/metadata",
            "oauth": f"{core.settings.public_base_url}/.well-known/oauth-authorization-server",
        },
        "mivs": {miv.valueset: miv.version for miv in core.catalog.mivs},
        "background": {
            name: {"failures": one.failures, "failing": None if one.since_ms is None else instant(one.since_ms)}
            for name, one in background(core).items()
        },
    }


def _background_events(core: Core, now_ms: int) -> list[dict[str, Any]]:
    """Work that has failed for a while, in any worker of this host."""
    return [
        _event(core, DEMOTED, one.since_ms, f"Background work fails: {name}", [])
        for name, one in background(core).items()
        if one.since_ms is not None and now_ms - one.since_ms >= TROUBLE_MS
    ]


def _registry_event(core: Core, name: str, source: Source, now_ms: int) -> dict[str, Any] | None:
    limit_ms = {
        "diga-vz": core.settings.registry_max_age_seconds * 1000,
        "zts": core.settings.zts_max_age_seconds * 1000,
    }.get(name)
    if limit_ms is not None and now_ms - source.seen_ms > limit_ms:
        began_ms = source.seen_ms + limit_ms if source.seen_ms else source.fault_ms
        return _event(core, UNAVAILABLE, began_ms, f"{name} could not be read for too long")
    if source.fault is not None and name in NEEDED:
        return _event(core, DEMOTED, source.fault_ms, f"{name} cannot be read at the moment", [])
    if name == "hiis-vz" and source.notes:
        return _event(core, DEMOTED, source.seen_ms, "The registration in the HIIS-VZ differs from this recorder", [])
    return None


def _event(
    core: Core, status: str, began_ms: int | None, cause: str, functions: list[str] | None = None
) -> dict[str, Any]:
    return {
        "status": status,
        "start": None if began_ms is None else instant(began_ms),
        "end": None,
        "cause": cause,
        "functions": FUNCTIONS if functions is None else functions,
        "endpoints": [core.settings.fhir_base, core.settings.public_base_url],
    }


def _registry(source: Source) -> dict[str, Any]:
    return {
        "seen": instant(source.seen_ms) if source.seen_ms else None,
        "reachable": source.fault is None,
        "notes": len(source.notes),
    }
