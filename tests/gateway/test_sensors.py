"""Registering sensors, and up to when the data of each is stored."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ddr.http.core import Core
from tests.gateway.conftest import CGM, START, Client, put_device, put_sensor
from tests.support.clock import Clock

FULL = {
    "miv": "continuous-glucose-measurement",
    "codeSystem": "http://loinc.org",
    "decimals": 0,
    "limits": {"lower": 40, "upper": 400},
    "bufferingSeconds": 28_800,
    "method": {"coding": [{"system": "http://snomed.info/sct", "code": "463729000"}], "text": "rtCGM"},
    "note": "Sensor warm-up phase,\nvalues not yet validated.",
    "metric": {
        "type": {
            "coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "160212", "display": "MDC_CONC_GLU_ISF"}]
        },
        "operationalStatus": "on",
        "category": "measurement",
        "measurementPeriod": {"repeat": {"frequency": 1, "period": 5, "periodUnit": "min"}},
    },
    "calibration": {"state": "calibrated", "type": "unspecified", "time": "2026-10-01T09:08:04+02:00"},
    "displayUnit": "mmol/L",
    "startedAt": "2026-10-01T01:00:00Z",
}


@pytest.fixture(autouse=True)
async def cgm(client: Client) -> None:
    """A device for the sensors."""
    await put_device(client, "cgm", **CGM)


async def epochs(core: Core, patient_id: UUID) -> list[dict[str, Any]]:
    """The epochs of the patient's sensors."""
    rows = await core.pool.fetch("SELECT * FROM epoch WHERE patient_id = $1 ORDER BY epoch_no", patient_id)
    return [dict(row) for row in rows]


async def test_registration_and_repetition(client: Client, core: Core, patient_id: UUID) -> None:
    first = await put_sensor(client, "cgm", "glucose", **FULL)
    again = await put_sensor(client, "cgm", "glucose", **FULL)
    sensor = first.json()
    assert (first.status_code, again.status_code) == (201, 200)
    assert sensor == again.json() == (await client.get("/devices/cgm/sensors/glucose")).json()
    assert (await client.get("/devices/cgm/sensors")).json() == {"sensors": [sensor]}
    assert {name: sensor[name] for name in FULL} == FULL
    assert (sensor["device"], sensor["storedUntil"], sensor["completeUntil"]) == ("cgm", None, None)
    (epoch,) = await epochs(core, patient_id)
    assert core.ids.metric(epoch["epoch_no"]) == sensor["metricId"]
    assert (epoch["from_ms"], epoch["until_ms"], epoch["calibration_state"]) == (1_790_816_400_000, None, "calibrated")


async def test_defaults(client: Client, core: Core, patient_id: UUID) -> None:
    sensor = (await put_sensor(client, "cgm", "glucose")).json()
    assert sensor["miv"] == "continuous-glucose-measurement"
    assert (sensor["decimals"], sensor["bufferingSeconds"], sensor["startedAt"]) == (0, 86_400, START)
    assert (sensor["metric"], sensor["calibration"], sensor["displayUnit"]) == ({}, None, None)
    row = await core.pool.fetchrow("SELECT calibrated_device, span_ms FROM sensor WHERE patient_id = $1", patient_id)
    assert (row["calibrated_device"], row["span_ms"]) == (False, 86_400_000)


async def test_dedicated_sensor(client: Client) -> None:
    answer = await put_sensor(
        client, "cgm", "cuff", code="85354-9", unit="mm[Hg]", samplingPeriodMs=None, calibration={"state": "calibrated"}
    )
    assert (answer.status_code, answer.json()["samplingPeriodMs"], answer.json()["decimals"]) == (201, None, None)


