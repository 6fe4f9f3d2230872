"""Searches over the wire: order, includes, warnings, GET and POST."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.diga_api.conftest import Pair
from tests.diga_api.world import (
    CGM,
    DAY,
    GLUCOSE,
    HOUR,
    LOINC,
    LUNG,
    MINUTE,
    PRESSURE,
    Backend,
    Body,
    ids,
    outcome_texts,
    types,
)
from tests.support.clock import Clock

BOTH = "_include=Observation:device&_include:iterate=DeviceMetric:source"


async def test_chunks_come_with_their_sensor_and_device(body: Body, pair: Pair) -> None:
    device_no, epoch_no, chunks = await body.cgm()
    diga = await pair(CGM)
    bundle = await diga.bundle(f"Observation?_sort=date&{BOTH}")
    assert ids(bundle) == chunks
    assert bundle["total"] == 3
    assert types(bundle, "include") == ["DeviceMetric", "Device"]
    assert ids(bundle, "include") == [body.core.ids.metric(epoch_no), body.core.ids.device(device_no)]
    assert [entry["resource"]["status"] for entry in bundle["entry"][:3]] == ["final", "final", "preliminary"]


async def test_without_data_the_searchset_is_empty(pair: Pair) -> None:
    diga = await pair()
    for resource_type in ("Observation", "Device", "DeviceMetric"):
        bundle = await diga.bundle(resource_type)
        assert (bundle["total"], "entry" in bundle) == (0, False)


async def test_both_kinds_of_series_are_sorted_together(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm(2)
    meter = await body.glucose_meter()
    now_ms = body.core.clock()
    early, late = [
        await body.measurement(GLUCOSE, "2339-0", now_ms - ago, device_no=meter) for ago in (DAY + 20 * HOUR, MINUTE)
    ]
    diga = await pair(CGM, GLUCOSE)
    assert await diga.matches("Observation?_sort=date") == [early, chunks[0], chunks[1], late]
    assert await diga.matches("Observation?_sort=-date&_count=1") == [late]
    assert await diga.matches("Observation?_sort=code,-date") == [late, early, chunks[1], chunks[0]]


async def test_the_latest_is_the_running_chunk(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    assert await diga.matches("Observation?_sort=-date&_count=1") == chunks[-1:]
    assert await diga.matches("Observation?date=2026-11-22T10:00:00Z") == []  # no chunk is within that second
    assert await diga.matches("Observation?date=ge2026-11-22T10:00:00Z") == chunks[-1:]


async def test_a_gap_is_shown_and_filled_under_the_same_id(body: Body, pair: Pair, clock: Clock) -> None:
    _, epoch_no, chunks = await body.cgm()
    clock.advance(DAY / 1000)
    diga = await pair(CGM)
    bundle = await diga.bundle("Observation?_sort=date")
    placeholder = bundle["entry"][-1]["resource"]
    assert placeholder["status"] == "preliminary"
    assert placeholder["dataAbsentReason"]["coding"][0]["code"] == "temp-unknown"
    assert ids(bundle) == [*chunks, body.core.ids.chunk(epoch_no, 3)]


async def test_get_and_post_find_the_same(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM)
    fields = {"authorization": f"Bearer {diga.token}"}
    by_get = await diga.bundle(f"Observation?date=ge2026-11-20&date=lt2026-11-22&{BOTH}")
    form = [("date", "lt2026-11-22"), ("_include", "Observation:device"), ("_include:iterate", "DeviceMetric:source")]
    bodies: list[dict[str, Any]] = [
        {"content": "&".join(f"{name}={value}" for name, value in form),
         "headers": fields | {"content-type": "application/x-www-form-urlencoded"}},
        {"json": dict(form), "headers": fields},
        {"content": "&" + "&&".join(f"{name}={value}" for name, value in form) + "&_count&code=&",
         "headers": fields | {"content-type": "application/x-www-form-urlencoded"}},
    ]  # fmt: skip
    for options in bodies:
        await diga.rest()
        response = await diga.client.post("/fhir/Observation/_search?date=ge2026-11-20", **options)
        assert response.status_code == 200
        assert response.json()["entry"] == by_get["entry"]
    empty = await diga.client.post("/fhir/Device/_search", headers=fields)
    assert types(empty.json()) == ["Device"]


@pytest.mark.parametrize("handling", ["strict", "lenient"])
async def test_what_has_no_value_is_as_if_it_were_not_there(body: Body, pair: Pair, handling: str) -> None:
    """FHIR R4 search.html#errors: empty parameters are no error, and the link self tells what was used."""
    await body.cgm()
    diga = await pair(CGM)
    expected = await diga.bundle("Observation?date=ge2026-11-21")
    empty = ("code", "date", "_id", "_sort", "_count", "_include", "_summary", "_elements", "_total", "_pretty")
    query = "&".join(f"{name}=" for name in (*empty, "_has:Observation:derived-from:code"))
    await diga.rest()
    told = {"accept": "application/fhir+json", "prefer": f"handling={handling}"}
    response = await diga.get(f"Observation?{query}&date=ge2026-11-21&_format=", **told)
    assert response.status_code == 200
    assert response.json()["entry"] == expected["entry"]
    assert response.json()["link"] == expected["link"]
    path = f"Observation/{ids(expected)[0]}"
    assert (await diga.get(f"{path}?_summary=&_elements=&_format=&_pretty=")).json() == (await diga.get(path)).json()


