"""DeviceMetric, black box: sensors and their calibration over time (area DEV)."""

from __future__ import annotations

import pytest

from ddr.fhir.instants import date_time
from tests.spec.world import (
    BG,
    CGM,
    DAY,
    HOUR,
    LF,
    MINUTE,
    Home,
    Json,
    Reader,
    Scene,
    entries,
    furnished,
    later,
    paired,
    refused,
)
from tests.support.recorder import Recorder

UCUM = "http://unitsofmeasure.org"


async def metrics(reader: Reader, query: str = "") -> list[Json]:
    """The matches of a DeviceMetric search."""
    return entries(await reader.search(f"DeviceMetric?{query}"))


async def calibrate(home: Home, device: str, at_ms: int, state: str) -> None:
    """Send a calibration event."""
    event = {"time": date_time(at_ms), "state": state}
    path = f"devices/{device}/sensors/s/calibrations"
    response = await home.patient.gateway.post(path, json={"calibrations": [event]})
    assert response.json()["accepted"] == 1, response.text


@pytest.fixture
async def strips(ddr: Recorder) -> Scene:
    """A patient with a blood glucose meter that needs calibration, a value of two hours ago, and a DiGA."""
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    calibration = {"state": "calibrated", "time": home.ago(DAY), "type": "two-point"}
    home.ids["metric"] = await home.sensor("meter", "2339-0", "mg/dL", calibration=calibration)
    await home.glucose("before", ddr.clock() - 2 * HOUR, sensor="s")
    return Scene(home, await paired(ddr, home.patient, BG))


@pytest.mark.requirement("DEV-025", "DEV-036")
async def test_search_parameters(ddr: Recorder) -> None:
    scene = await furnished(ddr)
    with later(ddr, MINUTE):
        await scene.home.strips()
    ids, reader = scene.home.ids, scene.reader
    found = {one["id"]: one for one in await metrics(reader)}
    assert found.keys() == {ids["metric"], ids["strips-metric"]}
    metric, newer = found[ids["metric"]], found[ids["strips-metric"]]
    coding = metric["type"]["coding"][0]
    for query in (
        f"source=Device/{ids['cgm']}",
        f"source={ids['cgm']}",
        f"_id={ids['metric']}",
        f"type={coding['code']}",
        f"type={coding['system']}|{coding['code']}",
        "_sort=_lastUpdated&_count=1",
    ):
        assert await metrics(reader, query) == [metric]
    assert await metrics(reader, "_sort=-_lastUpdated&_count=1") == [newer]
    assert await metrics(reader, f"source=Device/{ids['meter']}") == []
    bundle = await reader.search("DeviceMetric?_include=DeviceMetric:source")
    assert {device["id"] for device in entries(bundle, "include")} == {ids["cgm"], ids["strips"]}


@pytest.mark.requirement("DEV-027", "DEV-030", "DEV-031", "DEV-032", "DEV-037")
async def test_calibration_is_shown(strips: Scene) -> None:
    (metric,) = await metrics(strips.reader)
    taken = strips.home.ago(DAY)
    assert metric["calibration"] == [{"type": "two-point", "state": "calibrated", "time": taken}]
    assert "calibrationDate" not in metric


