"""What FHIR libraries do at the door: read its capabilities, end its address with a slash, leave a format empty."""

from __future__ import annotations

import httpx
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement

from ddr.fhir.negotiation import Format
from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from tests.gateway.conftest import Client, make_client
from tests.gateway.phd import METER, bundle, device, glucose, statuses

SENT = bundle((METER, device()), glucose())
FHIR = {"content-type": "application/fhir+json"}


def plain(core: Core, token: str) -> Client:
    """A client at the bare application, for addresses that the API's description does not list."""
    headers = {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(create_gateway(core))
    return Client(transport=transport, base_url="https://gateway/gateway/v1", headers=headers)


async def test_the_address_may_end_with_a_slash(core: Core, token: str) -> None:
    """Retrofit and fhir-kit-client append one to every base address; they got 404, and their values were not stored."""
    async with plain(core, token) as client:
        first = await client.post("/fhir/", json=SENT, headers=FHIR)
        again = await client.post("/fhir", json=SENT, headers=FHIR)
        assert [one.status_code for one in (first, again)] == [200, 200]
        assert [statuses([entry["response"] for entry in one.json()["entry"]]) for one in (first, again)] == [
            ["201", "201"],
            ["200", "200"],
        ]
        assert (await client.post("/fhir//", json=SENT, headers=FHIR)).status_code == 404
        assert (await client.post("/fhir/Device/", json=SENT, headers=FHIR)).status_code == 404


async def test_one_key_is_one_request_with_and_without_the_slash(core: Core, token: str) -> None:
    key = {**FHIR, "idempotency-key": "one"}
    async with plain(core, token) as client:
        answers = [await client.post(path, json=SENT, headers=key) for path in ("/fhir/", "/fhir")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


async def test_failures_have_their_form_at_that_address(
    core: Core, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("ddr.gateway.door.http._take", fail)
    async with plain(core, token) as client:
        answer = await client.post("/fhir/", json=SENT, headers={**FHIR, "accept": "application/fhir+xml"})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (503, "application/fhir+xml")


@pytest.mark.parametrize("fmt", Format)
@pytest.mark.parametrize("by", ["accept", "_format"])
async def test_capabilities_need_no_token(core: Core, fmt: Format, by: str) -> None:
    """FHIR R4 http.html#capabilities: HAPI's client reads them before its first Bundle, which failed with their 404."""
    async with make_client(core, None) as client:
        asked = {"headers": {"accept": fmt.value}} if by == "accept" else {"params": {"_format": fmt.value}}
        answer = await client.get("/fhir/metadata", **asked)  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers["content-type"]) == (200, fmt.content_type)
        read = CapabilityStatement.model_validate_json if fmt is Format.JSON else CapabilityStatement.model_validate_xml
        found = read(answer.content).model_dump()
        (rest,) = found["rest"]
        assert found["fhirVersion"] == "4.0.1"
        assert found["implementation"]["url"] == f"{core.settings.gateway_base_url}/gateway/v1/fhir"
        assert [one["code"] for one in rest["interaction"]] == ["transaction", "batch"]
        assert [one["type"] for one in rest["resource"]] == ["Device", "DeviceMetric", "Observation"]


async def test_capabilities_refuse_what_they_cannot_send(core: Core, token: str) -> None:
    async with make_client(core, None) as client:
        other = await client.get("/fhir/metadata", headers={"accept": "text/html"})
        assert (other.status_code, other.json()["resourceType"]) == (406, "OperationOutcome")
        assert (await client.post("/fhir/metadata", json={})).status_code == 405
    async with plain(core, token) as client:
        there = await client.head("/fhir/metadata/")
        assert (there.status_code, there.content) == (200, b"")


@pytest.mark.parametrize("path", ["/fhir", "/fhir/metadata"])
async def test_a_format_without_a_value_asks_for_nothing(client: Client, path: str) -> None:
    """As at the DiGA's interface; it was refused as an unknown format (406)."""
    method = "GET" if path.endswith("metadata") else "POST"
    answer = await client.request(method, f"{path}?_format=", content=b"" if method == "GET" else None,
                                  json=SENT if method == "POST" else None,
                                  headers=FHIR | {"accept": "application/fhir+xml"})  # fmt: skip
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "application/fhir+xml")
