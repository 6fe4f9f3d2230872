"""FHIR resource server, black box: the table of resource server errors, row by row (area RS)."""

from __future__ import annotations

import base64
import json
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest

from tests.spec.world import BG, DAY, Home, Reader, Scene, entries, furnished, later, paired, refused, searchset
from tests.support.recorder import Recorder

TYPES = ("Observation", "Device", "DeviceMetric")
PATHS = [*TYPES, "Observation/x", "Device/x/_history/1", "Observation/_search", "Patient", ""]
JWT = "eyJhbGciOiJub25lIn0"  # the header of an unsigned one


def claims(token: str) -> dict[str, Any]:
    """The claims of a JWT."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def resigned(reader: Reader, **changes: Any) -> str:
    """The reader's access token with other claims, signed by the recorder's key."""
    ddr = reader.ddr
    token: str = ddr.core.signer.sign({**claims(reader.tokens.access_token), **changes}, "at+jwt", ddr.clock())
    return token


def unsigned(reader: Reader, **changes: Any) -> str:
    """The reader's access token with other claims and no signature."""
    body = json.dumps({**claims(reader.tokens.access_token), **changes}).encode()
    return f"{JWT}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}."


@pytest.mark.requirement("RS-021", "RS-023", "RS-019")
@pytest.mark.parametrize("path", PATHS)
async def test_every_request_but_metadata_needs_a_token(scene: Scene, path: str) -> None:
    http = scene.reader.diga.http
    token = scene.reader.tokens.access_token
    for credentials in (None, "Bearer", "Bearer a b", f"Basic {token}", token, "Bearer random", f"Bearer {token}x"):
        headers = {"authorization": credentials} if credentials else {}
        response = await http.get(path, headers=headers)
        refused(response, 401, "login")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.requirement("RS-022", "RS-045", "RS-020", "RS-053")
async def test_a_bad_token_is_told_why(scene: Scene) -> None:
    reader = scene.reader
    now = reader.ddr.clock() // 1000
    head, body, signature = reader.tokens.access_token.split(".")
    causes = {
        "random": "Token is not a signed JWT",
        unsigned(reader): "Token is not a signed JWT",
        f"{head}.{body}.{signature[::-1]}": "Token is not a signed JWT",
        resigned(reader, iss="https://else.example"): "Invalid token issuer",
        unsigned(reader, iss="https://else.example")[:-1] + ".c2ln": "Token is not a signed JWT",
        resigned(reader, exp=now): "The access token expired",
        resigned(reader, nbf=now + 60): "Token cannot be used yet",
    }
    for token, text in causes.items():
        response = await reader.diga.http.get("Observation", headers={"authorization": f"Bearer {token}"})
        assert response.status_code == 401
        expected = f'Bearer error="invalid_token", error_description="{text}"'
        assert response.headers["www-authenticate"] == expected


@pytest.mark.requirement("RS-020")
async def test_refusals_have_the_texts_of_the_table(scene: Scene) -> None:
    reader, read = scene.reader, f"Observation/{scene.home.ids['bp']}"
    formats = "Supported formats: application/fhir+json, application/fhir+xml"
    version = "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)"
    for path, text in {
        "Observation?date=x": "Invalid date/time format or date range: x",
        "Observation?_include=Observation:foo": "Invalid _include parameter value: Observation:foo",
        "Observation?_revinclude=Observation:foo": "Invalid _revinclude parameter value: Observation:foo",
    }.items():
        refused(await reader.get(path), 400, diagnostics=text)
    unknown = refused(await reader.get("Observation?foo=1"), 400)["diagnostics"]
    assert unknown.partition(". ")[0] == "Unknown search parameter foo"
    refused(await reader.get("Observation/x"), 404, diagnostics="Resource Observation/x is not known")
    missing = f"Version 9 is not valid for resource {read}."
    refused(await reader.get(f"{read}/_history/9"), 404, diagnostics=missing)
    for accept, text in {
        "text/turtle": f"Requested format not supported. {formats}",
        "application/fhir+json; fhirVersion=5.0": version,
    }.items():
        refused(await reader.get(read, accept=accept), 406, "not-supported", text)
    posted = await reader.post("Device/_search", content=b"", headers={"content-type": "text/turtle"})
    refused(posted, 415, "not-supported", f"Content-Type not supported. {formats}")


