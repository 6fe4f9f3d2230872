"""The HTTP side of the gateway API: routes, methods, bodies and the OpenAPI document."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from dataclasses import replace

import asyncpg
import httpx
import orjson
import pytest
from openapi_spec_validator import validate

from ddr.gateway import app, inside
from ddr.gateway.app import ROUTES, create_gateway
from ddr.http.core import Core
from ddr.store.database.faults import PoolBusy
from tests.gateway.conftest import CGM, METER, Client, make_client, put_device, put_sensor
from tests.gateway.contract import check_described, document

JSON = {"content-type": "application/json"}


def test_openapi_is_valid() -> None:
    validate(document())


def test_openapi_describes_exactly_the_routes() -> None:
    described = {
        (method.upper(), path)
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert described == {(route.method, route.path) for route in ROUTES} | {("GET", path) for path in app.PUBLIC}


def test_every_body_is_of_a_kind_that_client_generators_know() -> None:
    """openapi-python-client ignores bodies of other kinds; the XML of the FHIR door is described in words."""
    operations = [one for item in document()["paths"].values() for one in item.values() if isinstance(one, dict)]
    bodies = [one["requestBody"] for one in operations if "requestBody" in one]
    kinds = {kind for body in bodies for kind in body["content"]}
    assert len(bodies) > 5
    assert kinds <= {"application/json", "application/fhir+json"}


async def test_openapi_is_served_without_token(core: Core) -> None:
    async with make_client(core, None) as client:
        answer = await client.get("/openapi.json")
    assert answer.json() == document()


async def test_a_fault_of_ours_has_the_form_of_all_problems(
    core: Core, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise RuntimeError("patient 0815")

    monkeypatch.setattr(app, "once", broken)
    monkeypatch.setattr("ddr.gateway.door.http.once", broken)
    async with make_client(core, token) as client:
        client.event_hooks = {}
        failed = await client.put("/devices/meter", json=METER)
        check_described(failed)
        assert failed.status_code == 500
        assert (failed.json()["code"], failed.json()["retry"]) == ("internal", True)
        at_door = await client.post("/fhir", json={}, headers={"content-type": "application/fhir+json"})
        check_described(at_door)
        (issue,) = at_door.json()["issue"]
        assert (at_door.status_code, issue["severity"], issue["code"]) == (500, "error", "exception")
        assert issue["details"]["coding"][0]["code"] == "internal"
        assert "0815" not in failed.text + at_door.text


@pytest.mark.parametrize(
    "path", ["", "/", "/nothing", "/devices/", "/devices/a/b", "/devices//sensors", "/openapi.json/x"]
)
async def test_unknown_paths(client: Client, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/devices", "GET, HEAD"),
        ("POST", "/devices/a", "GET, HEAD, PUT"),
        ("PUT", "/openapi.json", "GET, HEAD"),
        ("GET", "/measurements", "POST"),
        ("PATCH", "/measurements/a", "DELETE, PUT"),
        ("GET", "/devices/a/sensors/b/readings", "POST"),
    ],
)
async def test_wrong_methods(client: Client, method: str, path: str, allow: str) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_head_is_get_without_body(core: Core, token: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_gateway(core)), base_url="https://g") as client:
        answer = await client.head("/gateway/v1/devices", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/fhir+json", "application/x-www-form-urlencoded"]
)
async def test_other_media_types(client: Client, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}
    assert (await client.put("/devices/a", content=b"{}", headers=headers)).status_code == 415


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
async def test_other_content_codings(client: Client, coding: str) -> None:
    """The response names the accepted coding (RFC 9110 section 15.5.16)."""
    answer = await client.put("/devices/a", content=b"{}", headers={**JSON, "content-encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    headers = {"content-type": "application/fhir+json", "content-encoding": coding}
    at_door = await client.post("/fhir", content=b"{}", headers=headers)
    assert (at_door.status_code, at_door.json()["issue"][0]["code"]) == (415, "not-supported")
    assert [one.headers["accept-encoding"] for one in (answer, at_door)] == ["gzip", "gzip"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 2000, b"{} {}"])
async def test_malformed_bodies(client: Client, body: bytes) -> None:
    answer = await client.put("/devices/a", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"'])
async def test_bodies_that_are_no_objects(client: Client, body: bytes) -> None:
    answer = await client.put("/devices/a", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (422, "body")


async def test_gzip(client: Client) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    body = orjson.dumps(METER)
    assert (await client.put("/devices/a", content=gzip.compress(body), headers=headers)).status_code == 201
    assert (await client.put("/devices/a", content=gzip.compress(body)[:-3], headers=headers)).status_code == 400


async def test_large_bodies_also_when_packed(core: Core, token: str) -> None:
    core.settings = replace(core.settings, gateway_max_body_bytes=1000)
    body = orjson.dumps({**METER, "name": "x" * 5000})
    async with make_client(core, token) as client:
        plain = await client.put("/devices/a", content=body, headers=JSON)
        packed = await client.put(
            "/devices/a", content=gzip.compress(body), headers={**JSON, "content-encoding": "gzip"}
        )
    assert [plain.status_code, packed.status_code] == [413, 413]
    assert plain.json()["code"] == "too-large"


async def test_answers_are_not_cached(client: Client) -> None:
    assert (await client.get("/devices")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncpg.LockNotAvailableError(), "busy"),
        (TimeoutError(), "unavailable"),
        (OSError(), "unavailable"),
        (asyncpg.InternalClientError(), "unavailable"),
        (PoolBusy(), "overloaded"),
    ],
)
async def test_a_database_in_trouble_means_later(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ddr.store.devices.devices.devices_of", fail)
    answer = await client.get("/devices")
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_the_fhir_door_says_later_in_its_own_form(
    client: Client, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    async def fail(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("ddr.gateway.door.http._take", fail)
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": []}
    answer = await client.post("/fhir", json=bundle, headers={"accept": f"application/fhir+{form}"})
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith(f"application/fhir+{form}")
    assert "transient" in answer.text
    assert int(answer.headers["retry-after"]) > 0


async def test_nobody_is_answered_who_left(core: Core, token: str) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "PUT", "path": "/gateway/v1/devices/a", "headers": headers, "client": ("::1", 1)}
    await asyncio.wait_for(create_gateway(core)(scope, receive, send), 60)
    assert sent == []


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'{"":0},', b"1.1,", b'"",'])
async def test_many_small_values_are_refused_whatever_they_are(client: Client, unit: bytes) -> None:
    body = b'{"readings":[' + unit * 400_000 + b"1]}"
    headers = {**JSON, "content-encoding": "gzip"}
    for sent, fields in ((body, JSON), (gzip.compress(body), headers)):
        answer = await client.post("/devices/a/sensors/b/readings", content=sent, headers=fields)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


MEASURED = """{"code": "2339-0", "unit": "mg/dL", "device": "meter", "effective": "2026-11-20T10:00:00Z", %s}"""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/measurements/a", MEASURED % '"value": 100, "value": 200'),
        ("/measurements/a", MEASURED % '"value": 100.0, "value": 200.0'),
        ("/measurements/a", MEASURED % ('"value": 100.0, "x": ' + "[" * 1030 + "]" * 1030)),
        ("/devices/a", '{"name": "A", "name": "B"}'),
    ],
)
async def test_bodies_that_could_be_read_in_two_ways_or_in_none(client: Client, path: str, body: str) -> None:
    await put_device(client, "meter")
    answer = await client.put(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert (await client.get("/devices")).json()["devices"][0]["key"] == "meter"


async def test_a_reading_with_two_values_is_not_taken(client: Client) -> None:
    """Otherwise the stored value would be whichever one the JSON parser takes."""
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    body = '{"unit": "mg/dL", "readings": [{"time": "2026-11-20T10:00:00Z", "value": 70, "value": 170}]}'
    answer = await client.post("/devices/cgm/sensors/glucose/readings", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert (await client.get("/devices/cgm/sensors/glucose")).json().get("storedUntil") is None


async def test_a_call_from_inside_keeps_the_digits_too(client: Client, core: Core, patient_id: uuid.UUID) -> None:
    """A file on the patients' page takes this way; `ddr import` sends the same file over HTTP."""
    await put_device(client, "meter")
    value = (
        '{"code": "15074-8", "unit": "mmol/L", "value": 5.50, "device": "meter", "effective": "2026-11-20T10:00:00Z"}'
    )
    status, _ = await inside.call(core, patient_id, "PUT", "measurements/a", value.encode())
    assert status == 201
    content = "SELECT convert_from(content, 'UTF8') FROM measurement WHERE patient_id = $1"
    assert '"value":5.50' in await core.pool.fetchval(content, patient_id)