@pytest.mark.requirement("DEV-031")
async def test_a_calibration_needs_its_one_state(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("meter")
    for calibration in ({}, {"time": home.ago(DAY)}, {"state": "good"}, {"state": ["calibrated", "unspecified"]}):
        body = {"code": "2339-0", "unit": "mg/dL", "calibration": calibration}
        response = await home.patient.gateway.put("devices/meter/sensors/s", json=body)
        assert response.status_code == 422


@pytest.mark.requirement("DEV-031", "DEV-032")
async def test_a_sensor_that_needs_no_calibration_has_none(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    await home.device("cgm")
    metric = await home.cgm("cgm", ddr.clock() - HOUR, calibration={"state": "unspecified"})
    await home.readings("cgm", ddr.clock() - HOUR, [100])
    reader = await paired(ddr, home.patient, CGM)
    assert (await reader.read(f"DeviceMetric/{metric}"))["calibration"] == [{"state": "unspecified"}]


@pytest.mark.requirement("OBS-025", "DEV-027", "DEV-008", "DEV-034")
async def test_a_change_of_state_is_visible_between_measurements(ddr: Recorder, strips: Scene) -> None:
    """Each value refers to the DeviceMetric with the state at its measurement, even if reported afterwards."""
    home, reader = strips.home, strips.reader
    (before,) = await metrics(reader)
    await calibrate(home, "meter", ddr.clock() - HOUR, "calibration-required")
    await home.glucose("after", ddr.clock() - MINUTE, sensor="s")
    states = {}
    for key in ("before", "after"):
        observation = await reader.read(f"Observation/{home.ids[key]}")
        metric = await reader.read(observation["device"]["reference"])
        states[key] = (metric["id"], metric["calibration"][0]["state"])
    assert states["before"] == (before["id"], "calibrated")
    assert states["after"][0] != before["id"]
    assert states["after"][1] == "calibration-required"
    assert {metric["source"]["reference"] for metric in await metrics(reader)} == {f"Device/{home.ids['meter']}"}


@pytest.mark.requirement("OBS-025", "DEV-041", "DEV-027")
async def test_warm_up_of_a_cgm_sensor_is_visible(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    started_ms = ddr.clock() - 3 * HOUR
    await home.device("cgm", startedAt=date_time(started_ms))
    await home.cgm("cgm", started_ms, "not-calibrated")
    await home.readings("cgm", started_ms, [100] * 24)
    await calibrate(home, "cgm", started_ms + HOUR, "calibrated")
    reader = await paired(ddr, home.patient, CGM)
    chunks = entries(await reader.search("Observation?_sort=date"))
    found = [await reader.read(chunk["device"]["reference"]) for chunk in chunks]
    assert [metric["calibration"][0]["state"] for metric in found] == ["not-calibrated", "calibrated"]
    assert len({metric["id"] for metric in found}) == 2


@pytest.mark.requirement("DEV-008", "DEV-009", "OBS-025")
async def test_a_new_calibration_in_the_same_state_is_a_new_version(ddr: Recorder, strips: Scene) -> None:
    path = f"DeviceMetric/{strips.home.ids['metric']}"
    before = await strips.reader.read(path)
    with later(ddr, MINUTE):
        await calibrate(strips.home, "meter", ddr.clock() - HOUR, "calibrated")
        after = await strips.reader.read(path)
    assert (before["meta"]["versionId"], after["meta"]["versionId"]) == ("1", "2")
    assert after["calibration"][0]["time"] > before["calibration"][0]["time"]
    assert after["meta"]["lastUpdated"] > before["meta"]["lastUpdated"]
    assert await strips.reader.read(f"{path}/_history/1") == before
    assert await strips.reader.read(f"{path}/_history/2") == after
    refused(await strips.reader.get(f"{path}/_history/3"), 404)


@pytest.mark.requirement("DEV-029", "DEV-034", "DEV-009", "RS-042")
async def test_the_displayed_unit_may_change(ddr: Recorder, scene: Scene) -> None:
    """The unit shown to the patient is UCUM; the values keep theirs, and the DeviceMetric keeps its id."""
    home = Home(ddr, await ddr.patient())
    started_ms = ddr.clock() - HOUR
    await home.device("cgm")
    metric = await home.cgm("cgm", started_ms)
    await home.readings("cgm", started_ms, [100, 101])
    reader = await paired(ddr, home.patient, CGM)
    (before,) = await metrics(reader)
    assert [coding["code"] for coding in before["unit"]["coding"]] == ["mg/dL"]
    with later(ddr, MINUTE):
        assert await home.cgm("cgm", started_ms, displayUnit="mmol/L") == metric
        (after,) = await metrics(reader)
        (chunk,) = entries(await reader.search("Observation"))
    assert [(coding["system"], coding["code"]) for coding in after["unit"]["coding"]] == [(UCUM, "mmol/L")]
    assert chunk["valueSampledData"]["origin"]["code"] == "mg/dL"
    registered = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 5 * MINUTE}
    for unit in ("mg%", "mmol/l", "Millimol"):
        refusal = await home.patient.gateway.put("devices/cgm/sensors/s", json={**registered, "displayUnit": unit})
        assert (refusal.status_code, refusal.json()["field"]) == (422, "displayUnit")
    assert after["id"] == before["id"]
    assert await reader.read(f"DeviceMetric/{metric}/_history/1") == before


@pytest.mark.requirement("DEV-034")
@pytest.mark.parametrize("kind", ["gain", "two-point"])
async def test_a_calibration_that_leaves_the_state_as_it_is_leaves_the_id(
    ddr: Recorder, strips: Scene, kind: str
) -> None:
    (before,) = await metrics(strips.reader)
    event = {"state": "calibrated", "type": kind, "time": date_time(ddr.clock() - MINUTE)}
    path = "devices/meter/sensors/s/calibrations"
    assert (await strips.home.patient.gateway.post(path, json={"calibrations": [event]})).status_code == 200
    await strips.home.glucose("after", ddr.clock(), sensor="s")
    (after,) = await metrics(strips.reader)
    assert after["id"] == before["id"]
    assert after["calibration"] == [event]
    assert (await strips.reader.read(f"Observation/{strips.home.ids['after']}"))["device"]["reference"].endswith(
        after["id"]
    )


@pytest.mark.requirement("DEV-034", "DEV-012")
async def test_new_data_makes_no_new_version(ddr: Recorder, strips: Scene) -> None:
    paths = [f"DeviceMetric/{strips.home.ids['metric']}", f"Device/{strips.home.ids['meter']}"]
    before = [await strips.reader.read(path) for path in paths]
    with later(ddr, 10 * MINUTE):
        await strips.home.glucose("more", ddr.clock(), sensor="s")
        assert [await strips.reader.read(path) for path in paths] == before


@pytest.mark.requirement("DEV-033")
async def test_another_device_has_another_metric(ddr: Recorder, strips: Scene) -> None:
    await strips.home.device("second", serialNumber="SN-meter", name="Device meter")
    calibration = {"state": "calibrated", "time": strips.home.ago(DAY), "type": "two-point"}
    metric = await strips.home.sensor("second", "2339-0", "mg/dL", calibration=calibration)
    await strips.home.glucose("other", ddr.clock() - HOUR, device="second", sensor="s")
    assert await strips.reader.ids("DeviceMetric") == [strips.home.ids["metric"], metric]


@pytest.mark.requirement("DEV-035")
async def test_a_device_with_several_sensors(ddr: Recorder) -> None:
    home = Home(ddr, await ddr.patient())
    device = await home.device("spiro")
    calibrated = {"state": "calibrated", "time": home.ago(DAY)}
    flow = await home.sensor("spiro", "19935-6", "L/min", "flow", calibration=calibrated)
    volume = await home.sensor("spiro", "20150-9", "L", "volume", calibration=calibrated)
    common = {"device": "spiro", "effective": home.ago(HOUR)}
    await home.measure("pef", code="19935-6", value=600, unit="L/min", sensor="flow", **common)
    await home.measure("fev1", code="20150-9", value=3.5, unit="L", sensor="volume", **common)
    reader = await paired(ddr, home.patient, LF)
    found = await metrics(reader, f"source=Device/{device}")
    assert [metric["id"] for metric in found] == [flow, volume]
    assert [metric["unit"]["coding"][0]["code"] for metric in found] == ["L/min", "L"]
    assert await reader.ids("Device") == [device]
