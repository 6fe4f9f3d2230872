"""Continuous series over HTTP: chunks that fill up over time (HDDT retrieving-data.md, area SER)."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from ddr.fhir.instants import date_time, parse_instant
from tests.spec.series import DELAY, PERIOD, SECOND, SLOTS, chunks, empty, length, period, ramp, values, worn
from tests.spec.world import BG, CGM, DAY, HOUR, MINUTE, Home, Json, later, paired
from tests.support.recorder import Recorder


@pytest.mark.requirement("SER-001", "SER-002", "SER-003", "SER-021")
async def test_regular_chunks_have_one_length_and_no_common_instant(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 3 * DAY + HOUR):
        await sensor.send(0, ramp(3 * SLOTS + 4))
        found = await sensor.chunks()
        assert len(found) == 4
        for chunk in found:
            assert [name for name in chunk if name.startswith("value")] == ["valueSampledData"]
            assert [name for name in chunk if name.startswith("effective")] == ["effectivePeriod"]
            assert length(chunk) == DAY
        for former, following in pairwise(found):
            assert period(former)[1] + 1 == period(following)[0]


@pytest.mark.requirement("SER-001")
@pytest.mark.parametrize("form", ["_pretty=false", "_pretty=true", "_format=xml", "_format=xml&_pretty=true"])
async def test_a_single_reading_is_a_chunk_in_every_form(ddr: Recorder, form: str) -> None:
    sensor = await worn(ddr)
    with later(ddr, HOUR):
        await sensor.send(0, [111])
        (chunk,) = await sensor.chunks()
        for path in (f"Observation?{form}", f"Observation/{chunk['id']}?{form}"):
            assert set(re.findall(r"\bvalue[A-Z]\w*", (await sensor.reader.get(path)).text)) == {"valueSampledData"}


@pytest.mark.requirement("SER-002")
async def test_no_registration_chooses_another_span(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    for name in ("span", "spanSeconds", "chunkSpanSeconds"):
        body = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": PERIOD, name: 3600}
        response = await sensor.home.patient.gateway.put("devices/cgm/sensors/other", json=body)
        assert (response.status_code, response.json()["field"]) == (422, name)


@pytest.mark.requirement("SER-004", "SER-005", "SER-013", "SER-015", "SER-019")
async def test_a_running_chunk_is_preliminary_and_has_what_there_is(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 8 * HOUR):
        await sensor.send(0, ramp(96))
        (chunk,) = await sensor.chunks()
        assert chunk["status"] == "preliminary"
        assert length(chunk) == DAY
        assert values(chunk) == [str(value) for value in ramp(96)]
        assert not empty(chunk)
    with later(ddr, 23 * HOUR):  # the connection is lost: nothing arrives any more
        assert await sensor.chunks() == [chunk]


@pytest.mark.requirement("SER-005", "SER-019")
@pytest.mark.parametrize("members", [{}, {"note": "Upper arm", "method": {"text": "Enzymatic"}}, {"limits": None}])
async def test_a_chunk_with_any_value_gives_no_reason_for_what_it_lacks(ddr: Recorder, members: Json) -> None:
    sensor = await worn(ddr, **members)
    shown = []
    with later(ddr, 4 * HOUR):
        for slot, value in ((0, 100), (1, 101), (9, "E"), (20, 102)):
            await sensor.send(slot, [value])
            (chunk,) = await sensor.chunks()
            shown.append((chunk, values(chunk)))
    assert [len(data) for _, data in shown] == [1, 2, 10, 21]
    assert not any("dataAbsentReason" in chunk for chunk, _ in shown)


@pytest.mark.requirement("SER-006", "SER-007")
async def test_a_chunk_keeps_its_id_until_it_is_full_and_final(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 5 * HOUR):
        await sensor.send(0, ramp(50))
        (before,) = await sensor.chunks()
    with later(ddr, DAY):
        await sensor.send(50, ramp(SLOTS)[50:-1])
        more = await sensor.reader.read(f"Observation/{before['id']}")
        assert (more["status"], len(values(more))) == ("preliminary", SLOTS - 1)
        await sensor.send(SLOTS - 1, ramp(SLOTS)[-1:])
        full = await sensor.reader.read(f"Observation/{before['id']}")
        assert (full["status"], values(full)) == ("final", [str(value) for value in ramp(SLOTS)])
        assert full["effectivePeriod"] == before["effectivePeriod"]
        versions = [int(chunk["meta"]["versionId"]) for chunk in (before, more, full)]
        assert versions == sorted(set(versions))


@pytest.mark.requirement("SER-010")
async def test_a_calibrating_measurement_is_no_part_of_the_series(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, HOUR):
        await sensor.send(0, ramp(12))
        before = await sensor.chunks()
        await sensor.home.device("meter")
        await sensor.home.glucose("calibrating", sensor.start_ms + 10 * PERIOD, 333)
        await sensor.home.glucose("newest", sensor.start_ms + 59 * MINUTE, 334)
        await sensor.home.glucose("its-own", sensor.start_ms + 59 * MINUTE, 335, device="cgm")
        assert await sensor.chunks() == before
        reader = await paired(ddr, sensor.home.patient, BG, CGM)
        assert await chunks(reader, "code=99504-3") == before
        assert len(await chunks(reader, "code=2339-0")) == 3


@pytest.mark.requirement("SER-016")
@pytest.mark.parametrize("drift_ms", [40, -40])
async def test_the_time_of_each_value_follows_from_start_and_period(ddr: Recorder, drift_ms: int) -> None:
    sensor = await worn(ddr)
    home, first_ms = sensor.home, sensor.start_ms + 7 * SECOND
    with later(ddr, DAY + HOUR):
        # A sensor whose clock is slow, or fast, by 0.04 seconds per reading.
        sent = {first_ms + number * (PERIOD + drift_ms): value for number, value in enumerate(ramp(SLOTS + 5))}
        readings = [{"time": date_time(at), "value": value} for at, value in sent.items()]
        body = {"unit": "mg/dL", "readings": readings}
        answer = await home.patient.gateway.post("devices/cgm/sensors/s/readings", json=body)
        assert answer.json()["accepted"] == len(sent)
        shown: dict[int, str] = {}
        for chunk in await sensor.chunks():
            start_ms = parse_instant(chunk["effectivePeriod"]["start"])
            assert chunk["valueSampledData"]["period"] == PERIOD
            shown |= {start_ms + slot * PERIOD: value for slot, value in enumerate(values(chunk))}
        assert list(shown.values()) == [str(value) for value in sent.values()]
        assert max(abs(left - right) for left, right in zip(shown, sent, strict=True)) <= SLOTS * 40


@pytest.mark.requirement("SER-020")
async def test_a_search_never_cuts_a_chunk(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, 2 * DAY):
        await sensor.send(0, ramp(2 * SLOTS))
        whole = await sensor.chunks()
        middle = date_time(sensor.start_ms + DAY // 2)
        assert await sensor.chunks(f"date=lt{middle}") == whole[:1]
        assert await sensor.chunks(f"date=lt{middle}&_pretty=true") == whole[:1]
        (part,) = await sensor.chunks(f"date=lt{middle}&_elements=value")
        assert part["valueSampledData"] == whole[0]["valueSampledData"]
        assert await sensor.chunks(f"date=gt{middle}") == whole
        assert await sensor.chunks(f"date=gt{middle}&date=lt{date_time(sensor.start_ms + 15 * HOUR)}") == whole[:1]


@pytest.mark.requirement("SER-023")
async def test_a_missing_value_is_marked_in_its_place(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, HOUR):
        await sensor.send(0, [101, "L", 103])
        await sensor.send(5, [106, "U", "E", 109])
        (chunk,) = await sensor.chunks()
        assert values(chunk) == ["101", "L", "103", "E", "E", "106", "U", "E", "109"]
        await sensor.send(4, [105])
        (chunk,) = await sensor.chunks()
        assert values(chunk) == ["101", "L", "103", "E", "105", "106", "U", "E", "109"]


@pytest.mark.requirement("SER-022")
async def test_lost_data_is_final_after_the_buffering_time(ddr: Recorder) -> None:
    buffering = 6 * HOUR
    sensor = await worn(ddr, bufferingSeconds=buffering // SECOND)
    with later(ddr, HOUR):
        await sensor.send(0, ramp(10))
        (running,) = await sensor.chunks()
    with later(ddr, DAY + buffering - SECOND):
        assert (await sensor.chunks())[0] == running
    with later(ddr, DAY + buffering):
        chunk = (await sensor.chunks())[0]
        assert (chunk["id"], chunk["status"]) == (running["id"], "final")
        assert values(chunk) == [*(str(value) for value in ramp(10)), *["E"] * (SLOTS - 10)]
        assert int(chunk["meta"]["versionId"]) > int(running["meta"]["versionId"])
        changed = await sensor.chunks(f"_lastUpdated=gt{running['meta']['lastUpdated']}")
        assert chunk["id"] in [each["id"] for each in changed]


@pytest.mark.requirement("SER-003", "SER-007", "SER-022")
async def test_the_gateway_may_say_that_it_has_sent_everything(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY + HOUR):
        await sensor.send(0, ramp(10))
        path = "devices/cgm/sensors/s/complete"
        await sensor.home.patient.gateway.post(path, json={"until": date_time(sensor.start_ms + DAY)})
        (chunk, *_) = await sensor.chunks()
        assert (chunk["status"], values(chunk).count("E")) == ("final", SLOTS - 10)
        assert length(chunk) == DAY


@pytest.mark.requirement("SER-014", "SER-015", "SER-024", "SER-025")
async def test_a_chunk_of_which_nothing_has_come(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, DAY):
        await sensor.send(0, ramp(SLOTS))
    with later(ddr, 2 * DAY + 2 * HOUR):  # a day without connection, then it is back with the newest readings
        await sensor.send(2 * SLOTS, ramp(5))
        found = await sensor.chunks()
        assert [empty(chunk) for chunk in found] == [False, True, False]
        assert [chunk["status"] for chunk in found] == ["final", "preliminary", "preliminary"]
        assert [length(chunk) for chunk in found] == [DAY] * 3
        gap = f"date=ge{date_time(sensor.start_ms + DAY)}&date=lt{date_time(sensor.start_ms + 2 * DAY - SECOND)}"
        assert await sensor.chunks(gap) == found[1:2]
        await sensor.send(SLOTS + 20, ramp(3))  # some readings were buffered after all
        filled = await sensor.reader.read(f"Observation/{found[1]['id']}")
        assert not empty(filled)
        assert values(filled) == ["E"] * 20 + [str(value) for value in ramp(3)]


@pytest.mark.requirement("SER-014", "RS-040")
async def test_a_gap_has_each_of_its_chunks(ddr: Recorder) -> None:
    sensor = await worn(ddr, bufferingSeconds=5 * DAY // SECOND)  # something may still arrive for this long
    with later(ddr, 3 * DAY + HOUR):
        assert [empty(chunk) for chunk in await sensor.chunks()] == [True] * 4
        await sensor.send(3 * SLOTS, ramp(5))
        found = await sensor.chunks()
        assert [empty(chunk) for chunk in found] == [True, True, True, False]
        gap = f"date=ge{date_time(sensor.start_ms)}&date=lt{date_time(sensor.start_ms + 3 * DAY - SECOND)}"
        assert await sensor.chunks(gap) == found[:3]
    with later(ddr, 5 * DAY):  # stored or expected: each can be read
        found = await sensor.chunks()
        assert [empty(chunk) for chunk in found] == [True, True, True, False, True]
        assert [await sensor.reader.read(f"Observation/{chunk['id']}") for chunk in found] == found


@pytest.mark.requirement("SER-006", "SER-014", "SER-019", "SER-024")
async def test_an_expected_chunk_is_announced_and_keeps_its_id(ddr: Recorder) -> None:
    sensor = await worn(ddr)
    with later(ddr, PERIOD + DELAY - SECOND):
        assert await sensor.chunks() == []
    with later(ddr, PERIOD + DELAY):
        (announced,) = await sensor.chunks()
        assert empty(announced)
        assert length(announced) == DAY
        assert await sensor.chunks("_pretty=true") == [announced]
        await sensor.send(0, ramp(3))
        filled = await sensor.reader.read(f"Observation/{announced['id']}")
        assert values(filled) == [str(value) for value in ramp(3)]
        assert (announced["meta"]["versionId"], filled["meta"]["versionId"]) == ("1", "2")
        assert filled["effectivePeriod"] == announced["effectivePeriod"]


@pytest.mark.requirement("SER-024")
async def test_nothing_is_announced_where_no_device_was_worn(ddr: Recorder) -> None:
    patient = await ddr.patient()
    reader = await paired(ddr, patient, CGM)
    assert await chunks(reader) == []
    home, start_ms = Home(ddr, patient), ddr.clock()
    device = {"startedAt": home.ago(0)}
    await home.device("cgm", **device)
    await home.cgm("cgm", start_ms)
    with later(ddr, DAY):
        await home.readings("cgm", start_ms, ramp(SLOTS))
        await home.device("cgm", endedAt=date_time(start_ms + DAY), **device)
    with later(ddr, 3 * DAY):
        assert [empty(chunk) for chunk in await chunks(reader)] == [False]
        assert await chunks(reader, f"date=gt{date_time(start_ms + DAY)}") == []