async def test_a_count_of_zero_brings_the_total_though_it_is_declined(body: Body, pair: Pair) -> None:
    await body.cgm()
    assert (await (await pair(CGM)).bundle("Observation?_count=0&_total=none"))["total"] == 3


async def test_codes_are_found_in_capitals_or_not(body: Body, pair: Pair) -> None:
    """FHIR R4 search.html#token: HDDT's code system of lung function is not case-sensitive."""
    code = "PEF-measured/predicted"
    (system,) = {one.system for one in body.miv(LUNG).codes if one.code == code}
    device_no = await body.device()
    relative = await body.measurement(LUNG, code, body.core.clock(), "80", device_no)
    await body.measurement(LUNG, "19935-6", body.core.clock(), "400", device_no)
    diga = await pair(LUNG)
    for text in (code, code.lower(), f"{system}|{code.upper()}"):
        bundle = await diga.bundle(f"Observation?code={text}")
        assert (ids(bundle), types(bundle, "outcome")) == ([relative], []), text
        await diga.rest()
    assert ids(await diga.bundle(f"Observation?code={system.upper()}|{code}")) == []


async def test_head_has_no_body(pair: Pair) -> None:
    diga = await pair()
    response = await diga.client.head("/fhir/Device", headers={"authorization": f"Bearer {diga.token}"})
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Observation?_include=Observation:device", ["DeviceMetric"]),
        ("Observation?_include=Observation:device:Device", []),
        ("Observation?_include=DeviceMetric:source", []),
        (f"Observation?{BOTH}", ["DeviceMetric", "Device"]),
        ("Observation?_include=*&_include:iterate=DeviceMetric:source:Device", ["DeviceMetric", "Device"]),
        ("Observation?_include=Observation:*&_include:iterate=DeviceMetric:*", ["DeviceMetric", "Device"]),
        ("Observation?_include=*&_include:iterate=*", ["DeviceMetric", "Device"]),
        ("Observation?_include:iterate=*", ["DeviceMetric", "Device"]),
        ("Observation?_include=Observation:*:Device", []),
        ("DeviceMetric?_include=DeviceMetric:source", ["Device"]),
        ("DeviceMetric?_include=DeviceMetric:*", ["Device"]),
        ("DeviceMetric?_revinclude=Observation:*", ["Observation"] * 3),
        ("DeviceMetric?_revinclude=Observation:device", ["Observation"] * 3),
        ("Device?_revinclude=DeviceMetric:source", ["DeviceMetric"]),
        ("Device?_revinclude=Observation:device", []),
        ("Device?_include=DeviceMetric:source", []),
    ],
)
async def test_includes_of_a_calibrated_sensor(body: Body, pair: Pair, query: str, expected: list[str]) -> None:
    await body.cgm()
    diga = await pair(CGM)
    assert types(await diga.bundle(query), "include") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"Observation?{BOTH}", ["Device"]),
        ("Device?_revinclude=Observation:device", ["Observation"]),
        ("Device?_has:Observation:device:code=2339-0", []),
    ],
)
async def test_includes_of_a_device_without_calibration(
    body: Body, pair: Pair, query: str, expected: list[str]
) -> None:
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair(GLUCOSE)
    bundle = await diga.bundle(query)
    assert (len(ids(bundle)), types(bundle, "include")) == (1, expected)


