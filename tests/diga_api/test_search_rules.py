"""The SQL finds what FHIR's rules say, for one patient with varied data and any query."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddr.fhir.instants import date_time
from tests.diga_api import naive
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, HOUR, LOINC, LUNG, Backend, Body, ids

PEF = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-temporary-codes"
UCUM = "http://unitsofmeasure.org"
Resource = dict[str, Any]
Query = list[tuple[str, list[str]]]


class Resources(list[Resource]):
    """Everything of one patient; its short repr keeps hypothesis' output readable."""

    def __repr__(self) -> str:
        return f"{len(self)} resources"


async def fill(body: Body) -> None:
    """Every kind of resource, in every state."""
    now_ms = body.core.clock()
    await _continuous(body, now_ms)
    await _single_values(body, now_ms)
    await _lung(body, now_ms)


async def _continuous(body: Body, now_ms: int) -> None:
    """Two worn-out sensors, one of them recalibrated half way, a running one, and one that has sent nothing yet."""
    await body.cgm(3)
    old = await body.device("Élan Sensor", manufacturer="Zebra GmbH", type_code="701750003", ended_ms=now_ms - 5 * DAY)
    sensor = await body.sensor(old, CGM, "105272-9", ended_ms=now_ms - 5 * DAY)
    first = await body.epoch(old, sensor, now_ms - 9 * DAY, until_ms=now_ms - 7 * DAY + HOUR + 500)
    for k in range(3):
        await body.chunk(
            first, k, now_ms - (9 - k) * DAY, [70 + k] * 12, status="fap"[k], updated_ms=now_ms - 3 * DAY + k
        )
    second = await body.epoch(old, sensor, now_ms - 7 * DAY + HOUR + 500, calibration_state="unspecified")
    await body.chunk(second, 0, now_ms - 7 * DAY + HOUR, [80] * 100, updated_ms=now_ms - 6 * DAY)
    silent = await body.device("Silent", heard_ms=now_ms - DAY, expiration_ms=now_ms + DAY)
    metric = {"type": {"coding": [{"system": "urn:iso:std:iso:11073:10101", "code": "999"}]}}
    await body.epoch(silent, await body.sensor(silent, CGM, "99504-3", metric=metric), now_ms - 4 * DAY - 7 * HOUR)


async def _single_values(body: Body, now_ms: int) -> None:
    meter = await body.glucose_meter(type_code="337414009", manufacturer="ÄBC")
    calibrated = await body.device("glukkocheck PLUS", type_code="337414009")
    epoch = await body.epoch(calibrated, await body.sensor(calibrated, GLUCOSE), now_ms - 20 * DAY)
    for n, (value, comparator) in enumerate(
        [("99.5", None), ("100", None), ("100.4", None), ("20", "<"), ("600", ">")]
    ):
        at_ms = now_ms - n * 7 * HOUR
        content: dict[str, Any] = {"effectiveDateTime": date_time(at_ms), "code": _code(LOINC, "2339-0")}
        content["valueQuantity"] = {"value": value, "code": "mg/dL", "comparator": comparator}
        await body.measurement(
            GLUCOSE, "2339-0", at_ms, value, meter, content=_json(content), comparator=comparator, updated_ms=now_ms - n
        )
    content = {"effectiveDateTime": date_time(now_ms - DAY), "code": _code(LOINC, "15074-8")}
    content["valueQuantity"] = {"value": "5.5", "code": "mmol/L"}
    await body.measurement(GLUCOSE, "15074-8", now_ms - DAY, "5.5", calibrated, epoch_no=epoch, content=_json(content))
    cuff = await body.device("Cuff", type_code="70665002")
    for systolic, diastolic in ((120, 80), (120, 135), (140, 90)):
        await body.pressure(now_ms - systolic * HOUR, systolic, diastolic, device_no=cuff)


async def _lung(body: Body, now_ms: int) -> None:
    meter = await body.device("Peak", type_code="334990001")
    numbers = []
    for code, system, value, unit in (("83368-1", LOINC, "450", "L/min"), ("19935-6", LOINC, "400.0", "L/min")):
        at_ms = now_ms - (100 * DAY if code == "83368-1" else DAY)
        open_period = {"effectivePeriod": {"start": date_time(at_ms)}} if code == "83368-1" else {}
        content = {"effectiveDateTime": date_time(at_ms), **open_period, "code": _code(system, code)}
        if open_period:
            del content["effectiveDateTime"]
        content["valueQuantity"] = {"value": value, "code": unit}
        end = {"effective_end_ms": None} if open_period else {}
        logical_id = await body.measurement(LUNG, code, at_ms, value, meter, content=_json(content), **end)
        decoded = body.core.ids.decode(logical_id)
        assert decoded is not None
        numbers.append(decoded[1])
    content = {"effectiveDateTime": date_time(now_ms - DAY), "code": _code(PEF, "PEF-measured/predicted")}
    content["valueQuantity"] = {"value": "89", "code": "%"}
    await body.measurement(
        LUNG, "PEF-measured/predicted", now_ms - DAY, "89", meter, derived_from=numbers, content=_json(content)
    )


