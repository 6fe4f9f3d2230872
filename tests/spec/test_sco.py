"""SMART scopes at the resource server, black box: what each grant allows, and nothing else (area SCO)."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from ddr.demo.diga_client import DigaRefused
from ddr.fhir.instants import date_time
from tests.spec.summary import SUMMARY
from tests.spec.world import (
    BG,
    BP,
    CGM,
    DAY,
    HOUR,
    LF,
    MINUTE,
    Home,
    Reader,
    Scene,
    code_of,
    entries,
    later,
    link,
    paired,
    refused,
)
from tests.support.recorder import ALL_MIVS, Recorder

TYPES = ("Observation", "Device", "DeviceMetric")
SCOPE = "patient/Observation.rs?code:in=https://gematik.de/fhir/hddt/ValueSet/hddt-miv-"
DEVICE_SCOPES = ("patient/Device.rs", "patient/DeviceMetric.rs")
CODES = {BG: {"2339-0", "15074-8"}, BP: {"85354-9"}, CGM: {"99504-3"}, LF: {"19935-6", "20150-9", "20149-1", "20152-5"}}
DEVICES = {BG: {"meter"}, BP: {"cuff"}, CGM: {"cgm"}, LF: {"spirometer"}}


def with_scope(reader: Reader, scope: str) -> Reader:
    """The reader with a token of its grant with this scope, signed by the recorder's key."""
    payload = reader.tokens.access_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    ddr = reader.ddr
    token = ddr.core.signer.sign({**claims, "scope": scope}, "at+jwt", ddr.clock())
    return replace(reader, tokens=replace(reader.tokens, access_token=token))


async def push(reader: Reader, *scopes: str) -> tuple[int, str]:
    """Status and error of a pushed authorization request that must be refused."""
    with pytest.raises(DigaRefused) as refusal:
        await reader.diga.client.push_request(scopes)
    return refusal.value.status, refusal.value.response.json()["error"]


async def seen(reader: Reader) -> tuple[set[str], set[str]]:
    """Codes of the Observations and ids of the Devices that any search returns, as match or included."""
    found = []
    for query in (
        "Observation?_include=Observation:device&_include:iterate=DeviceMetric:source",
        "Observation?_include=*",
        "Device?_revinclude=Observation:device&_revinclude=DeviceMetric:source",
        "DeviceMetric?_revinclude=Observation:device&_include=DeviceMetric:source",
        "Observation?_include=Observation:derived-from&_revinclude=Observation:derived-from",
    ):
        bundle = await reader.search(query)
        found += entries(bundle) + entries(bundle, "include")
    codes = {code_of(each) for each in found if each["resourceType"] == "Observation"}
    return codes, {each["id"] for each in found if each["resourceType"] == "Device"}


@pytest.mark.requirement("SCO-001", "SCO-005", "SCO-006")
@pytest.mark.parametrize("miv", ALL_MIVS)
async def test_a_token_for_one_miv_opens_nothing_else(ddr: Recorder, scene: Scene, miv: str) -> None:
    reader = await paired(ddr, scene.home.patient, miv)
    ids = scene.home.ids
    assert await seen(reader) == (CODES[miv], {ids[key] for key in DEVICES[miv]})
    for kind in TYPES:
        for resource in entries(await scene.reader.search(kind)):
            allowed = resource["id"] in await reader.ids(kind)
            status = (await reader.get(f"{kind}/{resource['id']}")).status_code
            assert status == (200 if allowed else 404)
            assert await reader.ids(f"{kind}?_id={resource['id']}") == ([resource["id"]] if allowed else [])
    if miv != CGM:
        assert (await reader.get("Observation/$hddt-cgm-summary")).status_code in (404, 405)
        refused(await reader.post("Observation/$hddt-cgm-summary"), 404)


