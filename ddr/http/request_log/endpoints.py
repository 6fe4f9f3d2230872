"""The operations of the interface by path, without anything that a caller may put into the path. Pure.

A path may contain the id of a resource, a misplaced token or anything else, so the log has templates instead.
"""

from __future__ import annotations

from http import HTTPStatus

RESOURCES = frozenset({"Observation", "Device", "DeviceMetric"})
OPERATIONS = frozenset({"_search", "$hddt-cgm-summary"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

HEARTBEAT, CONNECTION, AUTHORIZATION, TRANSFER = "Heartbeat", "Connection", "Authorization", "Transfer"
UNKNOWN = "/{unknown}"

_DOCUMENTS = frozenset(
    {
        "/status",
        "/status.json",
        "/status.html",
        "/status.atom",
        "/status.schema.json",
        "/fhir/metadata",
        "/oauth/jwks",
        "/.well-known/oauth-authorization-server",
        "//.well-known/oauth-authorization-server",
        "/docs/client-registration",
        "/docs/openapi.json",
    }
)
_AUTHORIZATION = frozenset(
    {
        "/oauth/par",
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/authorize",
        "/consent",
        "/login",
        "/login/confirm",
        "/login/callback",
    }
)
_BELOW = ("/oauth/", "/fhir/", *(f"{path}/" for path in _DOCUMENTS))


def endpoint(path: str) -> tuple[str, str]:
    """Kind of operation (`event_type`) and template of a path on the DiGA listener."""
    if path in _DOCUMENTS:
        return HEARTBEAT, path
    if path in _AUTHORIZATION:
        return AUTHORIZATION, path
    if path == "/fhir" or path.startswith("/fhir/"):
        return TRANSFER, _fhir(path.removeprefix("/fhir").strip("/").split("/"))
    if path.startswith("/oauth/"):
        return AUTHORIZATION, "/oauth" + UNKNOWN
    return CONNECTION, UNKNOWN


def belongs(path: str) -> bool:
    """True for paths of the interface on the public listener; the patient's own pages are not part of it."""
    return path in _DOCUMENTS or path in _AUTHORIZATION or path.startswith(_BELOW)


def spoken(method: str, template: str, status: int | None) -> str:
    """The message of a record: what was requested and how it ended."""
    verb = method if method in METHODS else "OTHER"
    if status is None:
        return f"{verb} {template}: no answer"
    try:
        return f"{verb} {template}: {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{verb} {template}: {status}"


def _fhir(segments: list[str]) -> str:
    match segments:
        case [kind] if kind in RESOURCES:
            return f"/fhir/{kind}"
        case [kind, operation] if kind in RESOURCES and operation in OPERATIONS:
            return f"/fhir/{kind}/{operation}"
        case [kind, _] if kind in RESOURCES:
            return f"/fhir/{kind}/{{id}}"
        case [kind, _, "_history", _] if kind in RESOURCES:
            return f"/fhir/{kind}/{{id}}/_history/{{version}}"
        case _:
            return "/fhir" + UNKNOWN
