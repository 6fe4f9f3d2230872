"""Device, black box: search, status over time, and the content of a Device (area DEV)."""

from __future__ import annotations

import re
import time

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import (
    BG,
    CGM,
    DAY,
    HIIS,
    HOUR,
    MINUTE,
    Home,
    Json,
    Reader,
    Scene,
    entries,
    later,
    paired,
    refused,
)
from tests.support.recorder import Recorder

ID = r"[A-Za-z0-9\-\.]{1,64}"  # FHIR R4 datatypes.html#id
DEVICE_TYPES = {
    *("337414009", "700585005", "701815004", "702203005", "463729000", "701750003", "70665002", "334990001"),
    "303501006",
}


async def devices(reader: Reader, query: str = "") -> list[Json]:
    """The matches of a Device search."""
    return entries(await reader.search(f"Device?{query}"))


@pytest.fixture
async def worn(ddr: Recorder) -> Scene:
    """A patient with only a CGM sensor, and a DiGA for it."""
    home = Home(ddr, await ddr.patient())
    await home.rtcgm(ddr.clock())
    return Scene(home, await paired(ddr, home.patient, CGM))


@pytest.mark.requirement("DEV-007")
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("device-name:contains=CHECK", {"meter"}),
        ("device-name:exact=GlucoCheck", {"meter"}),
        ("device-name:exact=glucocheck", set()),
        ("type=70665002,701750003", {"cuff", "cgm"}),
        ("manufacturer=muster&type=334990001", {"spirometer"}),
        ("status=active", {"meter", "cuff", "spirometer", "cgm"}),
        ("status=inactive", set()),
    ],
)
async def test_what_searches_know_beyond_hddt(scene: Scene, query: str, keys: set[str]) -> None:
    assert {device["id"] for device in await devices(scene.reader, query)} == {scene.home.ids[key] for key in keys}


@pytest.mark.requirement("DEV-011", "DEV-008", "DEV-033")
async def test_an_exchanged_device_is_a_new_device(ddr: Recorder, worn: Scene) -> None:
    home = worn.home
    (chunk,) = entries(await worn.reader.search("Observation?_sort=-date&_count=1"))
    (old,) = await devices(worn.reader)
    old_metric = home.ids["metric"]
    change_ms = ddr.clock() + MINUTE  # the old sensor still measured now
    with later(ddr, HOUR):
        await home.device("cgm", name="GlucoSense rt", startedAt=home.ago(37 * HOUR), endedAt=date_time(change_ms))
        await home.device("next", startedAt=date_time(change_ms))
        metric = await home.cgm("next", change_ms)
        await home.readings("next", change_ms, [100] * 11)
        ids = await worn.reader.ids("Device")
        assert ids == [old["id"], home.ids["next"]]
        assert (await worn.reader.read(f"Device/{old['id']}"))["status"] == "inactive"
        metrics = await worn.reader.ids("DeviceMetric")
        latest = entries(await worn.reader.search("Observation?_sort=-date&_count=1"))[0]
    assert metrics == [old_metric, metric]
    assert latest["device"] == {"reference": f"DeviceMetric/{metric}"}
    assert latest["id"] != chunk["id"]
    assert all(re.fullmatch(ID, each) for each in (*ids, *metrics, latest["id"]))
    assert len({*ids, *metrics}) == 4


@pytest.mark.requirement("DEV-011")
@pytest.mark.parametrize("identity", [{"serialNumber": "SN-other"}, {"manufacturer": "Another AG"}])
async def test_no_other_device_takes_the_id_of_a_known_one(ddr: Recorder, worn: Scene, identity: Json) -> None:
    (known,) = await devices(worn.reader)
    body = {"serialNumber": "SN-cgm", "manufacturer": "Muster Medizintechnik AG", "name": "x", **identity}
    assert (await worn.home.patient.gateway.put("devices/cgm", json=body)).status_code == 409
    assert await devices(worn.reader) == [known]


@pytest.mark.requirement("DEV-012", "DEV-013", "DEV-014", "DEV-017")
async def test_status_follows_the_connection_without_a_new_version(ddr: Recorder, worn: Scene) -> None:
    path = f"Device/{worn.home.ids['cgm']}"
    before = await worn.reader.read(path)
    assert before["status"] == "active"
    with later(ddr, 15 * MINUTE):
        assert (await worn.reader.read(path))["status"] == "active"
    with later(ddr, 16 * MINUTE):
        silent = await worn.reader.read(path)
        assert await devices(worn.reader, "status=unknown") == [silent]
        # also when the DiGA has its version
        known = await worn.reader.get(path, **{"if-none-match": f'W/"{before["meta"]["versionId"]}"'})
        assert (known.status_code, known.json()) == (200, silent)
        await worn.home.readings("cgm", ddr.clock() - 5 * MINUTE, [101])
        again = await worn.reader.read(path)
    assert silent == {**before, "status": "unknown"}
    assert "statusReason" not in silent
    assert again == before