@pytest.mark.requirement("RS-009")
async def test_a_content_type_counts_even_without_a_body(scene: Scene) -> None:
    paths = (*TYPES, "metadata", f"Device/{scene.home.ids['meter']}", "Observation/$hddt-cgm-summary")
    for mime in ("text/turtle", "application/fhir+turtle; fhirVersion=4.0", "text/plain"):
        for path in paths:
            refused(await scene.reader.get(path, **{"content-type": mime}), 415, "not-supported")
    for path in (*TYPES, "metadata"):  # also where nothing can be created
        turtle = {"content-type": "text/turtle"}
        refused(await scene.reader.post(path, content=b"a", headers=turtle), 415, "not-supported")
        refused(await scene.reader.post(path, json={"resourceType": path}), 405, "not-supported")
    for mime in ("application/fhir+json", "application/xml; charset=utf-8", "application/x-www-form-urlencoded", ""):
        for path in paths:
            assert (await scene.reader.get(path, **{"content-type": mime})).status_code == 200, (mime, path)


@pytest.mark.requirement("RS-027")
async def test_what_may_not_be_read_is_as_if_it_were_not_there(ddr: Recorder, scene: Scene) -> None:
    reader, other = await paired(ddr, scene.home.patient, BG), await furnished(ddr)
    (chunk, *_), ids = await scene.reader.ids("Observation?code=99504-3"), scene.home.ids
    observations = ("x", "0" * 32, ids["bp"], chunk, other.home.ids["bg-new"])
    others = f"Device/{ids['cuff']}", f"DeviceMetric/{ids['metric']}", f"Device/{other.home.ids['meter']}"
    for path in (*(f"Observation/{each}" for each in observations), *others):
        answer = await reader.get(path)
        issue = refused(answer, 404, diagnostics=f"Resource {path} is not known")
        assert issue.keys() == {"severity", "code", "diagnostics"}
        assert answer.json().keys() == {"resourceType", "id", "issue"}


@pytest.mark.requirement("RS-025")
@pytest.mark.parametrize("name", ["Observation?date", *(f"{kind}?_lastUpdated" for kind in TYPES)])
async def test_a_range_that_ends_before_it_begins_is_refused(scene: Scene, name: str) -> None:
    parameter = name.partition("?")[2]
    for first, last in (("ge2025-03-01", "le2025-02-01"), ("gt2025-03-01", "lt2025-02-01"), ("sa2025-03", "eb2025-02")):
        response = await scene.reader.get(f"{name}={first}&{parameter}={last}")
        issue = refused(response, 400, "processing")
        assert issue["diagnostics"].startswith("Invalid date/time format or date range")


@pytest.mark.requirement("RS-029", "OBS-034", "RS-020", "RS-053")
async def test_deleted_resources_are_gone(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    reader = await paired(ddr, home.patient)
    await home.erase("bg-new")
    path = f"Observation/{home.ids['bg-new']}"
    refused(await reader.get(path), 410, diagnostics="Resource was deleted")
    refused(await reader.get(f"{path}/_history/1"), 410, diagnostics="Resource was deleted")
    assert home.ids["bg-new"] not in await reader.ids("Observation")


@pytest.mark.requirement("RS-028")
async def test_no_kind_of_resource_has_a_version_that_never_was(scene: Scene) -> None:
    ids = scene.home.ids
    (chunk, *_) = await scene.reader.ids("Observation?code=99504-3")
    values = [f"Observation/{one}" for one in (chunk, ids["bg-new"], ids["bp"], ids["relative"], ids["reference"])]
    for resource in (*values, f"Device/{ids['meter']}", f"DeviceMetric/{ids['metric']}"):
        assert (await scene.reader.get(f"{resource}/_history/1")).status_code == 200
        for version in ("999", "0", "first"):
            said = f"Version {version} is not valid for resource {resource}."
            refused(await scene.reader.get(f"{resource}/_history/{version}"), 404, diagnostics=said)


@pytest.mark.requirement("RS-030", "RS-019", "RS-020", "RS-053")
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("Observation", "search.first_page"),
        ("Device/{id}", "read.read"),
        ("Device?_count=1", "access.admit_together"),
        ("Device/{id}/_history/1", "read.read"),
        ("Observation/$hddt-cgm-summary", "operation.continuous_chunks"),
        ("Device", "app.head_of"),  # before the room can answer: the response comes from the layer around it
    ],
)
async def test_a_failure_of_the_server(scene: Scene, path: str, place: str) -> None:
    logical_id = scene.home.ids["meter"]
    with patch(f"ddr.diga_api.{place}", side_effect=RuntimeError("the program does not know SN-meter")):
        response = await scene.reader.get(path.format(id=logical_id))
        xml = await scene.reader.get(path.format(id=logical_id), accept="application/fhir+xml")
    issue = refused(response, 500, "exception")
    assert issue["diagnostics"]
    told = '<severity value="error"/><code value="exception"/><diagnostics value="'
    assert xml.status_code == 500 and (told in xml.text or place == "app.head_of")  # nobody knows what was requested
    assert "SN-meter" not in response.text + xml.text
    assert (await scene.reader.get(path.format(id=logical_id))).status_code == 200