async def test_has_selects_by_what_points_here(body: Body, pair: Pair) -> None:
    cgm, epoch_no, _ = await body.cgm()
    meter = await body.glucose_meter()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(CGM, GLUCOSE)
    encode = body.core.ids
    assert await diga.matches("Device?_has:Observation:device:code=2339-0") == [encode.device(meter)]
    assert await diga.matches("Device?_has:Observation:device:code=99504-3") == []
    assert await diga.matches("Device?_has:DeviceMetric:source:type=160212") == [encode.device(cgm)]
    assert await diga.matches("DeviceMetric?_has:Observation:device:date=ge2026-11-21") == [encode.metric(epoch_no)]
    assert await diga.matches("DeviceMetric?_has:Observation:device:date=lt2026-11-01") == []


async def test_components_are_judged_apart_or_together(body: Body, pair: Pair) -> None:
    logical_id = await body.pressure(body.core.clock(), 120, 135, device_no=await body.device())
    diga = await pair(PRESSURE)
    apart = "component-code=8480-6&component-value-quantity=gt130"
    assert await diga.matches(f"Observation?{apart}") == [logical_id]
    assert await diga.matches(f"Observation?component-code-value-quantity={LOINC}|8480-6$gt130") == []
    assert await diga.matches(f"Observation?component-code-value-quantity={LOINC}|8462-4$gt130") == [logical_id]


async def test_units_are_not_mixed_up(body: Body, pair: Pair) -> None:
    meter = await body.glucose_meter()
    now_ms = body.core.clock()
    mass = await body.measurement(GLUCOSE, "2339-0", now_ms, "100", meter)
    moles = await body.measurement(GLUCOSE, "15074-8", now_ms, "100", meter)
    diga = await pair(GLUCOSE)
    for unit, expected in (
        ("|http://unitsofmeasure.org|mg/dL", [mass]),
        ("||mmol/L", [moles]),
        ("", [mass, moles]),
        ("|http://example.org|mg/dL", []),
    ):
        assert await diga.matches(f"Observation?value-quantity=100{unit}") == expected
    assert await diga.matches("Observation?value-quantity=1||g/L") == [mass]


async def test_codes_outside_the_scopes_are_explained(body: Body, pair: Pair) -> None:
    meter = await body.glucose_meter()
    value = await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(GLUCOSE)
    bundle = await diga.bundle("Observation?code=8480-6,2339-0")
    text = f"Code 8480-6 not in ValueSet {body.miv(GLUCOSE).valueset}"
    assert (ids(bundle), outcome_texts(bundle), bundle["total"]) == ([value], [text], 1)
    bundle = await diga.bundle(f"Observation?code={LOINC}|8480-6")
    assert (ids(bundle), outcome_texts(bundle), bundle["total"]) == ([], [text], 0)
    issue = bundle["entry"][0]["resource"]["issue"][0]
    assert (issue["severity"], issue["code"]) == ("warning", "processing")


async def test_expired_history_is_explained(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM)
    for query, explained in (
        ("date=lt2026-10-01", True),
        ("date=2026-09", True),
        ("date=ge2026-08&date=le2026-09", True),
        ("date=ge2026-09", False),
        ("date=lt2026-11-21", False),
        ("date=lt2026-10-01,ge2026-11-01", False),
    ):
        await diga.rest()
        assert bool(outcome_texts(await diga.bundle(f"Observation?{query}"))) is explained, query
    await diga.rest()
    assert outcome_texts(await diga.bundle("Observation?date=lt2026-10-01&code=1")) == [
        f"Code 1 not in ValueSet {body.miv(CGM).valueset}",
        "Search includes a time range which is outside the historical time range of this service. "
        "Potentially no matches found.",
    ]


async def test_links_tell_what_was_understood(body: Body, pair: Pair) -> None:
    diga = await pair(CGM)
    bundle = await diga.bundle(f"Observation?code={LOINC}|99504-3&date=ge2026-11-01&_format=json")
    base = diga.core.settings.fhir_base
    expected = f"{base}/Observation?code=http://loinc.org%7C99504-3&date=ge2026-11-01&_format=json"
    assert bundle["link"] == [{"relation": "self", "url": expected}]