@pytest.mark.requirement("DEV-015", "DEV-021", "DEV-012", "DEV-013")
async def test_a_device_is_inactive_after_its_wear_time(ddr: Recorder, worn: Scene) -> None:
    path = f"Device/{worn.home.ids['cgm']}"
    before = await worn.reader.read(path)
    end = date_time(ddr.clock() - 2 * DAY + 12 * HOUR + 10 * DAY)
    assert before["expirationDate"] == end
    with later(ddr, 10 * DAY):
        assert await worn.reader.read(path) == {**before, "status": "inactive"}
        assert await worn.reader.ids("Device?status=inactive") == [worn.home.ids["cgm"]]


@pytest.mark.requirement("DEV-016")
async def test_types_are_those_of_the_valueset(ddr: Recorder, scene: Scene) -> None:
    for device in await devices(scene.reader):
        (coding,) = device["type"]["coding"]
        assert coding["system"] == "http://snomed.info/sct"
        assert coding["code"] in DEVICE_TYPES
    home = Home(ddr, await ddr.patient())
    for code in DEVICE_TYPES:
        await home.device(f"d{code}", type=code)
    foreign = {"serialNumber": "1", "name": "x", "manufacturer": "y", "type": "49062001"}
    assert (await home.patient.gateway.put("devices/x", json=foreign)).status_code == 422


@pytest.mark.requirement("DEV-018", "DEV-019", "DEV-042")
async def test_name_type_of_name_and_serial_number_are_filled(scene: Scene) -> None:
    found = {device["id"]: device for device in await devices(scene.reader)}
    meter = found[scene.home.ids["meter"]]
    assert meter["deviceName"] == [{"name": "GlucoCheck", "type": "user-friendly-name"}]
    assert meter["serialNumber"] == "SN-meter"
    assert meter["modelNumber"] == "GC-1"
    assert all({"deviceName", "serialNumber", "status"} <= device.keys() for device in found.values())


@pytest.mark.requirement("DEV-020", "DEV-042")
async def test_a_serial_number_is_left_out_only_on_purpose(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    body = {"name": "Meter", "manufacturer": "Muster AG"}
    for unwanted in (body, {**body, "serialNumber": ""}):
        assert (await home.patient.gateway.put("devices/meter", json=unwanted)).status_code == 422
    await home.device("meter", serialNumber=None)
    await home.glucose("bg", ddr.clock() - MINUTE)
    reader = await paired(ddr, home.patient, BG)
    (device,) = await devices(reader)
    assert "serialNumber" not in device
    await home.device("meter", serialNumber="A-1", endedAt=home.ago(0))
    (device,) = await devices(reader)
    assert (device["status"], device["serialNumber"]) == ("inactive", "A-1")


@pytest.mark.requirement("DEV-022", "DEV-023", "DEV-039")
async def test_definitions_point_into_the_hiis_vz(ddr: Recorder, scene: Scene) -> None:
    found = {device["id"]: device for device in await devices(scene.reader)}
    assert found[scene.home.ids["cgm"]]["definition"] == {"reference": HIIS + "cgm-001"}
    assert "definition" not in found[scene.home.ids["meter"]]
    for unwanted in (
        "DeviceDefinition/cgm-001",
        "https://else.example/DeviceDefinition/1",
        HIIS.replace("bfarm.de", "bfarm.example") + "cgm-001",
        HIIS.replace("hiis.", "") + "cgm-001",
        "https://else.example/DeviceDefinition/hiis.bfarm.de",
    ):
        body = {"serialNumber": "1", "name": "x", "manufacturer": "y", "definition": unwanted}
        assert (await scene.home.patient.gateway.put("devices/x", json=body)).status_code == 422


@pytest.mark.requirement("DEV-038")
async def test_the_delay_stays_below_what_is_registered(ddr: Recorder, scene: Scene) -> None:
    """From the gateway's upload to the DiGA's response in real time; the recorder's clock stands still."""
    sent = time.monotonic()
    await scene.home.readings("cgm", ddr.clock(), [111])
    bundle = await scene.reader.search("Observation?code=99504-3&_sort=-date&_count=1")
    (chunk,) = entries(bundle)
    assert chunk["valueSampledData"]["data"].endswith(" 111")
    registered = min(terms.delay_seconds for terms in ddr.core.catalog.terms.values())
    assert time.monotonic() - sent < registered


@pytest.mark.requirement("DEV-009", "DEV-010")
async def test_vread_of_a_device(scene: Scene) -> None:
    """A Device has one version, which the CapabilityStatement declares and a DiGA can read."""
    statement = await scene.reader.read("metadata")
    for resource in statement["rest"][0]["resource"]:
        assert {"code": "vread"} in resource["interaction"]
    for device in await devices(scene.reader):
        path = f"Device/{device['id']}"
        assert device["meta"]["versionId"] == "1"
        assert await scene.reader.read(f"{path}/_history/1") == device
        refused(await scene.reader.get(f"{path}/_history/2"), 404)
