"""Continuous glucose over HTTP: CGM-002 to CGM-014 (HDDT measurement-cgm.md); chunks themselves are in test_ser.py."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.fhir.instants import date_time
from tests.spec.series import PERIOD, SLOTS, Worn, chunks, ramp, values, worn
from tests.spec.world import CGM, DAY, HOUR, MINUTE, Home, later, paired
from tests.support.recorder import Recorder

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
CODES = {"99504-3": ("mg/dL", "mg/dl"), "105272-9": ("mmol/L", "mmol/l")}


async def refused(sensor: Worn, **members: Any) -> tuple[int, str]:
    """Status and member with which the gateway API refuses a further sensor."""
    body = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD, **members}
    response = await sensor.home.patient.gateway.put("devices/cgm/sensors/refused", json=body)
    return response.status_code, response.json()["field"]


@pytest.mark.requirement("CGM-002", "CGM-003", "CGM-004", "CGM-005", "CGM-014")
@pytest.mark.parametrize("limits", [{"lower": 2, "upper": 400}, {"upper": 400}, None])
@pytest.mark.parametrize("code", CODES)
async def test_code_period_and_sampled_data(ddr: Recorder, code: str, limits: dict[str, int] | None) -> None:
    unit, text = CODES[code]
    sensor = await worn(ddr, code=code, unit=unit, decimals=1, limits=limits)
    first = 105.5 if unit == "mg/dL" else 5.5
    with later(ddr, HOUR):
        readings = [{"time": date_time(sensor.start_ms + n * PERIOD), "value": first + n} for n in range(3)]
        body = {"unit": unit, "readings": readings}
        await sensor.home.patient.gateway.post("devices/cgm/sensors/s/readings", json=body)
        (chunk,) = await sensor.chunks(f"code={LOINC}|{code}")
    assert [(c["system"], c["code"]) for c in chunk["code"]["coding"]] == [(LOINC, code)]
    assert [name for name in chunk if name.startswith("effective")] == ["effectivePeriod"]
    assert set(chunk["effectivePeriod"]) == {"start", "end"}
    assert [name for name in chunk if name.startswith("value")] == ["valueSampledData"]
    sampled = chunk["valueSampledData"]
    assert sampled["origin"] == {"value": 0, "unit": text, "system": UCUM, "code": unit}
    assert (sampled["period"], sampled["dimensions"], sampled["data"]) == (
        PERIOD,
        1,
        " ".join(str(first + n) for n in range(3)),
    )


@pytest.mark.requirement("CGM-002", "CGM-005")
async def test_foreign_codes_and_units_are_refused(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    assert await refused(sensor, code="1234-5") == (422, "code")
    assert await refused(sensor, unit="mmol/L") == (422, "unit")
    assert await refused(sensor, code="105272-9") == (422, "unit")
    body = {"unit": "mmol/L", "readings": [{"time": date_time(sensor.start_ms), "value": 5.5}]}
    answer = (await sensor.home.patient.gateway.post("devices/cgm/sensors/s/readings", json=body)).json()
    assert [(item["status"], item["reason"]) for item in answer["items"]] == [("rejected", "unit")]


@pytest.mark.requirement("CGM-006", "CGM-003")
async def test_a_chunk_without_value_has_a_reason(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, HOUR):
        (chunk,) = await sensor.chunks()
        assert not [name for name in chunk if name.startswith("value")]
        assert [coding["code"] for coding in chunk["dataAbsentReason"]["coding"]] == ["temp-unknown"]
        assert set(chunk["effectivePeriod"]) == {"start", "end"}
        await sensor.send(0, ramp(2))
        (chunk,) = await sensor.chunks()
        assert "dataAbsentReason" not in chunk


@pytest.mark.requirement("CGM-007")
async def test_a_sensor_with_calibration_is_a_metric_any_other_a_device(ddr: Recorder) -> None:
    home, start_ms = Home(ddr, await ddr.patient()), ddr.clock()
    expected = {}
    for key, state in (("calibrated", "calibrated"), ("waiting", "calibration-required"), ("factory", None)):
        device = await home.device(key, startedAt=home.ago(0))
        metric = await home.cgm(key, start_ms, state)
        expected[key] = f"DeviceMetric/{metric}" if state else f"Device/{device}"
        await home.readings(key, start_ms, ["L"])
    reader = await paired(ddr, home.patient, CGM)
    found = {chunk["device"]["reference"] for chunk in await chunks(reader)}
    assert found == set(expected.values())
    metrics = [await reader.read(reference) for reference in found if reference.startswith("DeviceMetric/")]
    assert {metric["calibration"][0]["state"] for metric in metrics} == {"calibrated", "calibration-required"}
    with later(ddr, 2 * DAY):  # no reading of which has arrived
        empty = [chunk for chunk in await chunks(reader) if "valueSampledData" not in chunk]
    assert {chunk["device"]["reference"] for chunk in empty} == set(expected.values())


@pytest.mark.requirement("CGM-008", "CGM-009")
async def test_values_out_of_range_are_marked_and_the_limits_are_told(ddr: Recorder) -> None:
    sensor = await worn(ddr, limits={"lower": 40, "upper": 400})
    with later(ddr, HOUR):
        answer = await sensor.send(0, [40, 39, "L", 400, 401, "U"])
        assert [item.get("stored") for item in answer["items"]] == [None, "L", None, None, "U", None]
        (chunk,) = await sensor.chunks()
    assert values(chunk) == ["40", "L", "L", "400", "U", "U"]
    assert (chunk["valueSampledData"]["lowerLimit"], chunk["valueSampledData"]["upperLimit"]) == (40, 400)


@pytest.mark.requirement("CGM-010")
async def test_search_by_last_change(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY):
        await sensor.send(0, ramp(SLOTS))
        (first,) = await sensor.chunks()
    with later(ddr, DAY + HOUR):
        await sensor.send(SLOTS, ramp(10))
        since = f"_lastUpdated=gt{first['meta']['lastUpdated']}"
        (second,) = await sensor.chunks(since)
        assert second["id"] != first["id"]
        assert await sensor.chunks(f"_lastUpdated=le{first['meta']['lastUpdated']}") == [first]
    with later(ddr, DAY + HOUR + 10 * MINUTE):
        seen = f"_lastUpdated=gt{second['meta']['lastUpdated']}"
        assert await sensor.chunks(seen) == []
        await sensor.send(SLOTS + 10, ramp(1))
        assert [chunk["id"] for chunk in await sensor.chunks(seen)] == [second["id"]]


@pytest.mark.requirement("CGM-013")
async def test_final_is_complete_and_preliminary_may_change(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY + 12 * HOUR):
        await sensor.send(0, ramp(SLOTS - 1))
        await sensor.send(SLOTS, ramp(10))
        assert [chunk["status"] for chunk in await sensor.chunks()] == ["preliminary"] * 2
        await sensor.send(SLOTS - 1, ["L"])
        first, second = await sensor.chunks()
        assert (first["status"], len(values(first))) == ("final", SLOTS)
        assert second["status"] == "preliminary"
    with later(ddr, 2 * DAY):
        sent = {"until": date_time(ddr.clock())}
        await sensor.home.patient.gateway.post("devices/cgm/sensors/s/complete", json=sent)
        _, second = await sensor.chunks()
        assert (second["status"], values(second).count("E")) == ("final", SLOTS - 10)
        # A chunk that changes afterwards is not called final.
        await sensor.send(2 * SLOTS - 3, [111])
        _, second = await sensor.chunks()
        assert (second["status"], values(second)[-4:]) == ("amended", ["E", "111", "E", "E"])
