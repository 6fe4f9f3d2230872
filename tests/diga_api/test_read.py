"""read and vread: current and former versions, expired, deleted and referenced resources."""

from __future__ import annotations

from typing import Any

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, HOUR, LUNG, PRESSURE, Backend, Body, ids
from tests.support.clock import Clock


async def read(diga: Backend, path: str) -> dict[str, Any]:
    response = await diga.get(path)
    assert response.status_code == 200, response.text
    resource: dict[str, Any] = response.json()
    assert response.headers["etag"] == f'W/"{resource["meta"]["versionId"]}"'
    assert response.headers["last-modified"].endswith(" GMT")
    return resource


async def refusal(diga: Backend, path: str) -> tuple[int, str]:
    response = await diga.get(path)
    return response.status_code, response.json()["issue"][0]["diagnostics"]


async def test_everything_that_a_search_returns_can_be_read(body: Body, pair: Pair) -> None:
    await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair()
    bundle = await diga.bundle("Observation?_include=Observation:device&_include:iterate=DeviceMetric:source")
    assert len(bundle["entry"]) == 7
    for entry in bundle["entry"]:
        path = entry["fullUrl"].removeprefix(diga.core.settings.fhir_base + "/")
        assert await read(diga, path) == entry["resource"]
        version = entry["resource"]["meta"]["versionId"]
        assert await read(diga, f"{path}/_history/{version}") == entry["resource"]


async def test_a_running_chunk_is_read_again_with_new_values(body: Body, pair: Pair) -> None:
    _, epoch_no, chunks = await body.cgm()
    diga = await pair(CGM)
    before = await read(diga, f"Observation/{chunks[-1]}")
    start_ms = body.core.clock() - DAY + 6 * HOUR
    await body.core.pool.execute(
        "DELETE FROM chunk WHERE patient_id = $1 AND epoch_no = $2 AND k = 2", body.patient_id, epoch_no
    )
    await body.chunk(epoch_no, 2, start_ms, [102] * 212, version=3, updated_ms=body.core.clock())
    after = await read(diga, f"Observation/{chunks[-1]}")
    assert after["effectivePeriod"] == before["effectivePeriod"]
    assert len(after["valueSampledData"]["data"].split()) == 212
    assert after["meta"]["versionId"] == "3"
    assert (await refusal(diga, f"Observation/{chunks[-1]}/_history/1")) == (
        404, f"Version 1 is not valid for resource Observation/{chunks[-1]}.",
    )  # fmt: skip