def _code(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _json(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with its quantity as JSON writes it."""
    quantity = {name: part for name, part in content["valueQuantity"].items() if part is not None}
    return {"resourceType": "Observation", **content, "valueQuantity": quantity | {"value": float(quantity["value"])}}


@pytest.fixture
async def diga(body: Body, pair: Pair) -> Backend:
    await fill(body)
    return await pair()


async def everything(diga: Backend) -> Resources:
    resources = Resources()
    for resource_type in ("Observation", "Device", "DeviceMetric"):
        await diga.rest()
        bundle = await diga.bundle(f"{resource_type}?_count=1000")
        resources += [entry["resource"] for entry in bundle["entry"]]
    return resources


def texts(resources: Resources) -> dict[tuple[str, str], st.SearchStrategy[str]]:
    """Values worth searching for: those that occur, and those close to them."""
    observations = [resource for resource in resources if resource["resourceType"] == "Observation"]
    ids = [resource["id"] for resource in resources]
    instants = sorted(
        {text for resource in resources for text in re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+Z", str(resource))}
    )
    dates = st.builds(
        lambda prefix, text, length: prefix + (text[:length] + ("" if length < 11 else "Z")),
        st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]),
        st.sampled_from([text for text in instants if "." not in text]),
        st.sampled_from([4, 7, 10, 16, 19]),
    )
    numbers = st.sampled_from(
        ["99.5", "100", "100.0", "100.4", "1e2", "20", "600", "5.5", "450", "89", "120", "135", "80"]
    )
    quantities = st.builds(
        lambda prefix, number, unit: prefix + number + unit,
        st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]),
        numbers,
        st.sampled_from(["", "||mg/dL", f"|{UCUM}|mmol/L", "||mm[Hg]", "||L/min", "||%"]),
    )
    codes = sorted({c["code"] for o in observations for c in o["code"]["coding"]})
    components = st.sampled_from(["8480-6", f"{LOINC}|8462-4", f"{LOINC}|", "8478-0", "http://example.org|8480-6"])
    references = st.sampled_from([*ids, *(f"{resource['resourceType']}/{resource['id']}" for resource in resources)])
    names = st.sampled_from(
        ["glukko", "GLUK-KO", "elan", "Élan \tSensor", "s", "sensor", "Plus", "zebra", "äbc", "GmbH", "blood g", "t)"]
    )
    return {
        ("*", "_id"): st.sampled_from(ids),
        ("*", "_lastUpdated"): dates,
        ("Observation", "code"): st.sampled_from(
            [*codes, *(f"{LOINC}|{code}" for code in codes), f"{PEF}|", f"{LOINC}|"]
        ),
        ("Observation", "date"): dates,
        ("Observation", "status"): st.sampled_from(["final", "preliminary", "amended", "corrected", "x|final"]),
        ("Observation", "value-quantity"): quantities,
        ("Observation", "component-code"): components,
        ("Observation", "component-value-quantity"): quantities,
        ("Observation", "component-code-value-quantity"): st.builds("{}${}".format, components, quantities),
        ("Observation", "device"): references,
        ("Observation", "derived-from"): references,
        ("Device", "device-name"): names,
        ("Device", "device-name:exact"): names,
        ("Device", "device-name:contains"): names,
        ("Device", "manufacturer"): names,
        ("Device", "type"): st.sampled_from(
            ["337414009", "http://snomed.info/sct|70665002", "http://snomed.info/sct|", "1"]
        ),
        ("Device", "status"): st.sampled_from(["active", "inactive", "unknown", "entered-in-error"]),
        ("DeviceMetric", "source"): references,
        ("DeviceMetric", "type"): st.sampled_from(["160212", "999", "urn:iso:std:iso:11073:10101|", "160184", "a|999"]),
    }


TARGETS = {"device": ("Device", "DeviceMetric"), "source": ("Device",), "derived-from": ("Observation",)}


def _points_to(targets: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda text: "/" not in text or text.partition("/")[0] in targets


@st.composite
def queries(draw: st.DrawFn, resources: Resources) -> tuple[str, Query]:
    values = texts(resources)
    resource_type = draw(st.sampled_from(["Observation", "Observation", "Device", "DeviceMetric"]))
    names = [name for kind, name in values if kind in ("*", resource_type)]
    query = []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        strategy = values["*" if name.startswith("_") else resource_type, name]
        if name in TARGETS:
            strategy = strategy.filter(_points_to(TARGETS[name]))
        query.append((name, draw(st.lists(strategy, min_size=1, max_size=2))))
    return resource_type, query


def test_the_patient_has_everything(resources: Resources) -> None:
    kinds = {(r["resourceType"], r.get("status")) for r in resources}
    assert kinds >= {("Observation", s) for s in ("final", "preliminary", "amended")}
    assert kinds >= {("Device", s) for s in ("active", "inactive", "unknown")}
    assert sum("dataAbsentReason" in r for r in resources) >= 2
    assert len(resources) > 30


@pytest.fixture
async def resources(diga: Backend) -> Resources:
    return await everything(diga)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_any_search_finds_what_the_rules_say(diga: Backend, resources: Resources, data: st.DataObject) -> None:
    resource_type, query = data.draw(queries(resources))
    pairs = [(name, ",".join(values)) for name, values in query]
    await diga.rest()
    response = await diga.get(f"{resource_type}?{urlencode([*pairs, ('_count', '1000')])}")
    if response.status_code == 400 and "the end is before the start" in response.text:
        return
    assert response.status_code == 200, response.text
    found = ids(response.json())
    assert len(found) == len(set(found))
    assert set(found) == naive.search(resources, resource_type, query)
