"""Attacks with malformed requests and with headers that only a proxy may set."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import suppress
from urllib.parse import urlencode

import httpx
import pytest

from ddr.demo.tls import client_context
from tests.spec.backend import Backend, refused, unauthorized
from tests.spec.world import CGM
from tests.support.recorder import Patient

FORM = {"content-type": "application/x-www-form-urlencoded"}


def url(backend: Backend, endpoint: str) -> str:
    """Where an endpoint is."""
    return f"{backend.ddr.settings.diga_base_url}/oauth/{endpoint}"


@pytest.mark.parametrize("endpoint", ["par", "token", "revoke"])
async def test_duplicated_parameters(honest: Backend, hostile: Backend, endpoint: str) -> None:
    """Refused, not resolved: two readers could choose different ones."""
    client = honest.diga.entry.client_id
    for pairs in (
        [("client_id", client), ("client_id", client)],
        [("client_id", client), ("client_id", hostile.diga.entry.client_id)],
        [("client_id", client), ("token", "a"), ("token", "b")],
        [("client_id", client), ("client_id", "")],
    ):
        response = await honest.diga.http.post(url(honest, endpoint), content=urlencode(pairs), headers=FORM)
        refused(response, 400, "invalid_request", "A parameter is repeated")


async def test_duplicated_parameters_at_the_browser(honest: Backend, hostile: Backend) -> None:
    request_uri = await honest.request_uri(CGM)
    for extra in ({"client_id": hostile.diga.entry.client_id}, {"request_uri": "urn:x"}):
        response = await honest.ddr.public.get(f"{honest.authorize_url(request_uri)}&{urlencode(extra)}")
        assert response.status_code == 400


async def test_parameters_in_the_query_of_a_backend_endpoint(honest: Backend) -> None:
    """Credentials and tokens count in the body only; queries end up in logs."""
    query = urlencode({"client_id": honest.diga.entry.client_id, "grant_type": "refresh_token"})
    response = await honest.diga.http.post(f"{url(honest, 'token')}?{query}", content="", headers=FORM)
    refused(response, 400, "invalid_request", "Parameter client_id is missing")


async def test_access_tokens_outside_the_header(honest: Backend, patient: Patient) -> None:
    tokens, http = await honest.pair(patient, CGM), honest.diga.http
    form = {"access_token": tokens["access_token"]}
    for response in (
        await http.get("Observation", params=form),
        await http.post("Observation/_search", data=form),
        await http.get("Observation", headers={"cookie": f"access_token={tokens['access_token']}"}),
    ):
        assert response.status_code == 401
    twice = [("authorization", f"Bearer {tokens['access_token']}")] * 2
    assert (await http.get("Observation", headers=twice)).status_code == 401


@pytest.mark.parametrize("endpoint", ["par", "token", "revoke"])
async def test_oversized_requests(honest: Backend, endpoint: str) -> None:
    """A long value, many fields, a long body, a body that says that it is short and is compressed."""
    http, client = honest.diga.http, honest.diga.entry.client_id
    long = urlencode({"client_id": client, "state": "a" * 5_000})
    refused(await http.post(url(honest, endpoint), content=long, headers=FORM), 400, "invalid_request")
    many = urlencode({"client_id": client} | {f"p{number}": "" for number in range(60)})
    refused(await http.post(url(honest, endpoint), content=many, headers=FORM), 400, "invalid_request")
    huge = urlencode({"client_id": client, "state": "a" * 100_000})
    response = await http.post(url(honest, endpoint), content=huge, headers=FORM)
    refused(response, 413, "invalid_request")


async def test_oversized_tokens_and_headers(honest: Backend) -> None:
    unauthorized(await honest.fhir({"access_token": "a" * 10_000}))
    assert (await honest.fhir({"access_token": "a" * 200_000})).status_code == 431
    many = {f"x-{number}": "a" * 1000 for number in range(100)}
    assert (await honest.ddr.public.get("/me", headers=many)).status_code == 431
    long = "/me?" + "a" * 60_000
    assert (await honest.ddr.public.get(long)).status_code == 303
    assert (await honest.ddr.public.get(long, headers={"x": "a" * 10_000})).status_code == 431


async def test_a_head_without_end(honest: Backend) -> None:
    """A field that goes on for ever is cut off, so that nobody fills the memory."""
    context = client_context(honest.ddr.authority.cert)
    port = honest.ddr.public.base_url.port
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
    with suppress(ConnectionError, ssl.SSLError):
        for _ in range(1_000):
            writer.write(b"a" * 10_000)
            await writer.drain()
        pytest.fail("ten megabytes were taken")
    writer.close()


async def test_a_certificate_in_a_header(honest: Backend, hostile: Backend) -> None:
    """Where TLS ends here, nobody names a certificate that the connection has not proved."""
    der = base64.b64encode(honest.diga.certificate.der).decode()
    for name in ("client-cert", "x-client-cert", "x-forwarded-client-cert", "x-ssl-cert", "ssl-client-cert"):
        http = await honest.ddr.client(hostile.diga.certificate, headers={name: f":{der}:"})
        refused(await honest.push(CGM, http=http), 401, "invalid_client")


@pytest.mark.parametrize(
    "path",
    [
        "/oauth/../oauth/par",
        "/oauth/./par",
        "/oauth/par;x",
        "/oauth/par%20",
        "//oauth/par",
        "/oauth//par",
        "/oauth/par/",
        "/OAUTH/PAR",
        "/oauth/%70ar%00",
        "/fhir/../oauth/par",
    ],
)
async def test_path_tricks(honest: Backend, path: str) -> None:
    """Another spelling leads nowhere, not even with a request that the path itself would grant."""
    context = client_context(honest.ddr.authority.cert, honest.diga.certificate)
    async with httpx.AsyncClient(verify=context, trust_env=False) as http:

        async def sent_to(target: str) -> int:
            as_written = {"target": target.encode()}  # from its URL httpx takes the dots
            answer = await http.post(url(honest, "par"), data=honest.good_push(CGM), extensions=as_written)
            return answer.status_code

        assert await sent_to("/oauth/par") == 201
        assert await sent_to(path) == (401 if path.startswith("/fhir/") else 404)  # below /fhir a token is asked for


async def test_blanks_behind_the_value_of_a_field(honest: Backend) -> None:
    """They are none of it (RFC 9110 section 5.5); a length with one was none."""
    port = honest.ddr.public.base_url.port
    reader, writer = await asyncio.open_connection("localhost", port, ssl=client_context(honest.ddr.authority.cert))
    head = (
        f"POST /logout HTTP/1.1\r\nHost: localhost \r\nContent-Type: {FORM['content-type']}\t\r\nContent-Length: 3 \r\n"
    )
    writer.write(f"{head}Connection: close\r\n\r\na=b".encode())
    async with asyncio.timeout(60):
        assert (await reader.readline()).split()[1] == b"303"
    writer.close()


async def test_control_characters(honest: Backend) -> None:
    """Nothing that could split a header or a line of a log is taken."""
    for state in ("a\r\nset-cookie: a=b", "a\x00", "ä", "a\u2028b"):
        refused(await honest.push(CGM, state=state), 400, "invalid_request")