async def test_a_placeholder_has_an_id_to_read(body: Body, pair: Pair, clock: Clock) -> None:
    device_no = await body.device()
    sensor_no = await body.sensor(device_no, CGM)
    await body.epoch(device_no, sensor_no, body.core.clock() - HOUR)
    diga = await pair(CGM)
    (logical_id,) = await diga.matches("Observation")
    resource = await read(diga, f"Observation/{logical_id}")
    assert resource["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"
    assert (await refusal(diga, f"Observation/{body.core.ids.chunk(1, 7)}"))[0] == 404
    clock.advance(3 * 86_400)
    diga = await pair(CGM)
    assert (await read(diga, f"Observation/{logical_id}"))["status"] == "final"  # no more data can arrive


async def test_expired_history_is_told(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    meter = await body.glucose_meter()
    first = await body.measurement(GLUCOSE, "2339-0", now_ms - 30 * DAY, device_no=meter)
    expired = await body.measurement(GLUCOSE, "2339-0", now_ms - 30 * DAY - 1000, device_no=meter)
    gone = await body.measurement(GLUCOSE, "2339-0", now_ms - 31 * DAY, device_no=meter, deleted_ms=now_ms)
    diga = await pair(GLUCOSE)
    await read(diga, f"Observation/{first}")
    for logical_id in (expired, gone):
        status, text = await refusal(diga, f"Observation/{logical_id}")
        assert (status, "historic period" in text, "30 days" in text) == (404, True, True)
    assert await diga.matches("Observation") == [first]


async def test_a_chunk_expires_with_its_last_second(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    device_no = await body.device()
    epoch_no = await body.epoch(
        device_no, await body.sensor(device_no, CGM), now_ms - 31 * DAY - 1000, until_ms=now_ms - 29 * DAY - 1000
    )
    expired = await body.chunk(epoch_no, 0, now_ms - 31 * DAY - 1000, [100] * 288, status="f")
    half = await body.chunk(epoch_no, 1, now_ms - 30 * DAY - 1000, [100] * 288, status="f")
    diga = await pair(CGM)
    assert await diga.matches("Observation") == [half]
    assert (await refusal(diga, f"Observation/{expired}"))[0] == 404


async def test_deleted_is_told_from_unknown(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    meter = await body.glucose_meter()
    deleted = await body.measurement(GLUCOSE, "2339-0", now_ms - DAY, device_no=meter, deleted_ms=now_ms, version=2)
    diga, other = await pair(GLUCOSE), await pair(CGM)
    assert await refusal(diga, f"Observation/{deleted}") == (410, "Resource was deleted")
    assert await refusal(diga, f"Observation/{deleted}/_history/1") == (410, "Resource was deleted")
    assert await refusal(other, f"Observation/{deleted}") == (404, f"Resource Observation/{deleted} is not known")
    assert await diga.matches("Observation") == []
    assert await diga.matches("Device") == []


async def test_former_versions_of_a_measurement(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    meter = await body.glucose_meter()
    logical_id = await body.measurement(
        GLUCOSE, "2339-0", now_ms, device_no=meter, version=2, status="corrected", content={"note": [{"text": "new"}]}
    )
    decoded = body.core.ids.decode(logical_id)
    assert decoded is not None
    await body.core.pool.execute(
        "INSERT INTO measurement_version (patient_id, measurement_no, version, content, status, updated_ms,"
        " derived_from) VALUES ($1, $2, 1, $3, 'final', $4, '{}')",
        body.patient_id, decoded[1], b'{"note": [{"text": "old"}]}', now_ms - 1000,
    )  # fmt: skip
    diga = await pair(GLUCOSE)
    former = await read(diga, f"Observation/{logical_id}/_history/1")
    assert (former["status"], former["note"], former["meta"]["versionId"]) == ("final", [{"text": "old"}], "1")
    assert former["device"] == {"reference": f"Device/{body.core.ids.device(meter)}"}
    assert (await read(diga, f"Observation/{logical_id}/_history/2"))["status"] == "corrected"
    for version in ("0", "3", "999", "x", "-1", "99999999999"):
        assert await refusal(diga, f"Observation/{logical_id}/_history/{version}") == (
            404, f"Version {version} is not valid for resource Observation/{logical_id}.",
        )  # fmt: skip


async def test_former_versions_of_a_sensor(body: Body, pair: Pair) -> None:
    _, epoch_no, _ = await body.cgm()
    await body.core.pool.execute("UPDATE epoch SET version = 2, display_unit = 'mmol/L' WHERE epoch_no = $1", epoch_no)
    await body.core.pool.execute(
        "INSERT INTO epoch_version VALUES ($1, $2, 1, 'calibrated', NULL, NULL, 'mg/dL', $3)",
        body.patient_id, epoch_no, body.core.clock() - DAY,
    )  # fmt: skip
    diga = await pair(CGM)
    path = f"DeviceMetric/{body.core.ids.metric(epoch_no)}"
    assert (await read(diga, path))["unit"]["coding"][0]["code"] == "mmol/L"
    former = await read(diga, f"{path}/_history/1")
    assert (former["unit"]["coding"][0]["code"], former["meta"]["versionId"]) == ("mg/dL", "1")
    assert (await refusal(diga, f"{path}/_history/3"))[0] == 404


async def test_reference_values_stay_while_they_are_needed(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    meter = await body.device("Peak Flow")
    long_ago = now_ms - 200 * DAY
    in_force = await body.measurement(LUNG, "83368-1", long_ago, "450", meter, effective_end_ms=None)
    referenced = await body.measurement(LUNG, "20149-1", long_ago, "3.2", meter, effective_end_ms=now_ms - 100 * DAY)
    forgotten = await body.measurement(LUNG, "20149-1", long_ago, "3.1", meter, effective_end_ms=now_ms - 100 * DAY)
    raw = await body.measurement(LUNG, "20150-9", now_ms - DAY, "2.8", meter)
    numbers = [decoded[1] for decoded in map(body.core.ids.decode, (raw, referenced)) if decoded]
    relative = await body.measurement(LUNG, "20152-5", now_ms - DAY, "88", meter, derived_from=numbers)
    diga = await pair(LUNG)
    for logical_id in (in_force, referenced, raw, relative):
        await read(diga, f"Observation/{logical_id}")
    assert (await refusal(diga, f"Observation/{forgotten}"))[0] == 404
    await diga.rest()
    bundle = await diga.bundle("Observation?code=20152-5&_include=Observation:derived-from")
    assert (ids(bundle), sorted(ids(bundle, "include"))) == ([relative], sorted([raw, referenced]))


async def test_the_subject_is_the_pairing_and_only_where_the_profile_wants_one(body: Body, pair: Pair) -> None:
    pressure = await body.pressure(body.core.clock(), 120, 80, device_no=await body.device())
    glucose = await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair(PRESSURE, GLUCOSE)
    assert (await read(diga, f"Observation/{pressure}"))["subject"]["identifier"] == {"value": diga.pairing_id}
    assert "subject" not in await read(diga, f"Observation/{glucose}")


async def test_a_device_is_always_read_with_its_status_of_now(body: Body, pair: Pair, clock: Clock) -> None:
    device_no, _, _ = await body.cgm()
    diga = await pair(CGM)
    path = f"Device/{body.core.ids.device(device_no)}"
    first = await read(diga, path)
    clock.advance(901)
    diga.token = diga.signed()
    second = await read(diga, path)
    await body.core.pool.execute("UPDATE device SET ended_ms = $2 WHERE patient_id = $1", body.patient_id, clock())
    third = await read(diga, path)
    assert [resource["status"] for resource in (first, second, third)] == ["active", "unknown", "inactive"]
    assert len({resource["meta"]["versionId"] for resource in (first, second, third)}) == 1
    assert await diga.matches("Device?status=inactive") == [first["id"]]
