"""The request log: one record for each call and its response (HDDT operational-requirements.md, Scope of Logging)."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from ddr.cli.serving.connection import Connection
from ddr.demo import certs
from ddr.demo.tls import client_context
from tests.spec.backend import Backend
from tests.spec.conftest import received
from tests.spec.world import CGM, Scene
from tests.support.recorder import Recorder
from tests.support.request_log import fresh_lines

ATTRIBUTES = {
    "client_id",
    "data_volume_bytes",
    "error_code",
    "error_description",
    "event_type",
    "interface_id",
    "message",
    "pairing_id",
    "partner_id",
    "response_time_ms",
    "status",
    "timestamp",
    "transaction_id",
}
Json = dict[str, Any]
Arrived = Callable[[bytes], Awaitable[None]]
__all__ = ["received"]


async def raw(ddr: Recorder) -> bytes:
    """Everything that is durable and not yet sealed."""
    return b"\n".join(await fresh_lines(ddr.core.pool))


async def records(ddr: Recorder) -> list[Json]:
    return [orjson.loads(line) for line in (await raw(ddr)).splitlines()]


async def of(ddr: Recorder, answer: httpx.Response) -> Json:
    """The one record of an answered request; it exists when the response arrives."""
    name = answer.headers["x-request-id"]
    (found,) = [record for record in await records(ddr) if record["transaction_id"] == name]
    assert found.keys() == ATTRIBUTES
    assert found["status"] == answer.status_code
    return found


async def eventually(ddr: Recorder, fits: Callable[[Json], bool]) -> Json:
    """The record of something that was not answered."""
    async with asyncio.timeout(60):
        while True:
            if found := [record for record in await records(ddr) if fits(record)]:
                assert found[-1].keys() == ATTRIBUTES
                return found[-1]
            await asyncio.sleep(0.02)


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> Arrived:
    """Wait until the data that the recorder has read last ends like this."""
    received, last = Connection.data_received, [b""]

    def data_received(connection: Connection, data: bytes) -> None:
        received(connection, data)
        last[0] = data

    monkeypatch.setattr(Connection, "data_received", data_received)

    async def until(end: bytes) -> None:
        async with asyncio.timeout(60):
            while not last[0].endswith(end):  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.01)

    return until


def an_id() -> str:
    return f"test-{secrets.token_hex(8)}"


async def connected(ddr: Recorder, base: str, own: certs.Pair | None) -> asyncio.StreamWriter:
    port = urlsplit(base).port
    context = client_context(ddr.authority.cert, own)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    return writer


@pytest.mark.requirement("OPS-017")
@pytest.mark.requirement("OPS-018")
@pytest.mark.requirement("OPS-030")
async def test_each_call_and_its_answer_are_one_record(ddr: Recorder, scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.reader.get("Device") for _ in range(7)))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 7
    for answer in answers:
        record = await of(ddr, answer)
        assert record["event_type"] == "Transfer"
        assert record["interface_id"] == "localhost"  # until BfArM has assigned a number
        assert record["partner_id"] == "localhost/fhir/Device"
        assert record["message"] == "GET /fhir/Device: 200 OK"
        assert record["data_volume_bytes"] == len(answer.content)
        assert 0 <= record["response_time_ms"] < 60_000
        stamp = datetime.fromisoformat(record["timestamp"])
        assert (stamp.tzinfo is not None, round(stamp.timestamp() * 1000)) == (True, ddr.clock())
        assert record["client_id"] == scene.reader.diga.entry.client_id
        assert record["pairing_id"] == scene.reader.tokens.pairing_id
        assert (record["status"], record["transaction_id"]) == (200, answer.headers["x-request-id"])
        assert (record["error_code"], record["error_description"]) == (None, None)


@pytest.mark.requirement("OPS-018")
async def test_time_and_volume_are_those_of_question_and_answer(ddr: Recorder, scene: Scene) -> None:
    parts = b"_count=1", b"&_sort=-date"

    async def slowly() -> AsyncIterator[bytes]:
        yield parts[0]
        await asyncio.sleep(0.3)
        yield parts[1]

    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await scene.reader.send("POST", "Observation/_search", form, content=slowly())
    assert answer.status_code == 200
    record = await of(ddr, answer)
    assert record["response_time_ms"] >= 200  # the head may have been read slightly later than it was sent
    assert record["data_volume_bytes"] == sum(map(len, parts)) + len(answer.content)


@pytest.mark.requirement("OPS-017", "OPS-018")
async def test_refusals_are_recorded(ddr: Recorder, scene: Scene) -> None:
    foreign = (await scene.reader.diga.http.get("Device", headers={"authorization": "Bearer x.y.z"})), "login"
    unknown = (await scene.reader.get("Observation/does-not-exist")), "processing"
    wrong = (await scene.reader.send("PATCH", "Device")), "not-supported"
    xml = (await scene.reader.get("Device?foo=1", accept="application/fhir+xml")), "processing"
    for answer, code in (foreign, unknown, wrong, xml):
        record = await of(ddr, answer)
        assert (record["error_code"], record["status"]) == (code, answer.status_code)
        assert record["error_description"]
    assert (await of(ddr, unknown[0]))["partner_id"] == "localhost/fhir/Observation/{id}"
    assert (await of(ddr, foreign[0]))["pairing_id"] is None


@pytest.mark.requirement("OPS-017", "OPS-018")
async def test_the_authorization_server_is_recorded(ddr: Recorder) -> None:
    diga, patient = await ddr.diga(CGM), await ddr.patient()
    tokens = await ddr.pair(diga, patient)
    mine = [record for record in await records(ddr) if record["client_id"] == diga.entry.client_id]
    assert [record["partner_id"].partition("/")[2] for record in sorted(mine, key=lambda each: each["timestamp"])]
    kinds = {record["partner_id"].partition("/")[2]: record for record in mine}
    assert {"oauth/par", "oauth/authorize", "consent", "oauth/token"} <= kinds.keys()
    assert kinds["consent"]["pairing_id"] == tokens.pairing_id
    assert kinds["oauth/token"]["pairing_id"] == tokens.pairing_id
    assert {record["event_type"] for record in mine} == {"Authorization"}
    refreshed = await diga.client.refresh(tokens)
    await diga.client.revoke(refreshed)
    later = [record for record in await records(ddr) if record["client_id"] == diga.entry.client_id]
    ends = [record for record in later if record["partner_id"].endswith(("oauth/token", "oauth/revoke"))]
    assert [record["pairing_id"] for record in ends] == [tokens.pairing_id] * 3  # the code, the refresh, the end
    form = {"client_id": diga.entry.client_id, "grant_type": "refresh_token", "refresh_token": "nonsense"}
    answer = await diga.http.post(f"{ddr.settings.diga_base_url}/oauth/token", data=form)
    record = await of(ddr, answer)
    assert (record["error_code"], record["status"]) == ("invalid_grant", 400)
    assert record["error_description"] == answer.json()["error_description"]
    page = await ddr.public.get("/oauth/authorize?client_id=x&request_uri=y", headers={"accept": "text/html"})
    assert (await of(ddr, page))["error_code"] == "invalid_client"
    for path in ("/status", "/fhir/metadata", "/oauth/jwks", "/.well-known/oauth-authorization-server"):
        assert (await of(ddr, await ddr.public.get(path)))["event_type"] == "Heartbeat"


@pytest.mark.requirement("OPS-018")
async def test_the_request_id_of_a_client_is_kept_when_it_is_one(ddr: Recorder, scene: Scene) -> None:
    name = an_id()
    answer = await scene.reader.get("Device?foo=1", **{"x-request-id": name})
    assert answer.headers["x-request-id"] == name == answer.json()["id"]
    assert (await of(ddr, answer))["transaction_id"] == name
    for bad in ("a b", "x" * 65, "<script>", "a,b"):
        given = (await scene.reader.get("Device", **{"x-request-id": bad})).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", given)
    form = {"client_id": scene.reader.diga.entry.client_id, "grant_type": "password"}
    refused = await scene.reader.diga.http.post(
        f"{ddr.settings.diga_base_url}/oauth/token", data=form, headers={"x-request-id": name}
    )
    assert (refused.headers["x-request-id"], refused.json()["request_id"]) == (name, name)
    gateway = await scene.home.patient.gateway.get("devices", headers={"x-request-id": name})
    assert gateway.headers["x-request-id"] == name


@pytest.mark.requirement("OPS-017")
@pytest.mark.parametrize("known", [False, True])
async def test_a_refused_handshake_is_recorded(ddr: Recorder, tmp_path: Path, known: bool) -> None:
    """Without a certificate, and with one that is not registered."""
    before = {record["transaction_id"] for record in await records(ddr)}
    own = certs.client_certificate(tmp_path, "stranger") if known else None
    http = await ddr.client(own, base_url=ddr.settings.diga_base_url)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await http.get("/fhir/Observation")
    record = await eventually(
        ddr, lambda one: one["error_code"] == "tls-refused" and one["transaction_id"] not in before
    )
    assert (record["event_type"], record["status"], record["partner_id"]) == ("Connection", None, "localhost")


def leave_after_the_alert(ddr: Recorder) -> None:
    """Connect without a certificate, and close as soon as the refusal has arrived, as curl and most libraries do."""
    port = urlsplit(ddr.settings.diga_base_url).port or 0
    with socket.create_connection(("127.0.0.1", port)) as bare, pytest.raises(ssl.SSLError):
        client_context(ddr.authority.cert).wrap_socket(bare, server_hostname="localhost").recv(1)


async def test_a_refusal_is_recorded_as_one_though_the_client_closes_at_once(ddr: Recorder) -> None:
    before = {record["transaction_id"] for record in await records(ddr)}
    await asyncio.to_thread(leave_after_the_alert, ddr)
    record = await eventually(
        ddr, lambda one: one["event_type"] == "Connection" and one["transaction_id"] not in before
    )
    assert (record["error_code"], record["error_description"]) == ("tls-refused", "The TLS handshake was refused")


@pytest.mark.requirement("OPS-017")
async def test_connections_that_are_cut_are_recorded(ddr: Recorder, scene: Scene, arrived: Arrived) -> None:
    diga = scene.reader.diga
    with socket.create_connection(("127.0.0.1", urlsplit(ddr.settings.diga_base_url).port or 0)) as bare:
        bare.sendall(b"\x16\x03\x01")
    await eventually(ddr, lambda one: one["error_code"] in ("tls-cut", "tls-refused"))
    head = await connected(ddr, ddr.settings.diga_base_url, diga.certificate)
    head.write(b"GET /fhir/Device HTTP/1.1\r\nHost: local")
    await arrived(b"Host: local")
    head.transport.abort()
    cut = await eventually(ddr, lambda one: one["error_code"] == "head-cut")
    assert cut["client_id"] == diga.entry.client_id
    body = await connected(ddr, ddr.settings.diga_base_url, diga.certificate)
    name = an_id()
    body.write(
        f"POST /fhir/Device/_search HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {name}\r\nContent-Length: 90\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n_id=".encode()
    )
    await arrived(b"_id=")
    body.transport.abort()
    gone = await eventually(ddr, lambda one: one["transaction_id"] == name)
    assert (gone["error_code"], gone["status"]) == ("client-gone", None)
    junk = await connected(ddr, ddr.settings.diga_base_url, diga.certificate)
    junk.write(b"NONSENSE\r\n\r\n")
    await junk.drain()
    malformed = ("malformed-request", 400, diga.entry.client_id)
    await eventually(ddr, lambda one: (one["error_code"], one["status"], one["client_id"]) == malformed)
    junk.close()


@pytest.mark.requirement("OPS-017")
async def test_whoever_takes_too_long_is_recorded(ddr: Recorder, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {record["transaction_id"] for record in await records(ddr)}
    monkeypatch.setattr("ddr.cli.serving.acceptor.HANDSHAKE_SECONDS", 0.3)
    port = urlsplit(ddr.settings.diga_base_url).port
    with socket.create_connection(("127.0.0.1", port or 0)):
        await eventually(ddr, lambda one: one["error_code"] == "tls-timeout" and one["transaction_id"] not in before)
    monkeypatch.undo()
    monkeypatch.setattr("ddr.tls.protocol.HEAD_SECONDS", 2.0)
    slow = await connected(ddr, ddr.settings.diga_base_url, scene.reader.diga.certificate)
    slow.write(b"GET /fhir/Device HTTP/1.1\r\n")
    await slow.drain()
    record = await eventually(ddr, lambda one: one["error_code"] == "head-timeout")
    assert (record["client_id"], record["status"]) == (scene.reader.diga.entry.client_id, None)
    slow.close()


@pytest.mark.requirement("OPS-031")
async def test_nothing_personal_and_no_secret_is_in_the_log(ddr: Recorder, scene: Scene) -> None:
    """Marked values are sent to every endpoint, including requests whose refusals repeat them."""
    mark = "Geheim7Zz"
    reader, http = scene.reader, scene.reader.diga.http
    base = ddr.settings.diga_base_url
    answers = [
        await reader.get(f"Observation?{query}")
        for query in (
            f"{mark}=1",
            f"date={mark}",
            f"date=gt{mark},lt{mark}",
            f"_include={mark}",
            f"_include:iterate={mark}:{mark}",
            f"code={mark}|{mark}",
            f"_count={mark}",
            f"_sort={mark}",
            f"_cursor={mark}",
            f"_format={mark}",
            f"subject={mark}",
            f"_id={mark}",
            f"_lastUpdated={mark}",
            f"code:{mark}=x",
            f"{mark}.{mark}=x",
            f"_has:{mark}:{mark}:{mark}={mark}",
        )
    ]
    answers += [
        await reader.get(path)
        for path in (
            f"Observation/{mark}",
            f"Observation/{mark}/_history/{mark}",
            f"{mark}/{mark}",
            f"Observation/$hddt-cgm-summary?effectivePeriodStart={mark}",
            f"Observation/$hddt-cgm-summary?{mark}={mark}",
        )
    ]
    answers += [
        await http.get("Device", headers={"authorization": f"Bearer {mark}.{mark}.{mark}"}),
        await reader.post("Device/_search", data={mark: mark}),
        await reader.post("Device/_search", content=f'{{"{mark}": "{mark}"'.encode(), headers={"content-type": mark}),
        await reader.get(f"Observation?date={mark}", accept="application/fhir+xml"),
        await http.request(mark, f"{base}/fhir/Device"),
        await http.get(f"{base}/{mark}/{mark}"),
        await http.get(f"{base}/oauth/{mark}"),
        await ddr.public.get(f"/oauth/authorize?client_id={mark}&request_uri={mark}&{mark}={mark}"),
        await ddr.public.get(f"/status/{mark}"),
        await ddr.public.post("/login", data={"username": mark, "password": mark}),
    ]
    for name in ("client_id", "scope", "redirect_uri", "grant_type", "code", "refresh_token", "token", mark):
        for path in ("par", "token", "revoke"):
            form = {"client_id": reader.diga.entry.client_id, "response_type": "code", name: mark}
            answers.append(await http.post(f"{base}/oauth/{path}", data=form))
    backend = Backend(ddr, reader.diga)
    answers.append(await backend.push(scope=f"patient/Observation.rs?code:in={mark} {mark}"))
    assert {answer.status_code for answer in answers} >= {400, 401, 404}
    log = await raw(ddr)
    assert mark.encode() not in log
    assert reader.tokens.access_token.encode() not in log
    assert b"127.0.0.1" not in log
    assert scene.home.patient.username.encode() not in log
    assert str(scene.home.patient.patient_id).encode() not in log
