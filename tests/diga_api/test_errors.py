"""Refusals: each an OperationOutcome with the prescribed status (HDDT error-codes.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from ddr.miv.model import MivCatalog
from tests.diga_api import world
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, HOUR, Backend, Body

FORM = "application/x-www-form-urlencoded"


async def send(diga: Backend, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {diga.token}", **options.pop("headers", {})}
    response = await diga.client.request(method, f"/fhir/{path}", headers=headers, **options)
    assert response.headers["content-type"].startswith("application/fhir+json")
    resource: dict[str, Any] = response.json()
    return response.status_code, resource


def issue(resource: dict[str, Any]) -> tuple[str, str, str | None]:
    assert resource["resourceType"] == "OperationOutcome"
    (found,) = resource["issue"]
    return found["severity"], found["code"], found.get("diagnostics")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["Observation/x", "Device", "DeviceMetric/x", "Observation/x/_history/1"])
async def test_nothing_can_be_written(pair: Pair, method: str, path: str) -> None:
    status, resource = await send(await pair(), method, path)
    assert (status, issue(resource)[:2]) == (405, ("error", "not-supported"))


async def test_the_methods_that_exist_are_told(pair: Pair) -> None:
    diga = await pair()
    fields = {"authorization": f"Bearer {diga.token}"}
    assert (await diga.client.delete("/fhir/Observation/x", headers=fields)).headers["allow"] == "GET, HEAD"
    assert (await diga.client.put("/fhir/Observation/_search", headers=fields)).headers["allow"] == "POST"
    assert (await diga.client.post("/fhir/metadata", headers=fields)).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["", "Patient", "Patient/1", "Patient/1/Observation", "metadata/x", "Observation/a/b/c/d"]
)
async def test_what_is_not_served_is_not_found(pair: Pair, path: str) -> None:
    status, resource = await send(await pair(), "GET", path)
    assert (status, issue(resource)[:2]) == (404, ("error", "not-supported"))


@pytest.mark.parametrize(
    ("query", "diagnostics"),
    [
        ("foo=1", "Unknown search parameter foo"),
        ("date=xx2025", "Invalid date/time format or date range: xx2025"),
        ("date=2025-13-01", "Invalid date/time format or date range: 2025-13-01"),
        ("date=ge2026-02-01&date=le2026-01-01", "Invalid date/time format or date range: date: the end is before"),
        ("_include=Observation:foo", "Invalid _include parameter value: Observation:foo"),
        ("date=,", "Invalid date/time format or date range: "),
        ("_include:iterate=Observation", "Invalid _include:iterate parameter value: Observation"),
        ("_include=Observation:device:Patient", "Invalid _include parameter value: Observation:device:Patient"),
        ("_include=Observation:", "Invalid _include parameter value: Observation:"),
        ("foo=", "Unknown search parameter foo"),
        ("_revinclude=Provenance:target", "Invalid _revinclude parameter value: Provenance:target"),
        ("subject=Patient/1", "Search parameter subject must not be given: the access token determines the patient"),
        ("subject:missing=true", "Search parameter subject must not be given"),
        ("code:below=x", "Unknown search parameter code:below"),
        ("_pretty=maybe", "Invalid value of search parameter _pretty: maybe"),
    ],
)
@pytest.mark.parametrize("handling", ["strict", "lenient"])
async def test_searches_that_are_not_understood(pair: Pair, query: str, diagnostics: str, handling: str) -> None:
    diga = await pair()
    prefer = {"prefer": f"handling={handling}"}
    status, resource = await send(diga, "GET", f"Observation?{query}", headers=prefer)
    severity, code, text = issue(resource)
    assert (status, severity, code) == (400, "error", "processing")
    assert (text or "").startswith(diagnostics)
    assert (await diga.get("Observation")).status_code == 200  # a failed request does not count


async def test_formats(pair: Pair) -> None:
    diga = await pair()
    for accept, text in (
        ("text/turtle", "Requested format not supported."),
        ("application/fhir+json; fhirVersion=5.0", "FHIR version not supported."),
    ):
        status, resource = await send(diga, "GET", "Observation", headers={"accept": accept})
        severity, code, diagnostics = issue(resource)
        assert (status, severity, code) == (406, "error", "not-supported")
        assert (diagnostics or "").startswith(text)
    assert (await diga.get("Observation")).status_code == 200
    response = await diga.get("Device?_format=xml")
    assert response.headers["content-type"].startswith("application/fhir+xml")
    assert response.text.startswith("<?xml") or response.text.startswith("<Bundle")


@pytest.mark.requirement("RS-011")
async def test_errors_come_in_the_format_asked_for(pair: Pair) -> None:
    diga = await pair()
    response = await diga.get("Device/x", accept="application/fhir+xml")
    assert response.status_code == 404
    assert "<OperationOutcome" in response.text
    form = {"_format": "xml", "date": "yesterday"}
    headers = {"authorization": f"Bearer {diga.token}"}
    response = await diga.client.post("/fhir/Observation/_search", data=form, headers=headers)
    assert (response.status_code, "<OperationOutcome" in response.text) == (400, True)
    diga.token = "nonsense"
    response = await diga.get("Device/x", accept="application/fhir+xml")
    assert "<OperationOutcome" in response.text


async def test_content_types(pair: Pair) -> None:
    diga = await pair()
    status, resource = await send(
        diga, "POST", "Observation/_search", content=b"x", headers={"content-type": "text/turtle"}
    )
    assert (status, issue(resource)[:2]) == (415, ("error", "not-supported"))


@pytest.mark.parametrize("coding", ["br", "gzip, gzip"])
@pytest.mark.parametrize(
    ("path", "media_type"),
    [("_search", "application/x-www-form-urlencoded"), ("$hddt-cgm-summary", "application/fhir+json")],
)
async def test_a_content_coding_that_is_not_read_is_told_from_a_wrong_type(
    pair: Pair, path: str, media_type: str, coding: str
) -> None:
    """The response names the accepted coding (RFC 9110 section 15.5.16)."""
    diga = await pair()
    headers = {
        "authorization": f"Bearer {diga.token}", "content-type": media_type, "content-encoding": coding,
    }  # fmt: skip
    answer = await diga.client.post(f"/fhir/Observation/{path}", content=b"x", headers=headers)
    told = issue(answer.json())
    assert (answer.status_code, told) == (415, ("error", "not-supported", "Content-Encoding must be gzip or absent"))
    assert answer.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("application/json", b"{"),
        ("application/fhir+json", b"[1]"),
        ("application/json", b'{"code": {"a": 1}}'),
        ("application/json", b'{"date": "ge2026-11-01", "date": "ge2026-01-01"}'),
        (FORM, b"no equals sign"),
        (FORM, b"\xff\xfe=1"),
        (FORM, b"code=a%00b"),
    ],
)
async def test_malformed_bodies(pair: Pair, kind: str, content: bytes) -> None:
    diga = await pair()
    status, resource = await send(diga, "POST", "Observation/_search", content=content, headers={"content-type": kind})
    assert status == 400
    issue(resource)


async def test_a_body_that_is_too_long(pair: Pair) -> None:
    diga = await pair()
    status, _ = await send(
        diga, "POST", "Observation/_search", content=b"code=" + b"x" * 70_000, headers={"content-type": FORM}
    )
    assert status == 413


async def test_a_fault_of_ours_is_told_without_detail_and_does_not_count(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM)
    with patch("ddr.diga_api.resources.view", side_effect=ZeroDivisionError("secret")):
        status, resource = await send(diga, "GET", "Observation")
    assert (status, issue(resource)[:2]) == (500, ("error", "exception"))
    assert "secret" not in str(resource)
    assert len((await diga.bundle("Observation"))["entry"]) == 3


async def test_anybody_may_read_the_metadata(pair: Pair) -> None:
    client = world.fhir_client((await pair()).core, None)
    response = await client.get("/fhir/metadata")
    assert response.status_code == 200
    statement = response.json()
    assert statement["fhirVersion"] == "4.0.1"
    resources = {resource["type"]: resource for resource in statement["rest"][0]["resource"]}
    assert set(resources) == {"Observation", "Device", "DeviceMetric"}
    assert {item["code"] for item in resources["Observation"]["interaction"]} == {"read", "vread", "search-type"}
    assert (await client.get("/fhir/metadata?_format=xml")).text.count("<CapabilityStatement") == 1
    assert (await client.get("/fhir/metadata", headers={"accept": "text/turtle"})).status_code == 406


@pytest.mark.parametrize("path", ["Observation", "Observation/{id}"])
async def test_a_code_that_this_worker_does_not_know_yet(body: Body, pair: Pair, path: str) -> None:
    """A new version of a ValueSet has come into force; without the value a poller would miss it."""
    name = await body.measurement(GLUCOSE, "2339-0", body.core.clock() - HOUR)
    diga = await pair(GLUCOSE)
    catalog = body.core.catalog
    without = [replace(miv, codes=tuple(c for c in miv.codes if c.code != "2339-0")) for miv in catalog.mivs]
    with patch.object(MivCatalog, "code", replace(catalog, mivs=tuple(without)).code):
        answer = await diga.get(path.format(id=name))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["outage-cause"] == "temporary-disruption"
    assert (await diga.get(path.format(id=name))).status_code == 200