@pytest.mark.parametrize(
    ("members", "field", "code"),
    [
        ({"code": "85354-8"}, "code", "unknown-code"),
        ({"code": None}, "code", "invalid"),
        ({"codeSystem": "http://snomed.info/sct"}, "code", "unknown-code"),
        ({"codeSystem": "loinc"}, "codeSystem", "invalid"),
        ({"miv": "blood-glucose-measurement"}, "miv", "unknown-code"),
        ({"unit": "mmol/L"}, "unit", "unit"),
        ({"unit": "mg/dl"}, "unit", "unit"),
        ({"samplingPeriodMs": 0}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": -300_000}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": 7_000}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": 1_000}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": 300_000.0}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": True}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": 172_800_000}, "samplingPeriodMs", "invalid"),
        ({"samplingPeriodMs": None}, "samplingPeriodMs", "invalid"),
        ({"decimals": 3}, "decimals", "invalid"),
        ({"limits": {}}, "limits", "invalid"),
        ({"limits": {"lower": 400, "upper": 40}}, "limits", "invalid"),
        ({"limits": {"lower": 40.5}}, "limits.lower", "invalid"),
        ({"limits": {"upper": 40_000}}, "limits.upper", "invalid"),
        ({"limits": {"upper": 1e300}}, "limits.upper", "invalid"),
        ({"limits": {"upper": "400"}}, "limits.upper", "invalid"),
        ({"bufferingSeconds": -1}, "bufferingSeconds", "invalid"),
        ({"method": {}}, "method", "invalid"),
        ({"method": {"coding": [{"system": "http://snomed.info/sct"}]}}, "method.coding[0].code", "invalid"),
        ({"method": {"coding": [{"system": "a b", "code": "1"}]}}, "method.coding[0].system", "invalid"),
        ({"method": {"coding": [{"system": "urn:oid:1.2.x", "code": "1"}]}}, "method.coding[0].system", "invalid"),
        ({"method": {"coding": [{"system": "urn:uuid:1", "code": "1"}]}}, "method.coding[0].system", "invalid"),
        ({"method": {"coding": [{"system": "urn:x", "code": "a  b"}]}}, "method.coding[0].code", "invalid"),
        ({"method": {"coding": [{"system": "urn:x", "code": "a\tb"}]}}, "method.coding[0].code", "invalid"),
        ({"metric": {"type": 5}}, "metric.type", "invalid"),
        ({"metric": {"operationalStatus": "broken"}}, "metric.operationalStatus", "invalid"),
        ({"metric": {"measurementPeriod": {}}}, "metric.measurementPeriod.repeat", "invalid"),
        ({"metric": {"colour": "red"}}, "metric.colour", "unknown-member"),
        ({"calibration": {"type": "gain"}}, "calibration.state", "invalid"),
        ({"calibration": {"state": "unknown"}}, "calibration.state", "invalid"),
        ({"calibration": {"state": "calibrated", "time": "2026-12-01T00:00:00Z"}}, "calibration.time", "future"),
        ({"displayUnit": "L"}, "displayUnit", "invalid"),
        ({"startedAt": "2026-09-30T00:00:00Z"}, "startedAt", "before-start"),
        ({"endedAt": "2026-09-30T00:00:00Z"}, "endedAt", "invalid"),
        ({"samplingperiod": 1}, "samplingperiod", "unknown-member"),
    ],
)
async def test_invalid_members(client: Client, members: dict[str, Any], field: str, code: str) -> None:
    answer = await put_sensor(client, "cgm", "glucose", **members)
    assert (answer.status_code, answer.json()["field"], answer.json()["code"]) == (422, field, code)
    assert (await client.get("/devices/cgm/sensors")).json() == {"sensors": []}


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("urn:oid:2.16.840.1.113883.6.1", "a b c"),
        ("urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "ü"),
        ("urn:iso:std:iso:11073:10101", "160212"),
    ],
)
async def test_what_a_coding_may_be(client: Client, system: str, code: str) -> None:
    answer = await put_sensor(client, "cgm", "glucose", method={"coding": [{"system": system, "code": code}]})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("member", ["samplingPeriodMs", "decimals", "limits", "bufferingSeconds", "method", "note"])
async def test_members_of_continuous_sensors_only(client: Client, member: str) -> None:
    members = {"samplingPeriodMs": None, member: {**FULL, "samplingPeriodMs": 300_000}[member]}
    answer = await put_sensor(client, "cgm", "meter", **{"code": "2339-0", **members})
    assert (answer.status_code, answer.json()["field"]) == (422, member)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("samplingPeriodMs", 60_000),
        ("decimals", 1),
        ("limits", {"lower": 39, "upper": 400}),
        ("note", "Another note"),
        ("calibration", {"state": "not-calibrated"}),
        ("calibration", None),
        ("metric", None),
    ],
)
async def test_another_registration_is_refused(client: Client, member: str, value: Any) -> None:
    await put_sensor(client, "cgm", "glucose", **FULL)
    answer = await put_sensor(client, "cgm", "glucose", **{**FULL, member: value})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert member in answer.json()["detail"]


async def test_the_start_may_be_left_out_or_repeated(client: Client) -> None:
    first = await put_sensor(client, "cgm", "glucose")
    again = await put_sensor(client, "cgm", "glucose", startedAt=START)
    assert (again.status_code, again.json()) == (200, first.json())


