"""Mutual TLS, black box: which clients complete the handshake, and which get a response (area TLS)."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from dataclasses import replace
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from ddr.demo import certs
from ddr.demo.tls import client_context
from ddr.settings import Settings
from ddr.tls.server_certificate import properties
from tests.spec.backend import Backend, refused, unauthorized
from tests.spec.conftest import received
from tests.spec.world import BP, CGM
from tests.support.recorder import Recorder, TestDiga, recorder

ENDPOINTS = ("/oauth/par", "/oauth/token", "/oauth/revoke", "/fhir/Observation", "/fhir/metadata")
PUBLIC = ("/.well-known/oauth-authorization-server", "/fhir/metadata", "/oauth/jwks", "/docs/client-registration")
REFUSED = (httpx.TransportError, ssl.SSLError)
FOLLOW_SECONDS = 60  # on a busy machine; the listener looks at the allow list every second


@pytest.fixture(scope="module")
async def backend(ddr: Recorder) -> Backend:
    """A DiGA."""
    return Backend(ddr, await ddr.diga(CGM, BP))


async def followed(backend: Backend, http: httpx.AsyncClient) -> httpx.Response:
    """The response to a pushed request as soon as the handshake of `http` succeeds."""
    async with asyncio.timeout(FOLLOW_SECONDS):
        while True:
            try:
                return await backend.push(CGM, http=http)
            except REFUSED:
                await asyncio.sleep(0.2)


@pytest.mark.requirement("TLS-001", "TLS-009")
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_nothing_without_a_client_certificate(ddr: Recorder, path: str) -> None:
    http = await ddr.client(base_url=ddr.settings.diga_base_url)
    with pytest.raises(REFUSED):
        await http.post(path)


@pytest.mark.requirement("TLS-010")
@pytest.mark.parametrize("path", PUBLIC)
async def test_public_documents_need_no_certificate(ddr: Recorder, path: str) -> None:
    for method, accept in product(("GET", "HEAD"), ("*/*", "application/fhir+xml", "text/html")):
        assert (await ddr.public.request(method, path, headers={"accept": accept})).status_code in (200, 406)
    assert (await ddr.public.get(path)).status_code == 200


@pytest.mark.requirement("TLS-010", "TLS-001")
async def test_the_public_listener_has_no_backend(ddr: Recorder) -> None:
    for path in ("/oauth/par", "/oauth/token", "/oauth/revoke", "/fhir/Observation"):
        assert (await ddr.public.post(path)).status_code in {404, 405}


@pytest.mark.requirement("TLS-004")
async def test_the_certificate_names_the_published_hosts(ddr: Recorder) -> None:
    metadata = (await ddr.public.get(PUBLIC[0])).json()
    capability = (await ddr.public.get("/fhir/metadata")).json()
    urls = [url for name, url in metadata.items() if name.endswith(("_endpoint", "issuer"))]
    names = properties(certs.Pair(ddr.settings.server_cert, ddr.settings.server_key).der).names
    assert {urlsplit(url).hostname for url in [*urls, capability["implementation"]["url"]]} <= set(names)


@pytest.mark.requirement("TLS-005", "TLS-009", "TLS-011")
async def test_unknown_certificates_fail_in_the_handshake(backend: Backend, tmp_path: Path) -> None:
    """Also one with the registered subject, and one from the issuer of a registered one."""
    ddr = backend.ddr
    same_subject = certs.client_certificate(tmp_path, "client")
    sibling = certs.client_certificate(tmp_path, "sibling", ddr.authority)
    for unknown in (same_subject, sibling):
        with pytest.raises(REFUSED):
            await backend.push(CGM, http=await ddr.client(unknown))


@pytest.mark.requirement("TLS-005", "TLS-009", "TLS-011", "TLS-013")
async def test_known_certificates_of_others_are_told_so(ddr: Recorder, backend: Backend) -> None:
    """Another listed DiGA's, an inactive one's, and one that is in no entry any more: 401 at every endpoint."""
    tokens = await backend.pair(await ddr.patient(), CGM)
    other, inactive = await ddr.diga(CGM), await ddr.diga(CGM, active=False)
    nobody = await ddr.client(ddr.spare())
    for http in (other.http, inactive.http, nobody):
        for endpoint in ("par", "token", "revoke"):
            refused(await backend.post(endpoint, http=http), 401, "invalid_client")
        unauthorized(await backend.fhir(tokens, http=http))
    assert (await backend.fhir(tokens)).status_code == 200


@pytest.mark.requirement("TLS-011", "TLS-005")
async def test_behind_a_proxy_every_certificate_is_answered(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    """Where a proxy terminates TLS, the certificate comes in a header (RFC 9440) and is checked in the same way."""
    async with recorder(pool, replace(settings, client_cert_header="Client-Cert"), tmp_path, received, {}) as ddr:
        diga = await ddr.diga(CGM)
        unknown = certs.client_certificate(tmp_path, "unknown")
        backend = Backend(ddr, diga)
        for pair, status in ((diga.certificate, 201), (unknown, 401)):
            header = {"client-cert": f":{base64.b64encode(pair.der).decode()}:"}
            assert (await backend.push(CGM, http=await ddr.client(headers=header))).status_code == status
        assert (await backend.push(CGM, http=await ddr.client())).status_code == 401
        twice = [("client-cert", f":{base64.b64encode(diga.certificate.der).decode()}:")] * 2
        refused(await backend.push(CGM, http=await ddr.client(headers=twice)), 401, "invalid_client")


@pytest.mark.requirement("TLS-006")
@pytest.mark.parametrize("issued", [False, True])
async def test_a_newly_listed_certificate_is_taken_up(ddr: Recorder, tmp_path: Path, issued: bool) -> None:
    """Self-signed, or from an unknown authority; existing connections continue meanwhile."""
    backend = Backend(ddr, await ddr.diga(CGM))
    assert (await backend.push(CGM)).status_code == 201
    authority = certs.authority(tmp_path, "Maker CA") if issued else None
    renewed = certs.client_certificate(tmp_path, "renewed", authority)
    http = await ddr.client(renewed)
    with pytest.raises(REFUSED):
        await backend.push(CGM, http=http)
    ddr.trust.add(ddr.trust.digas[backend.diga.entry.client_id], renewed.der)
    assert (await followed(backend, http)).status_code == 201
    assert (await backend.push(CGM)).status_code == 201


@pytest.mark.requirement("TLS-005")
async def test_the_child_of_a_listed_authority_certificate(ddr: Recorder, tmp_path: Path) -> None:
    """It completes the handshake, because its parent is a trust anchor, but the application does not know it."""
    parent = certs.authority(tmp_path, "Careless DiGA")
    child = certs.client_certificate(tmp_path, "child", parent)
    diga = await ddr.diga(CGM)
    ddr.trust.add(diga.entry, parent.der)
    backend = Backend(ddr, diga)
    refused(await followed(backend, await ddr.client(child)), 401, "invalid_client")


@pytest.mark.requirement("TLS-006", "TLS-005")
async def test_a_resumed_session_after_removal(ddr: Recorder) -> None:
    """The handshake is not repeated, but the certificate is looked up again."""
    diga = await ddr.diga(CGM)
    context = client_context(ddr.authority.cert, diga.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    status, session, _ = await asyncio.to_thread(_ask, ddr, context, None)
    assert status == 400  # a pushed request without parameters: the client is recognized
    ddr.trust.digas[diga.entry.client_id] = replace(diga.entry, certificates=frozenset())
    status, _, reused = await asyncio.to_thread(_ask, ddr, context, session, diga)
    assert (status, reused) == (401, True)


def _ask(
    ddr: Recorder, context: ssl.SSLContext, session: ssl.SSLSession | None, diga: TestDiga | None = None
) -> tuple[int, ssl.SSLSession | None, bool]:
    """One POST to /oauth/par on its own connection: the status, the session, and whether that was resumed."""
    port = urlsplit(ddr.settings.diga_base_url).port
    body = f"client_id={diga.entry.client_id}" if diga else ""
    lines = ["POST /oauth/par HTTP/1.1", "host: localhost", f"content-length: {len(body)}", "connection: close"]
    head = "\r\n".join([*lines, "content-type: application/x-www-form-urlencoded", "", body])
    with (
        socket.create_connection(("localhost", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(head.encode())
        status = int(connection.recv(4096).split()[1])
        return status, connection.session, bool(connection.session_reused)