@pytest.mark.requirement("RS-031", "RS-019")
@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"code": {"a": 1}}', "application/fhir+json"),
        (b"\xff=\xff", "application/x-www-form-urlencoded"),
        (b"no form", "application/x-www-form-urlencoded"),
    ],
)
async def test_malformed_bodies(scene: Scene, content: bytes, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = await scene.reader.post("Observation/_search", content=content, headers=headers)
    issue = refused(response, 400, "invalid")
    assert issue["details"]["coding"][0]["code"] == "MSG_BAD_SYNTAX"
    assert issue["details"]["text"] == "The request is malformed."


@pytest.mark.requirement("RS-031", "RS-019")
@pytest.mark.parametrize("query", ["_total=none&_total=accurate", "_count=1&_count=2", "_page=x&code=y"])
async def test_malformed_queries(scene: Scene, query: str) -> None:
    refused(await scene.reader.get(f"Observation?{query}"), 400, "invalid")


@pytest.mark.requirement("RS-031", "RS-020")
async def test_bytes_that_are_no_utf_8_find_nothing_but_a_reason(scene: Scene) -> None:
    """A client that writes ß as Latin-1 gets an error, instead of a result without such a device."""
    assert refused(await scene.reader.get("Device?device-name=Stra%DFe"), 400, "processing")["diagnostics"]
    form = {"content-type": "application/x-www-form-urlencoded"}
    response = await scene.reader.post("Device/_search", content=b"device-name=Stra%DFe", headers=form)
    refused(response, 400, "processing")
    searchset(await scene.reader.get("Device?device-name=Stra%C3%9Fe"))


@pytest.mark.requirement("RS-034")
@pytest.mark.parametrize("kind", TYPES)
async def test_a_search_by_post_is_no_resource_to_read(scene: Scene, kind: str) -> None:
    response = await scene.reader.get(f"{kind}/_search")
    refused(response, 405, "not-supported")
    assert response.headers["allow"] == "POST"


@pytest.mark.requirement("RS-034")
@pytest.mark.parametrize(
    ("kind", "query", "form"),
    [
        ("Observation", "code=2339-0", "_sort=date"),
        ("Device", "type=337414009", "status=active"),
        ("DeviceMetric", "type=150020", "_sort=_id"),
    ],
)
async def test_a_posted_search_goes_by_its_query_and_its_body(scene: Scene, kind: str, query: str, form: str) -> None:
    """FHIR R4 http.html#search: parameters in both count alike."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    posted = searchset(await scene.reader.post(f"{kind}/_search?{query}", content=form.encode(), headers=headers))
    wanted = await scene.reader.ids(f"{kind}?{query}&{form}")
    assert [found["id"] for found in entries(posted)] == wanted
    assert len(wanted) < len(await scene.reader.ids(f"{kind}?{form}"))


@pytest.mark.requirement("RS-034")
@pytest.mark.parametrize(
    ("kind", "control"),
    [
        ("Observation", ("_include", "Observation:device")),
        ("Device", ("_revinclude", "Observation:device")),
        ("DeviceMetric", ("_include", "DeviceMetric:source")),
        ("Device", ("_elements", "serialNumber")),
        ("Device", ("_has:Observation:device:code", "2339-0")),
    ],
)
async def test_what_controls_a_search_may_stand_in_its_body(scene: Scene, kind: str, control: tuple[str, str]) -> None:
    asked = searchset(await scene.reader.get(f"{kind}?{control[0]}={control[1]}"))["entry"]
    for options in ({"data": dict([control])}, {"json": dict([control])}):
        assert searchset(await scene.reader.post(f"{kind}/_search", **options))["entry"] == asked
    assert asked != searchset(await scene.reader.get(kind))["entry"]


@pytest.mark.requirement("RS-048")
@pytest.mark.parametrize("kind", TYPES)
async def test_lenient_handling_is_refused_in_a_body_too(scene: Scene, kind: str) -> None:
    lenient = {"prefer": "handling=lenient"}
    form = {"content-type": "application/x-www-form-urlencoded", **lenient}
    refused(await scene.reader.post(f"{kind}/_search", content=b"there-is-none=1", headers=form), 400)
    flat = {"content-type": "application/fhir+json", **lenient}
    refused(await scene.reader.post(f"{kind}/_search", json={"there-is-none": "1"}, headers=flat), 400)


@pytest.mark.requirement("RS-009")
@pytest.mark.parametrize("mime", ["text/turtle", "application/pdf"])
@pytest.mark.parametrize("path", [*(f"{kind}/_search" for kind in TYPES), "Observation/$hddt-cgm-summary"])
async def test_bodies_of_other_types_are_refused(scene: Scene, path: str, mime: str) -> None:
    response = await scene.reader.post(path, content=b"code=2339-0", headers={"content-type": mime})
    supported = "Supported formats: application/fhir+json, application/fhir+xml"
    refused(response, 415, "not-supported", f"Content-Type not supported. {supported}")


@pytest.mark.requirement("RS-009", "RS-046")
async def test_no_search_is_written_in_xml(scene: Scene) -> None:
    headers = {"content-type": "application/fhir+xml"}
    response = await scene.reader.post("Observation/_search", content=b"<Parameters/>", headers=headers)
    refused(response, 415, "not-supported")


@pytest.mark.requirement("RS-019")
@pytest.mark.parametrize(
    "query",
    [
        *("_count=-1", "_count=x", "_sort=foo", "_sort=,", "code=,", "code=a|b|c", "value-quantity=x", "_page=x"),
        *("value-quantity=5|x", "component-code-value-quantity=8480-6", "device=Patient/1", "code:in=x", "status=|"),
    ],
)
async def test_other_bad_values_are_explained(scene: Scene, query: str) -> None:
    assert refused(await scene.reader.get(f"Observation?{quote(query, safe='=|:')}"), 400)["diagnostics"]


@pytest.mark.requirement("OPS-014", "RS-020", "RS-053")
async def test_too_many_requests(strict_ddr: Recorder) -> None:
    reader = await paired(strict_ddr, await strict_ddr.patient(), BG)
    searchset(await reader.get("Observation"))
    response = await reader.get("Observation")
    refused(response, 429, "throttled", "Rate limit exceeded. Please retry after the specified time.")
    assert 0 < int(response.headers["retry-after"]) <= 900


@pytest.mark.requirement("REG-013")
async def test_a_directory_that_is_out_of_date(ddr: Recorder, scene: Scene) -> None:
    with patch.object(ddr.trust, "is_stale", True):
        response = await scene.reader.get("Observation")
    refused(response, 503, "transient")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.requirement("RS-041")
async def test_resources_stay_readable_through_the_historic_period(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    reader = await paired(ddr, home.patient)
    paths = [f"{kind}/{logical_id}" for kind in TYPES for logical_id in await reader.ids(kind)]
    with later(ddr, 13 * DAY):  # lung function has 14 days, everything else 30
        assert {(await reader.get(path)).status_code for path in paths} == {200}
    short = {f"Observation/{home.ids[key]}" for key in ("pef", "fev1", "relative")}
    short.add(f"Device/{home.ids['spirometer']}")
    with later(ddr, 28 * DAY):
        assert {(await reader.get(path)).status_code for path in paths if path not in short} == {200}