async def test_the_start_of_a_meter_s_sensor_is_corrected(client: Client) -> None:
    await put_device(client, "meter")
    meter = {"code": "2339-0", "samplingPeriodMs": None, "calibration": {"state": "calibrated"}}
    for start in ("2026-11-20T08:00:00Z", "2026-11-19T08:00:00Z", "2026-11-21T08:00:00Z"):
        answer = await put_sensor(client, "meter", "strip", startedAt=start, **meter)
        assert (answer.status_code // 100, answer.json().get("startedAt")) == (2, start)


async def test_displayed_unit_may_change_and_makes_a_version(client: Client, core: Core, patient_id: UUID) -> None:
    first = (await put_sensor(client, "cgm", "glucose", **FULL)).json()
    changed = (await put_sensor(client, "cgm", "glucose", **{**FULL, "displayUnit": "mg/dL"})).json()
    assert changed == {**first, "displayUnit": "mg/dL"}
    (epoch,) = await epochs(core, patient_id)
    former = await core.pool.fetch("SELECT version, display_unit FROM epoch_version WHERE patient_id = $1", patient_id)
    assert (epoch["version"], [tuple(row) for row in former]) == (2, [(1, "mmol/L")])


async def test_unknown_device_and_sensor(client: Client) -> None:
    assert (await put_sensor(client, "none", "glucose")).status_code == 404
    assert (await client.get("/devices/none/sensors")).status_code == 404
    assert (await client.get("/devices/cgm/sensors/none")).status_code == 404
    assert (await put_sensor(client, "cgm", "a b")).status_code == 422


async def push(client: Client, *times: str) -> None:
    """Send one reading for each time."""
    body = {"unit": "mg/dL", "readings": [{"time": time, "value": 100} for time in times]}
    answer = await client.post("/devices/cgm/sensors/glucose/readings", json=body)
    assert answer.json()["accepted"] == len(times)


async def test_stored_until_is_the_cursor(client: Client) -> None:
    await put_sensor(client, "cgm", "glucose")
    await push(client, "2026-11-22T08:00:00Z", "2026-11-22T08:05:01Z")
    sensor = (await client.get("/devices/cgm/sensors/glucose")).json()
    assert sensor["storedUntil"] == "2026-11-22T08:05:01Z"
    await client.post("/devices/cgm/sensors/glucose/complete", json={"until": "2026-11-22T08:30:00Z"})
    sensor = (await client.get("/devices/cgm/sensors/glucose")).json()
    assert sensor["completeUntil"] == "2026-11-22T08:30:00Z"


async def test_end_of_device_closes_its_series(client: Client, core: Core, patient_id: UUID, clock: Clock) -> None:
    await put_sensor(client, "cgm", "glucose")
    await put_sensor(client, "cgm", "meter", code="2339-0", samplingPeriodMs=None, calibration={"state": "calibrated"})
    await push(client, "2026-11-22T08:00:00Z", "2026-11-22T08:05:00Z")
    early = await put_device(client, "cgm", **CGM, endedAt="2026-11-22T08:02:00Z")
    assert (early.status_code, early.json()["code"]) == (409, "readings-after-end")
    at_last = await put_device(client, "cgm", **CGM, endedAt="2026-11-22T08:05:00Z")
    assert at_last.json()["detail"] == "Values or calibrations at or after this instant are already stored"
    ended = await put_device(client, "cgm", **CGM, endedAt="2026-11-22T09:00:00Z")
    assert ended.status_code == 200
    sensors = (await client.get("/devices/cgm/sensors")).json()["sensors"]
    assert {sensor["endedAt"] for sensor in sensors} == {"2026-11-22T09:00:00Z"}
    assert {epoch["until_ms"] for epoch in await epochs(core, patient_id)} == {clock() - 3_600_000}
    status = await core.pool.fetchval(
        "SELECT status FROM chunk WHERE patient_id = $1 ORDER BY k DESC LIMIT 1", patient_id
    )
    assert status == "f"
    late = {"unit": "mg/dL", "readings": [{"time": "2026-11-22T09:30:00Z", "value": 100}]}
    answer = (await client.post("/devices/cgm/sensors/glucose/readings", json=late)).json()
    assert answer["items"][0]["reason"] == "after-end"
    new = await put_sensor(client, "cgm", "second")
    assert (new.status_code, new.json()["code"]) == (409, "ended")


async def test_end_of_sensor(client: Client) -> None:
    await put_sensor(client, "cgm", "glucose")
    ended = await put_sensor(client, "cgm", "glucose", endedAt="2026-11-22T09:00:00Z")
    assert ended.json()["endedAt"] == "2026-11-22T09:00:00Z"
    assert (await put_sensor(client, "cgm", "glucose")).json() == ended.json()
    assert (await put_sensor(client, "cgm", "glucose", endedAt="2026-11-22T09:10:00Z")).status_code == 409
    assert (await put_device(client, "cgm", **CGM)).json()["endedAt"] is None
    await put_device(client, "cgm", **CGM, endedAt="2026-11-22T09:30:00Z")
    assert (await client.get("/devices/cgm/sensors/glucose")).json()["endedAt"] == "2026-11-22T09:00:00Z"


async def test_the_time_of_a_calibration_in_another_zone_is_the_same_sensor(client: Client) -> None:
    """A phone that travelled, or changed to winter time, repeats its registrations."""
    await put_device(client, "cgm", **CGM)
    calibration = {"state": "calibrated", "time": "2026-11-20T10:00:00+01:00"}
    assert (await put_sensor(client, "cgm", "glucose", calibration=calibration)).status_code == 201
    again = await put_sensor(client, "cgm", "glucose", calibration={**calibration, "time": "2026-11-20T09:00:00Z"})
    assert again.status_code == 200
    for other in ({**calibration, "time": "2026-11-20T09:00:01Z"}, {"state": "calibrated"}, None):
        assert (await put_sensor(client, "cgm", "glucose", calibration=other)).status_code == 409
