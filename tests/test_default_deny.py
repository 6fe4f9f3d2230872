"""Without credentials nothing responds except the public documents and the way to the login, whatever path and method.

Every route that a room declares is tried, in several spellings, on every listener; new ones are tried with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

import httpx
import pytest

from ddr.app import create_apps
from ddr.diga_api.operation import PATH
from ddr.fhir.search.grammar import PARAMETERS
from ddr.gateway.app import PUBLIC
from ddr.gateway.app import ROUTES as GATEWAY
from ddr.http.core import Core
from ddr.oauth.app import create_oauth_backend, create_oauth_public
from ddr.patient_pages import app as consent
from ddr.store.patients.sessions import new_cookie
from tests.support.core import with_signer

METHODS = ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
SPELLINGS = ("{}", "{}/", "/{}", "{}/x", "{}%00", "{}%2e%2e", "{}/../../fhir/Observation", "{}?x=1", "{};x=1")
# What needs nobody's permission, on the listeners where it is.
DOCUMENTS = {"/.well-known/oauth-authorization-server", "/oauth/jwks", "/docs/client-registration", "/fhir/metadata"}
DOCUMENTS |= {"//.well-known/oauth-authorization-server", "/docs/openapi.json"}
STATUS = {"/status", "/status.json", "/status.html", "/status.atom", "/status.schema.json"}
STATIC = {"/static/style.css", "/static/icon.svg", "/favicon.ico"}
OPEN = {
    "diga": {*DOCUMENTS, *STATUS},
    "public": {*DOCUMENTS, *STATUS, "/login", "/deleted", *STATIC},
    "gateway": set(PUBLIC),
    "admin": {"/healthz", "/readyz", "/metrics"},
}


@pytest.fixture
async def composed(core: Core) -> Core:
    return await with_signer(core)


def declared(core: Core) -> Iterator[str]:
    """The paths of all rooms, parameters filled in."""
    starlettes = (create_oauth_backend(core), create_oauth_public(core))
    templates = [route.path for app in starlettes for route in app.routes if hasattr(route, "path")]
    templates += [
        route.path for route in (*consent.BUILTIN_LOGIN, *consent.PROVIDER_LOGIN, *consent.PAGES, *consent.RESEARCH)
    ]
    templates += [route.path for route in GATEWAY]
    for resource_type in ("", *PARAMETERS, "Patient", "AuditEvent"):
        base = f"/fhir/{resource_type}".rstrip("/")
        templates += [base, f"{base}/_search", f"{base}/{{id}}", f"{base}/{{id}}/_history/1", f"{base}/_history"]
    templates += [f"/fhir/Observation/{PATH}", *(path for paths in OPEN.values() for path in paths), "/", ""]
    yield from dict.fromkeys(re.sub(r"\{\w+\}", "a" * 32, template) for template in templates)


def requests(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Method and path; what could give something away in every spelling."""
    for path in paths:
        yield from product(("GET", "POST"), (spelling.format(path) for spelling in SPELLINGS))
        yield from product(METHODS, (path,))


@pytest.mark.parametrize("listener", OPEN)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x.y.z", "cookie": f"__Host-ddr={new_cookie()}"}])
async def test_nothing_else_answers_without_credentials(composed: Core, listener: str, headers: dict[str, str]) -> None:
    app, unexpected = create_apps(composed)[listener], []
    before = await composed.pool.fetchval("SELECT count(*) FROM audit")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://recorder") as client:
        for method, path in requests(declared(composed)):
            answer = await client.request(method, f"https://recorder{path}", headers=headers)
            assert answer.status_code < 500, (method, path)
            allowed = method in ("GET", "HEAD") and path.partition("?")[0].rstrip("/") in OPEN[listener]
            if answer.is_success and not allowed:
                unexpected.append((method, path, answer.status_code))
    assert unexpected == []
    if listener == "public":  # anybody could fill the audit trail otherwise
        assert await composed.pool.fetchval("SELECT count(*) FROM audit") == before
