"""The composition: what each listener offers, and what all responses have in common."""

from __future__ import annotations

import time
from dataclasses import replace

import httpx
import pytest

import ddr.app
from ddr.app import create_apps, running
from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.http.core import Core
from ddr.settings import Settings
from ddr.tls.peer import client_certificate
from tests.support.core import with_signer
from tests.support.proved import proved


@pytest.fixture
async def composed(core: Core) -> Core:
    return await with_signer(core)


async def get(app: ASGIApp, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://recorder") as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize("listener", ["diga", "public"])
@pytest.mark.parametrize(
    "path", ["/fhir/metadata", "/.well-known/oauth-authorization-server", "/oauth/jwks", "/docs/client-registration"]
)
async def test_public_documents_are_on_both_listeners_without_a_certificate(
    composed: Core, listener: str, path: str
) -> None:
    assert (await get(create_apps(composed)[listener], path)).status_code == 200


@pytest.mark.parametrize(
    ("listener", "method", "path", "status"),
    [
        ("diga", "POST", "/oauth/token", 400),
        ("diga", "POST", "/oauth/par", 400),
        ("diga", "GET", "/fhir/Observation", 401),
        ("diga", "GET", "/login", 404),
        ("diga", "GET", "/gateway/v1/devices", 404),
        ("diga", "GET", "/healthz", 404),
        ("public", "POST", "/oauth/token", 404),
        ("public", "POST", "/oauth/par", 404),
        ("public", "GET", "/fhir/Observation", 404),
        ("public", "GET", "/login", 200),
        ("public", "GET", "/metrics", 404),
        ("gateway", "GET", "/gateway/v1/devices", 401),
        ("gateway", "GET", "/fhir/metadata", 404),
        ("gateway", "GET", "/login", 404),
        ("admin", "GET", "/healthz", 200),
        ("admin", "GET", "/fhir/metadata", 404),
    ],
)
async def test_each_listener_offers_its_own_rooms_only(
    composed: Core, listener: str, method: str, path: str, status: int
) -> None:
    answer = await get(create_apps(composed)[listener], path, method)
    assert answer.status_code == status
    if listener != "admin":
        assert answer.headers["strict-transport-security"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("room", "listener", "path", "content_type", "text"),
    [
        ("create_fhir", "diga", "/fhir/Device/1", "application/fhir+json", '"code":"exception"'),
        ("create_oauth_backend", "diga", "/oauth/token", "application/json", '"error":"server_error"'),
        ("create_consent", "public", "/me", "text/html", "<h1>"),
        ("create_gateway", "gateway", "/gateway/v1/devices", "application/problem+json", '"status":500'),
    ],
)
async def test_a_fault_is_answered_in_the_form_of_its_room(
    composed: Core, monkeypatch: pytest.MonkeyPatch, room: str, listener: str, path: str, content_type: str, text: str
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("patient 0815")

    monkeypatch.setattr(ddr.app, room, lambda core: broken)
    answer = await get(create_apps(composed)[listener], path)
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith(content_type)
    assert text in answer.text
    assert "0815" not in answer.text


@pytest.mark.parametrize(
    ("listener", "room", "path"),
    [("diga", "create_fhir", "/fhir/Device"), ("gateway", "create_gateway", "/gateway/v1/devices")],
)
@pytest.mark.parametrize("header", ["", "client-cert"])
async def test_a_certificate_header_counts_only_behind_a_proxy(
    composed: Core, monkeypatch: pytest.MonkeyPatch, header: str, listener: str, room: str, path: str
) -> None:
    seen = []

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(client_certificate(scope))
        await ddr.app.NOT_FOUND(scope, receive, send)

    monkeypatch.setattr(ddr.app, room, lambda core: watching)
    app = create_apps(replace(composed, settings=replace(composed.settings, client_cert_header=header)))[listener]
    await get(proved(app, b"of the handshake"), path, headers={"Client-Cert": ":cHJveHk=:"})
    assert seen == [b"proxy" if header else b"of the handshake"]


async def test_a_worker_knows_how_far_its_host_is_ahead(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9/"
    async with running(replace(settings, diga_vz_base=nowhere, zts_base=nowhere)) as rooms:
        host_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: host_ns() + 3_600_000_000_000)
        assert round(rooms.core.host_ahead_ms(), -4) == 3_600_000
