"""What surrounds the listeners so that each request is measured, and the name under which it is counted."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from ddr.call import CURRENT, Call
from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.http.core import Core
from ddr.http.guard import OUTAGE
from ddr.http.request_log.endpoints import RESOURCES

OTHER = "other"  # paths at which nothing is served
_OAUTH = {"par", "token", "revoke", "authorize", "jwks"}
_GATEWAY = {"devices", "measurements", "bridge", "fhir", "token", "openapi.json"}
_OF_SENSOR = {"gaps", "readings", "uploads", "complete", "calibrations"}
_PAGES = {"login", "logout", "consent", "me", "deleted", "static", "status", "docs", "healthz", "readyz", "metrics"}


def measured(app: ASGIApp, listener: str, core: Core) -> ASGIApp:
    """`app`, with its requests counted and timed in `core.metrics`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        call, status = Call(), 0
        token = CURRENT.set(call)

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            CURRENT.reset(token)
            if call.statements and status < 500:
                OUTAGE.served()
            name = interaction(scope["path"], scope["method"])
            core.metrics.note(listener, name, status, call)
            if core.traces is not None:
                core.traces.note(listener, name, status, call)

    return answer


def interaction(path: str, method: str) -> str:
    """One of about fifty names; none contains anything personal from a path (ids, keys, times)."""
    match path.strip("/").split("/"):
        case ["fhir", *rest]:
            return _fhir(rest)
        case ["oauth", name] if name in _OAUTH:
            return f"oauth.{name}"
        case [".well-known", "oauth-authorization-server"]:
            return "oauth.metadata"
        case ["gateway", "v1", *rest]:
            return _gateway(rest)
        case [first, *_] if first in _PAGES:
            return first
        case [""] if method in ("GET", "HEAD"):
            return "home"
        case _:
            return OTHER


def _fhir(rest: list[str]) -> str:
    match rest:
        case ["metadata"]:
            return "fhir.metadata"
        case [name] if name in RESOURCES:
            return f"{name}.search"
        case [name, "_search"] if name in RESOURCES:
            return f"{name}.search"
        case ["Observation", "$hddt-cgm-summary"]:
            return "Observation.summary"
        case [name, _] if name in RESOURCES:
            return f"{name}.read"
        case [name, _, "_history", _] if name in RESOURCES:
            return f"{name}.vread"
        case _:
            return f"fhir.{OTHER}"


def _gateway(rest: list[str]) -> str:
    match rest:
        case ["devices", _, "sensors"] | ["devices", _, "sensors", _]:
            return "gateway.sensors"
        case ["devices", _, "sensors", _, what, *_] if what in _OF_SENSOR:
            return f"gateway.{what}"
        case [first, *_] if first in _GATEWAY:
            return f"gateway.{first.removesuffix('.json')}"
        case _:
            return f"gateway.{OTHER}"
