"""No request blocks an event loop for longer than 50 ms, neither large honest ones nor small hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from ddr.fhir.instants import date_time
from ddr.http.lag import Lag
from tests.spec.patient_pages import pages_of
from tests.spec.world import CGM, Home, furnished, paired
from tests.support.lags import Lags
from tests.support.recorder import Patient, Recorder

DAY, MINUTE = 86_400_000, 60_000
MOST_OBJECTS = 50_000  # that a full collection may meet: objects not yet read are few
MOST_CIRCLES = 5_000  # objects that only the collector can free after a request: some of the client's, none per item
TRIES = 3  # what really blocks the loop does so each time; client and clock of a busy machine do not
JSON = {"content-type": "application/json"}
FHIR_JSON, FHIR_XML = {"content-type": "application/fhir+json"}, {"content-type": "application/fhir+xml"}


@pytest.fixture
async def patient(ddr: Recorder) -> AsyncIterator[Patient]:
    """A patient with a sensor worn for 20 days, in a process that schedules as a worker does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    patient = await ddr.patient()
    home = Home(ddr, patient)
    await home.device("cgm")
    await home.cgm("cgm", ddr.clock() - 20 * DAY)
    yield patient
    sys.setswitchinterval(before)


def packed(body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """What httpx needs to send it."""
    return {"content": gzip.compress(body, 6), "headers": {**headers, "content-encoding": "gzip"}}


def filled(head: bytes, unit: bytes, tail: bytes, size: int = 2_000_000) -> bytes:
    return (head + unit * ((size - len(head) - len(tail)) // len(unit))).rstrip(b",") + tail


BUNDLE = b'<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/>'
ENTRIES = b'{"resourceType":"Bundle","type":"batch","entry":['
SAMPLED = (
    b'{"request":{"method":"POST","url":"Observation"},"resource":{"resourceType":"Observation","status":"final",'
    b'"code":{"coding":[{"system":"http://loinc.org","code":"99504-3"}]},"device":{"reference":"Device?identifier=x|y"},'
    b'"effectivePeriod":{"start":"2026-10-01T10:00:00Z","end":"2026-10-02T09:59:59Z"},"valueSampledData":{"origin":'
    b'{"value":0,"system":"http://unitsofmeasure.org","code":"mg/dL"},"period":60000,"factor":0.0625,"dimensions":1,'
    b'"data":"%s"}}}'
)
HOSTILE = {
    "empty arrays": ("devices/cgm/sensors/s/readings", filled(b'{"readings":[', b"[],", b"]}"), JSON),
    "as many as may be": ("devices/cgm/sensors/s/readings", b'{"readings":[' + b"{}," * 49_999 + b"{}]}", JSON),
    "members": ("devices/cgm", b"{" + b",".join(b'"%x":0' % i for i in range(240_000)) + b"}", JSON),
    "measurements": ("measurements", b'{"measurements":[' + b'{"key":"a"},' * 20_000 + b"{}]}", JSON),
    "no times": (
        "measurements",
        b'{"measurements":['
        + b'{"key":"a","codeSystem":"http://loinc.org","code":"2339-0","effective":"x"},' * 20_000
        + b"{}]}",
        JSON,
    ),
    "no times of calibrations": (
        "devices/cgm/sensors/s/calibrations",
        b'{"calibrations":[' + b'{"time":"x"},' * 20_000 + b"{}]}",
        JSON,
    ),
    "entries": ("fhir", ENTRIES + b'{"resource":{}},' * 15_000 + b"{}]}", FHIR_JSON),
    "other types": (
        "fhir",
        ENTRIES
        + b'{"resource":{"resourceType":"Basic"},"request":{"method":"POST","url":"Basic"}},' * 24_000
        + b"{}]}",
        FHIR_JSON,
    ),
    "samples": ("fhir", ENTRIES + SAMPLED % (b"123.45 " * 99_000) + b"]}", FHIR_JSON),
    "samples without end": ("fhir", ENTRIES + b",".join([SAMPLED % (b"1 " * 99_000)] * 9) + b"]}", FHIR_JSON),
    "elements": ("fhir", filled(BUNDLE, b"<a/>", b"</Bundle>"), FHIR_XML),
    "XML entries": ("fhir", BUNDLE + b"<entry><request/></entry>" * 100_000 + b"</Bundle>", FHIR_XML),
    "levels": ("fhir", BUNDLE + b"<a>" * 300_000 + b"</a>" * 300_000 + b"</Bundle>", FHIR_XML),
    "decimals": ("fhir", filled(ENTRIES, b"1.1,", b"]}", 900_000), FHIR_JSON),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_uploads_keep_nobody_waiting(patient: Patient, name: str) -> None:
    path, body, headers = HOSTILE[name]
    method = "PUT" if path == "devices/cgm" else "POST"
    for _ in range(TRIES):
        lags = Lags()
        async with asyncio.timeout(60):  # not packed: the ratio alone would be refused
            answer = await lags.during(patient.gateway.request(method, path, content=body, headers=headers))
        assert answer.status_code in (200, 400, 413, 422), answer.text[:200]
        assert lags.largest_pass < MOST_OBJECTS
        assert lags.circles.total() < MOST_CIRCLES, str(lags.circles)
        if lags.short:
            break
    await lags.check()


async def test_the_largest_honest_upload_keeps_nobody_waiting(ddr: Recorder, patient: Patient) -> None:
    first = ddr.clock() - 19 * DAY
    readings = [{"time": date_time(first + at * 31_000), "value": 100 + at % 90} for at in range(50_000)]
    sent, lags = packed(orjson.dumps({"unit": "mg/dL", "readings": readings}), JSON), Lags()
    answer = await lags.during(patient.gateway.post("devices/cgm/sensors/s/readings", **sent, timeout=60))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 50_000)
    await lags.check()


@pytest.mark.parametrize("path", ["data.csv", "data-excel.csv", "data.json"])
async def test_the_file_of_a_year_keeps_nobody_waiting(ddr: Recorder, patient: Patient, path: str) -> None:
    """The client reads as fast as it can: 50,000 readings, as of half a year with one every five minutes."""
    first, pages = ddr.clock() - 19 * DAY, await pages_of(ddr, patient)
    readings = [{"time": date_time(first + at * 31_000), "value": 100 + at % 90} for at in range(50_000)]
    sent = packed(orjson.dumps({"unit": "mg/dL", "readings": readings}), JSON)
    assert (await patient.gateway.post("devices/cgm/sensors/s/readings", **sent, timeout=60)).json()["accepted"] > 0
    for _ in range(TRIES):
        lags = Lags()
        answer = await lags.during(pages.get(f"/me/{path}"))
        assert answer.status_code == 200
        if path.endswith(".csv"):
            assert answer.text.count("\n") == 1 + len(readings)
        if lags.short:
            break
    await lags.check()


async def test_a_large_bundle_keeps_nobody_waiting(ddr: Recorder, patient: Patient) -> None:
    entry: dict[str, Any] = {
        "resource": {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
            "valueQuantity": {"value": 100, "code": "mg/dL", "system": "http://unitsofmeasure.org"},
        },
        "request": {"method": "POST", "url": "Observation"},
    }
    meter = {"system": "urn:x", "value": "meter"}
    device: dict[str, Any] = {
        "resourceType": "Device",
        "identifier": [meter],
        "manufacturer": "Muster AG",
        "modelNumber": "M",
        "manufactureDate": "2026-10-01",
    }
    entry["resource"]["device"] = {"reference": "Device?identifier=urn:x|meter"}
    entries: list[dict[str, Any]] = [{"resource": device, "request": {"method": "POST", "url": "Device"}}]
    for at in range(2_000):
        identifier = [{"system": "urn:x", "value": f"v{at}"}]
        effective = date_time(ddr.clock() - at * MINUTE)
        resource = {**entry["resource"], "identifier": identifier, "effectiveDateTime": effective}
        entries.append({**entry, "resource": resource})
    body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})
    sent, lags = packed(body, FHIR_JSON), Lags()
    answer = await lags.during(patient.gateway.post("fhir", **sent, timeout=60))
    assert answer.status_code == 200
    statuses = {item["response"]["status"][:3] for item in answer.json()["entry"]}
    assert statuses == {"201"}, answer.text[:500]
    await lags.check()


async def test_calibrations_without_number_keep_nobody_waiting(ddr: Recorder) -> None:
    patient, first = await ddr.patient(), ddr.clock() - 15 * DAY
    home = Home(ddr, patient)
    await home.device("cgm")
    await home.cgm("cgm", first, calibration={"state": "calibrated", "time": date_time(first)})
    states = ("not-calibrated", "calibrated")
    for count, expected in ((20_000, 409), (450, 200)):
        events = [{"time": date_time(first + at * MINUTE), "state": states[at % 2]} for at in range(1, count)]
        sent, lags = packed(orjson.dumps({"calibrations": events}), JSON), Lags()
        answer = await lags.during(patient.gateway.post("devices/cgm/sensors/s/calibrations", **sent, timeout=60))
        assert answer.status_code == expected, answer.text[:300]
        await lags.check()
    lags = Lags()
    answer = await lags.during(patient.gateway.get("devices/cgm/sensors/s/calibrations"))
    assert len(answer.json()["calibrations"]) == 450
    await lags.check()


async def test_a_search_for_everything_keeps_nobody_waiting(ddr: Recorder) -> None:
    scene = await furnished(ddr)
    for accept in ("application/fhir+json", "application/fhir+xml"):
        lags = Lags()
        answer = await lags.during(
            scene.reader.get("Observation?_count=1000&_include=Observation:device", accept=accept)
        )
        assert answer.status_code == 200
        await lags.check()


async def test_the_summary_keeps_nobody_waiting(ddr: Recorder, patient: Patient) -> None:
    reader = await paired(ddr, patient, CGM)
    lags = Lags()
    answer = await lags.during(reader.get("Observation/$hddt-cgm-summary?effectivePeriodStart=2026-11-08"))
    assert answer.status_code in (200, 404)
    await lags.check()


async def test_a_lag_of_the_machine_is_no_work_of_ours() -> None:
    lag = Lag()
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0.01)
    time.sleep(0.2)  # noqa: ASYNC251 - as if the machine had no processor to give
    await asyncio.sleep(0.1)
    assert lag.most > 0.1 and lag.most_work < lag.most / 2
    until = time.thread_time() + 0.2
    while time.thread_time() < until:
        pass
    await asyncio.sleep(0.1)
    watching.cancel()
    assert lag.most_work > 0.1


async def test_the_lag_of_the_event_loop_is_a_figure(ddr: Recorder) -> None:
    found = (await ddr.admin.get("/metrics")).text
    for name in (
        "event_loop_longest_lag_seconds",
        "event_loop_longest_work_seconds",
        "requests_refused_total",
    ):
        assert f"# TYPE ddr_{name} " in found