@pytest.mark.requirement("SCO-001", "SCO-007")
async def test_a_report_has_its_devices_under_their_scope_only(scene: Scene) -> None:
    for more, devices in ((" patient/DeviceMetric.rs", set()), (" patient/Device.rs", {scene.home.ids["cgm"]})):
        reader = with_scope(scene.reader, f"{SCOPE}{CGM}{more}")
        response = await reader.get(f"{SUMMARY}?related=true")
        assert response.status_code == 200
        found = [entry["resource"] for entry in response.json()["entry"]]
        assert {one["id"] for one in found if one["resourceType"] != "Observation"} == devices


@pytest.mark.requirement("SCO-002", "SCO-007")
async def test_scopes_have_the_prescribed_form(scene: Scene) -> None:
    tokens = scene.reader.tokens
    assert set(tokens.scopes) == {SCOPE + miv for miv in ALL_MIVS} | set(DEVICE_SCOPES)
    supported = (await scene.reader.diga.client.metadata())["scopes_supported"]
    assert set(supported) == set(tokens.scopes)


@pytest.mark.requirement("SCO-012")
@pytest.mark.parametrize("scope", ["patient/device.rs", "patient/devicemetric.rs", "patient/Devicemetric.rs"])
async def test_scopes_are_compared_in_camel_case(scene: Scene, scope: str) -> None:
    assert await push(scene.reader, SCOPE + BG, scope) == (400, "invalid_scope")


@pytest.mark.requirement("SCO-004", "RS-039")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_can_be_written(scene: Scene, method: str) -> None:
    before = [await scene.reader.search(kind) for kind in TYPES]
    for kind, bundle in zip(TYPES, before, strict=True):
        resource = entries(bundle)[0]
        for path in (kind, f"{kind}/{resource['id']}", f"{kind}/{resource['id']}/_history/1"):
            response = await scene.reader.send(method, path, json=resource)
            refused(response, 405, "not-supported")
            assert "GET" in response.headers["allow"]
    assert [await scene.reader.search(kind) for kind in TYPES] == before
    for path in ("", "Patient", "Patient/1"):
        assert (await scene.reader.send(method, path, json={})).status_code in (404, 405)


@pytest.mark.requirement("SCO-006")
async def test_a_device_needs_an_authorised_observation(ddr: Recorder) -> None:
    """One device that measures two kinds of data, and one that measures only the other kind."""
    home = Home(ddr, await ddr.patient())
    for key in ("both", "cuff", "meter"):
        await home.device(key)
    await home.glucose("bg", ddr.clock() - HOUR, device="both")
    await home.pressure("bp", ddr.clock() - HOUR)
    reader = await paired(ddr, home.patient, BG)
    assert await reader.ids("Device") == [home.ids["both"]]
    for hidden in ("cuff", "meter"):
        refused(await reader.get(f"Device/{home.ids[hidden]}"), 404)
    await home.erase("bg")
    assert await reader.ids("Device") == []
    refused(await reader.get(f"Device/{home.ids['both']}"), 404)


