"""How requests are answered, for a worker's checks: our failures, not refusals (OPS-008, OPS-016)."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from ddr.fhir.outages import HEADER, Outage
from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.http.core import Core
from ddr.operations.maintenance import BACKEND
from ddr.operations.status.functions import DATA, INGESTION, SUMMARY

REFUSED, FAILED = 400, 500
_CAUSE = HEADER.lower().encode()
_NO_FAILURES = {Outage.PLANNED_MAINTENANCE.encode(), Outage.TEMPORARY_DISRUPTION.encode()}
_SUMMARY = "/fhir/Observation/$hddt-cgm-summary"
_GATEWAY_DOCUMENTS = {"/gateway/v1/openapi.json", "/gateway/v1/fhir/metadata"}


def observed(app: ASGIApp, core: Core, function_of: Callable[[str], str | None]) -> ASGIApp:
    """`app`, noting for `core.watch` each response to a path that belongs to a function.

    It is noted when it has ended: if a response is withheld at its end (ddr.http.exchange), its replacement counts.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        function = function_of(scope["path"])
        if function is None:
            await app(scope, receive, send)
            return

        start: MutableMapping[str, Any] = {}

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                _note(core, function, start)

        await app(scope, receive, noting)

    return call


def _note(core: Core, function: str, start: MutableMapping[str, Any]) -> None:
    """Maintenance, limits and refusals do not tell whether the function works. Otherwise a client that is admitted
    nowhere (401), or requests what does not exist (404), would hide that nobody else is served."""
    if REFUSED <= start["status"] < FAILED:
        return
    failed = start["status"] >= FAILED
    cause = next((value for name, value in start["headers"] if name.lower() == _CAUSE), b"") if failed else b""
    if cause not in _NO_FAILURES:
        core.watch.answered(function, not failed, core.clock())


def of_diga(path: str) -> str | None:
    """The function of a path on the DiGA listener."""
    if path.startswith("/fhir/") and path != "/fhir/metadata":
        return SUMMARY if path == _SUMMARY else DATA
    return BACKEND.get(path)


def of_gateway(path: str) -> str | None:
    """The function of a path on the gateway listener; its descriptions are public and take nothing in."""
    return None if path.rstrip("/") in _GATEWAY_DOCUMENTS else INGESTION