async def test_a_changed_chunk_is_found_by_its_time_of_change(body: Body, pair: Pair, clock: Clock) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    assert await diga.matches("Observation?_lastUpdated=ge2026-11-22T10:00:00Z") == chunks[-1:]
    clock.advance(60)
    assert await diga.matches("Observation?_lastUpdated=gt2026-11-22T10:00:00Z") == []


async def test_punctuation_and_blanks_do_not_count_in_a_text(body: Body, pair: Pair) -> None:
    """FHIR R4 search.html#string; a blank between words counts."""
    for name in ("Accu-Chek  Guide (mg/dL)", "AccuChek Mobile", "Accu Vue"):
        meter = await body.device(name, manufacturer="O'Hara & Sons, Inc.")
        await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(GLUCOSE)
    for query, found in (
        ("device-name=accuchek", 2),
        ("device-name=accu-chek guide", 1),
        ("device-name=Accu‑Chek\tGuide mgdl ", 1),
        ("device-name=accu chek", 0),
        ("device-name:contains=guide mg/dl", 1),
        ("device-name:exact=Accu-Chek Guide (mg/dL)", 0),
        ("device-name:exact=Accu-Chek  Guide (mg/dL)", 1),
        ("manufacturer=ohara sons inc", 3),
        ("manufacturer=O’Hara", 3),
    ):
        name, _, value = query.partition("=")
        assert len(await diga.matches(f"Device?{urlencode({name: value})}")) == found, query


async def test_a_device_is_found_by_what_its_type_is_called(body: Body, pair: Pair) -> None:
    """R4's device-name is Device.deviceName.name | Device.type.coding.display | Device.type.text."""
    now_ms = body.core.clock()
    numbers = [await body.device("Blood", type_code="70665002"), await body.glucose_meter(type_code="337414009")]
    for device_no in (*numbers, await body.glucose_meter()):
        await body.measurement(GLUCOSE, "2339-0", now_ms, device_no=device_no)
    cuff, meter = map(body.core.ids.device, numbers)
    diga = await pair(GLUCOSE)
    for query, expected in (
        ("device-name=blood", [cuff, meter]),
        ("device-name=BLOOD%20G", [meter]),
        ("device-name:exact=Blood", [cuff]),
        ("device-name:contains=cuff%5C,%20DEVICE", [cuff]),
        ("device-name=cuff", []),
    ):
        assert await diga.matches(f"Device?_sort=device-name&{query}") == expected, query


async def test_a_device_without_type_has_no_code_of_any_system(body: Body, pair: Pair) -> None:
    typed, untyped = await body.glucose_meter(type_code="337414009"), await body.glucose_meter()
    for meter in (typed, untyped):
        await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(GLUCOSE)
    assert await diga.matches("Device?type=http://snomed.info/sct|") == [body.core.ids.device(typed)]


async def sorted_by(diga: Backend, path: str, *steps: str) -> list[Any]:
    found = []
    for entry in (await diga.bundle(path))["entry"]:
        value = entry["resource"]
        for step in steps:
            value = value[int(step)] if step.isdigit() else value[step]
        found.append(value)
    return found


async def test_devices_and_sensors_are_sorted(body: Body, pair: Pair) -> None:
    for name, type_code in (("beta", "334990001"), ("Alpha", "70665002"), ("gamma", "337414009")):
        meter = await body.glucose_meter(type_code=type_code)
        await body.core.pool.execute("UPDATE device SET device_name = $2 WHERE device_no = $1", meter, name)
        await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(GLUCOSE)
    assert await sorted_by(diga, "Device?_sort=device-name", "deviceName", "0", "name") == ["Alpha", "beta", "gamma"]
    assert await sorted_by(diga, "Device?_sort=-device-name", "deviceName", "0", "name") == ["gamma", "beta", "Alpha"]
    types_found = await sorted_by(diga, "Device?_sort=type", "type", "coding", "0", "code")
    assert types_found == ["334990001", "337414009", "70665002"]
    await body.cgm()
    other = await body.device("second")
    await body.epoch(other, await body.sensor(other, CGM), body.core.clock() - DAY)
    cgm = await pair(CGM)
    changed = await sorted_by(cgm, "DeviceMetric?_sort=-_lastUpdated", "meta", "lastUpdated")
    assert len(changed) == 2
    assert changed == sorted(changed, reverse=True)
    assert len(await sorted_by(cgm, "DeviceMetric?_sort=type,_id", "id")) == 2