@pytest.mark.requirement("SCO-006")
async def test_a_state_in_which_nothing_was_measured_is_not_shown(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    shown = await home.sensor("meter", "2339-0", "mg/dL", calibration={"state": "calibrated", "time": home.ago(DAY)})
    await home.glucose("bg", ddr.clock() - 2 * HOUR, sensor="s")
    path = "devices/meter/sensors/s/calibrations"
    event = {"time": home.ago(HOUR), "state": "calibration-required"}
    assert (await home.patient.gateway.post(path, json={"calibrations": [event]})).json()["accepted"] == 1
    metrics = [one["metricId"] for one in (await home.patient.gateway.get(path)).json()["calibrations"]]
    assert metrics[0] == shown != metrics[1]
    reader = await paired(ddr, home.patient, BG)
    assert await reader.ids("DeviceMetric") == [shown]
    refused(await reader.get(f"DeviceMetric/{metrics[1]}"), 404)


@pytest.mark.requirement("SCO-007", "SCO-001")
@pytest.mark.parametrize(
    "scope",
    [
        "",
        "patient/Observation.rs",
        "patient/*.rs",
        "patient/*.*",
        "patient/Observation.read",
        "user/Observation.rs?code:in=https://gematik.de/fhir/hddt/ValueSet/hddt-miv-" + BG,
        f"{SCOPE}{BG}&code=2339-0",
        f"{SCOPE}{BG}|1.0.1",
        f"{SCOPE}unknown",
        "patient/Device.rs patient/DeviceMetric.rs",
    ],
)
async def test_unknown_scopes_in_a_token_grant_nothing(scene: Scene, scope: str) -> None:
    reader = with_scope(scene.reader, scope)
    for path in (*TYPES, f"Observation/{scene.home.ids['bg-new']}", f"Device/{scene.home.ids['meter']}"):
        response = await reader.get(path)
        assert response.status_code in (401, 404)
        assert scene.home.ids["bg-new"] not in response.text.replace(path, "")


@pytest.mark.requirement("SCO-007")
async def test_what_the_patient_grants_is_told_and_holds(ddr: Recorder, scene: Scene) -> None:
    """SMART App Launch 2: the server may grant less than was requested, says so, and enforces it."""
    diga = await ddr.diga()
    tokens = await ddr.pair(diga, scene.home.patient, BG, BP, approve=[BP])
    assert set(tokens.scopes) == {SCOPE + BP, *DEVICE_SCOPES}
    reader = Reader(ddr, diga, tokens, ddr.clock())
    assert await seen(reader) == (CODES[BP], {scene.home.ids["cuff"]})
    widened = with_scope(reader, " ".join([SCOPE + BG, SCOPE + BP, *DEVICE_SCOPES]))
    assert await seen(widened) == (CODES[BP], {scene.home.ids["cuff"]})


@pytest.mark.requirement("RS-027", "SCO-008", "SCO-015")
async def test_devices_have_scopes_of_their_own(scene: Scene) -> None:
    ids = scene.home.ids
    every = " ".join(SCOPE + miv for miv in ALL_MIVS)
    query = "Observation?_include=Observation:device&_include:iterate=DeviceMetric:source"
    for scope, kinds in (
        (every, set()),
        (f"{every} patient/Device.rs", {"Device"}),
        (f"{every} patient/DeviceMetric.rs", {"DeviceMetric"}),
        (f"{every} patient/Device.rs patient/DeviceMetric.rs", {"Device", "DeviceMetric"}),
    ):
        reader = with_scope(scene.reader, scope)
        for kind, key in (("Device", "meter"), ("DeviceMetric", "metric")):
            for path in (kind, f"{kind}/{ids[key]}", f"{kind}/{ids[key]}/_history/1"):
                response = await reader.get(path)
                if kind in kinds:
                    assert response.status_code == 200
                else:
                    refused(response, 404, diagnostics=f"Resource {path.partition('/_history')[0]} is not known")
        bundle = await reader.search(query)
        assert len(entries(bundle)) == 10
        assert {resource["resourceType"] for resource in entries(bundle, "include")} == kinds


@pytest.mark.requirement("SCO-008")
async def test_has_tells_nothing_of_a_type_that_is_not_granted(scene: Scene) -> None:
    every = " ".join(SCOPE + miv for miv in ALL_MIVS)
    queries = (
        "Device?_has:DeviceMetric:source:type=160212",
        f"Device?_has:DeviceMetric:source:_id={scene.home.ids['metric']}",
    )
    for more, found in (("", []), (" patient/DeviceMetric.rs", [scene.home.ids["cgm"]])):
        reader = with_scope(scene.reader, f"{every} patient/Device.rs{more}")
        assert [await reader.ids(query) for query in queries] == [found, found]
        assert await reader.ids("Device?_has:Observation:device:code=85354-9") == [scene.home.ids["cuff"]]


@pytest.mark.requirement("SCO-009", "SCO-010")
async def test_access_ends_with_each_of_its_conditions(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    reader = await paired(ddr, home.patient, BG, BP)
    entry, path = reader.diga.entry, f"Observation/{home.ids['bg-new']}"
    without = frozenset(url for url in entry.valuesets if BG not in url)
    for change, status in (
        (replace(entry, active=False), 401),  # the DiGA is no longer listed as active
        (replace(entry, valuesets=without), 404),  # BfArM withdrew the MIV
        (replace(entry, certificates=frozenset()), 401),  # the certificate is no longer the DiGA's
    ):
        ddr.trust.digas[entry.client_id] = change
        assert (await reader.get(path)).status_code == status
        ddr.trust.digas[entry.client_id] = entry
        assert (await reader.get(path)).status_code == 200
    await reader.diga.client.revoke(reader.tokens)  # the consent ends
    assert (await reader.get(path)).status_code == 401


@pytest.mark.requirement("SCO-010")
async def test_a_withdrawn_miv_closes_at_once(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    reader = await paired(ddr, home.patient, BG, CGM)
    url = link(await reader.search("Observation?_count=1&_sort=-date"), "next")
    assert url is not None
    entry = reader.diga.entry
    ddr.trust.digas[entry.client_id] = replace(
        entry, valuesets=frozenset(each for each in entry.valuesets if CGM in each)
    )
    assert await seen(reader) == ({"99504-3"}, {home.ids["cgm"]})
    following = await reader.search(url)
    assert all(code_of(resource) == "99504-3" for resource in entries(following))
    refused(await reader.get(f"Device/{home.ids['meter']}"), 404)
    assert await reader.ids("Observation?code=2339-0") == []
    ddr.trust.digas[entry.client_id] = replace(
        entry, valuesets=frozenset(each for each in entry.valuesets if BG in each)
    )
    refused(await reader.get(SUMMARY), 404)
    assert await reader.ids("Observation?code=99504-3") == []
    ddr.trust.digas[entry.client_id] = replace(entry, valuesets=frozenset())
    for kind in (*TYPES, SUMMARY):
        refused(await reader.get(kind), 404)


@pytest.mark.requirement("SCO-011")
async def test_several_mivs_in_one_authorization(ddr: Recorder, scene: Scene) -> None:
    reader = await paired(ddr, scene.home.patient, BG, LF)
    assert await seen(reader) == (CODES[BG] | CODES[LF], {scene.home.ids[key] for key in ("meter", "spirometer")})


@pytest.mark.requirement("SCO-013")
async def test_a_new_device_appears_with_its_first_observation(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    started_ms = ddr.clock()
    await home.device("cgm", startedAt=date_time(started_ms))
    metric = await home.cgm("cgm", started_ms)
    reader = await paired(ddr, home.patient, BG, CGM)
    assert entries(await reader.search("Device")) == []
    refused(await reader.get(f"Device/{home.ids['meter']}"), 404)
    await home.glucose("bg", ddr.clock())
    assert await reader.ids("Device") == [home.ids["meter"]]
    with later(ddr, 21 * MINUTE):  # a placeholder: data is expected by then
        (chunk,) = entries(await reader.search("Observation?code=99504-3"))
        assert chunk["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"
        assert set(await reader.ids("Device")) == {home.ids["meter"], home.ids["cgm"]}
        assert await reader.ids("DeviceMetric") == [metric]


@pytest.mark.requirement("SCO-014")
async def test_expired_observations_anchor_nothing(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    calibration = {"state": "calibrated", "time": home.ago(39 * DAY)}
    metric = await home.sensor("meter", "2339-0", "mg/dL", calibration=calibration)
    await home.glucose("bg", ddr.clock() - 30 * DAY + MINUTE, sensor="s")
    reader = await paired(ddr, home.patient, BG)
    assert (await reader.ids("Device"), await reader.ids("DeviceMetric")) == ([home.ids["meter"]], [metric])
    with later(ddr, 2 * MINUTE):
        assert (await reader.ids("Device"), await reader.ids("DeviceMetric")) == ([], [])
        refused(await reader.get(f"Device/{home.ids['meter']}"), 404)
        refused(await reader.get(f"DeviceMetric/{metric}"), 404)
