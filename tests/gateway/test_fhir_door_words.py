"""The PHD guide's annotations of a value (test data, failures, corrections) count; values not shown are reported."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from ddr.fhir.references import ABSENT
from ddr.http.core import Core
from ddr.series.packing import decode_values
from tests.gateway.conftest import Client
from tests.gateway.phd import (
    CGM,
    MDC,
    METER,
    METRIC,
    Json,
    bundle,
    cgm,
    coded,
    device,
    fev1,
    glucose,
    metric,
    observation,
    pressure,
    quantity,
    reason,
    reference_value,
    relative_value,
    series,
    statuses,
    taken,
)

SERIES = ((CGM, cgm()), (METRIC, metric()))
TEST_DATA = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}]}


async def contents(core: Core, patient: uuid.UUID) -> list[Json]:
    """The measurements of a patient."""
    rows = await core.pool.fetch("SELECT content FROM measurement WHERE patient_id = $1", patient)
    return [orjson.loads(row["content"]) for row in rows]


async def values(core: Core, patient: uuid.UUID) -> list[list[int]]:
    """The values of each chunk, including those that are not shown."""
    rows = await core.pool.fetch("SELECT vals FROM chunk WHERE patient_id = $1 ORDER BY epoch_no, k", patient)
    return [list(decode_values(row["vals"])) for row in rows]


def warnings(response: Json) -> list[tuple[str, str]]:
    """Code and text of each warning of a response."""
    issues = response.get("outcome", {}).get("issue", [])
    return [(i["details"]["coding"][0]["code"], i["diagnostics"]) for i in issues if i["severity"] == "warning"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_test_data_are_of_no_patient(core: Core, client: Client, patient_id: uuid.UUID, kind: str) -> None:
    """It marks a meter's control solution; as the patient's glucose it would be an emergency."""
    solution, demonstration = glucose(350, meta=TEST_DATA), {**series("350 351"), "meta": TEST_DATA}
    responses = await taken(client, bundle((METER, device()), *SERIES, solution, demonstration, kind=kind))
    assert statuses(responses) == ["201"] * 3 + ["200"] * 2
    assert all("HTEST" in response["outcome"]["issue"][0]["diagnostics"] for response in responses[3:])
    assert (await contents(core, patient_id), await values(core, patient_id)) == ([], [])
    other = {"security": [{"code": "R"}], "profile": ["urn:x"]}
    assert statuses(await taken(client, bundle((METER, device()), glucose(meta=other)))) == ["200", "201"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_measurements_refer_to_the_time_stamp_that_they_came_with(
    core: Core, client: Client, patient_id: uuid.UUID, kind: str
) -> None:
    """The PHD guide puts them in derivedFrom, beside the value that a meter refers to; HDDT has sources there."""
    stamp = ("urn:uuid:00000000-0000-4000-8000-00000000000c", {**observation("x"), "code": coded("67975", MDC)})
    names = [f"urn:uuid:00000000-0000-4000-8000-00000000000{n}" for n in "de"]
    came = {"derivedFrom": [{"reference": stamp[0]}]}
    session = {"derivedFrom": [*came["derivedFrom"], {"reference": "Observation/session"}]}
    relative = relative_value(*names)
    relative["derivedFrom"] += came["derivedFrom"]
    sent = bundle((METER, device()), *SERIES, stamp, glucose(**session), pressure(**came), series("100") | came,
                  (names[0], fev1(**came)), (names[1], reference_value(**came)), relative, kind=kind)  # fmt: skip
    assert statuses(await taken(client, sent)) == ["201"] * 3 + ["200"] + ["201"] * 6
    sources = [len(content.get("derivedFrom", ())) for content in await contents(core, patient_id)]
    assert sources == [0] * 5
    query = "SELECT cardinality(derived_from) FROM measurement WHERE patient_id = $1 ORDER BY 1"
    assert [row[0] for row in await core.pool.fetch(query, patient_id)] == [0] * 4 + [2]


def failed(code: str, reason_code: str) -> Json:
    """A component without a measured value."""
    return {"code": coded(code), "dataAbsentReason": coded(reason_code, ABSENT)}


def absent(parts: list[Json]) -> list[Any]:
    """The value of each component, or the reason why it has none."""
    return [
        part["valueQuantity"]["value"] if "valueQuantity" in part else part["dataAbsentReason"]["coding"][0]["code"]
        for part in parts
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"component": [*pressure()["component"][:1], failed("8462-4", "not-a-number")]}, [124, "error"]),
        ({"component": [failed("8480-6", "temp-unknown"), *pressure()["component"][1:]]}, ["unknown", 82]),
        ({"component": pressure()["component"][:1], "dataAbsentReason": coded("error", ABSENT)}, [124, "error"]),
        ({"component": None, "dataAbsentReason": coded("not-performed", ABSENT)}, ["not-performed"] * 2),
    ],
)
async def test_what_failed_of_a_panel_takes_nothing_of_the_rest(
    core: Core, client: Client, patient_id: uuid.UUID, members: Json, expected: list[Any]
) -> None:
    """BP-007; by the PHD guide a panel that failed as a whole has no components."""
    sent = pressure(**members)
    assert statuses(await taken(client, bundle((METER, device()), sent))) == ["201", "201"]
    assert statuses(await taken(client, bundle((METER, device()), sent))) == ["200", "200"]
    (content,) = await contents(core, patient_id)
    assert absent(content["component"]) == expected


async def test_a_value_that_no_number_is_failed(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    nothing = observation("2339-0", dataAbsentReason=coded("not-a-number", ABSENT))
    masked = observation("2339-0", dataAbsentReason=coded("masked", ABSENT))
    responses = await taken(client, bundle((METER, device()), nothing, masked))
    assert statuses(responses) == ["201", "201", "422"]
    assert absent(await contents(core, patient_id)) == ["error"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_a_corrected_sequence_stands_in_the_place_of_the_former(
    core: Core, client: Client, patient_id: uuid.UUID, kind: str
) -> None:
    corrected = {**series("100 130"), "status": "corrected"}
    assert statuses(await taken(client, bundle(*SERIES, corrected, series("100 120"), kind=kind)))[2:] == ["201"] * 2
    assert await values(core, patient_id) == [[100, 130]]
    (*_, again) = await taken(client, bundle(*SERIES, series("100 120"), kind=kind))
    assert (again["status"], warnings(again)) == (
        "200",
        [("superseded", "Value 2: a correction has replaced this value")],
    )
    one = observation("99504-3", METRIC, effectiveDateTime="2026-11-22T08:05:00Z", status="corrected",
                      valueQuantity=quantity(140, "mg/dL"))  # fmt: skip
    assert statuses(await taken(client, bundle(*SERIES, one, kind=kind)))[2:] == ["201"]
    assert await values(core, patient_id) == [[100, 140]]


async def test_another_value_of_an_instant_is_told(client: Client) -> None:
    await taken(client, bundle(*SERIES, series("100 120")))
    (*_, other) = await taken(client, bundle(*SERIES, series("100 130 140")))
    ((code, text),) = warnings(other)
    assert (other["status"], code, text.partition(":")[0]) == ("201", "conflict", "Value 2")
    assert text.endswith("to replace it, send the right value with the status corrected")
    (*_, unusual) = await taken(client, bundle(*SERIES, series("100 580")))
    assert [code for code, _ in warnings(unusual)] == ["implausible", "conflict"]


async def test_values_that_come_faster_than_the_sensor_was_registered_with_are_told(client: Client) -> None:
    """For instance after an update of its firmware: a DiGA sees one of five values."""
    await taken(client, bundle((CGM, cgm()), series("100 101", CGM)))
    faster = {
        **series("110 111 112 113 114 115", CGM, period=60_000),
        "effectivePeriod": {"start": "2026-11-22T09:00:00Z"},
    }
    (*_, told) = await taken(client, bundle((CGM, cgm()), faster))
    ((code, text),) = warnings(told)
    assert (told["status"], code, text.partition(":")[0]) == ("201", "superseded", "Values 2–5")
    (_, refused, unknown) = await taken(
        client, bundle((CGM, cgm()), (METRIC, metric(calibration=None) | one_a_minute()), series("120"))
    )
    assert (refused["status"], reason(refused), reason(unknown)) == ("409", "conflict", "unknown-device")


def one_a_minute() -> Json:
    """The period of a DeviceMetric."""
    return {"measurementPeriod": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "min"}}}


async def test_the_same_serial_number_under_another_identifier_is_told(client: Client) -> None:
    """For instance after an update of its app: DiGA and patient see two active devices."""
    await taken(client, bundle((METER, device())))
    (known,) = (await client.get("/devices")).json()["devices"]
    for status in ("201", "200"):
        (response,) = await taken(client, bundle((METER, device("00-00"))))
        assert response["status"] == status
        told = response["outcome"]["issue"][0]["diagnostics"]
        assert f'"replaces": "{known["key"]}"' in told
    other = next(one for one in (await client.get("/devices")).json()["devices"] if one != known)
    assert f"PUT devices/{other['key']}" in told
    members = ("serialNumber", "name", "manufacturer", "type")
    body = {name: other[name] for name in members} | {"replaces": known["key"]}
    assert (await client.put(f"/devices/{other['key']}", json=body)).status_code == 200
    (response,) = await taken(client, bundle((METER, device("00-00"))))
    assert "outcome" not in response


async def test_a_device_stays_the_same_whose_app_writes_its_manufacturer_otherwise(client: Client) -> None:
    """The identifier is the device's, so its app could not register it anew: all of its values were refused."""
    await taken(client, bundle((METER, device()), glucose()))
    before = (await client.get("/devices")).json()["devices"][0]
    for members in ({"manufacturer": "Glukko GmbH"}, {"serialNumber": None}, {"manufacturer": None}):
        sent = {name: value for name, value in device(**members).items() if value is not None}
        found, value = await taken(client, bundle((METER, sent), glucose()))
        assert (found["status"], value["status"]) == ("200", "200")
        assert ("outcome" in found) == ("Glukko GmbH" in members.values())
    (after,) = (await client.get("/devices")).json()["devices"]
    assert {**after, "heardAt": None} == {**before, "heardAt": None}
    for other in (device(serialNumber="SN2"), device(manufacturer="Glukko GmbH", serialNumber="SN2")):
        assert statuses(await taken(client, bundle((METER, other)))) == ["409"]


async def test_a_device_that_is_said_to_be_inactive_is_told_how_it_ends(client: Client) -> None:
    (answer,) = await taken(client, bundle((METER, device(status="inactive"))))
    (known,) = (await client.get("/devices")).json()["devices"]
    assert (answer["status"], known["endedAt"]) == ("201", None)
    assert f"PUT devices/{known['key']} with endedAt" in answer["outcome"]["issue"][0]["diagnostics"]
    assert "outcome" not in (await taken(client, bundle((METER, device(status="active")))))[0]


async def test_devices_without_a_system_identifier_are_several(client: Client) -> None:
    """Over Bluetooth Low Energy there may be none; by the PHD guide all such devices have zeros in its place."""
    none = device("00-00-00-00-00-00-00-00")["identifier"]
    address = {"system": "http://hl7.org/fhir/sid/eui-48/bluetooth"}
    cuffs = [device("x", "528391", identifier=[*none, {**address, "value": f"00-1C-05-00-78-2{n}"}]) for n in (5, 6)]
    for cuff in cuffs:
        del cuff["serialNumber"]
    meter = device("x", identifier=none)
    sent = [
        bundle((METER, one), value)
        for one, value in zip([*cuffs, meter], [pressure(), pressure(), glucose()], strict=True)
    ]
    for expected in ("201", "200"):
        assert [statuses(await taken(client, one)) for one in sent] == [[expected] * 2] * 3
    found = (await client.get("/devices")).json()["devices"]
    assert [(one["type"], one["serialNumber"]) for one in found] == [
        ("70665002", None), ("70665002", None), ("337414009", "SN123456")]  # fmt: skip
    nameless = {name: value for name, value in meter.items() if name != "serialNumber"}
    refused, value = await taken(client, bundle((METER, nameless), glucose()))
    assert (refused["status"], reason(refused), value["status"]) == ("422", "invalid", "422")


@pytest.mark.parametrize("times", [("10:00:00Z", "10:00:00.000Z"), ("10:00:00.000Z", "11:00:00+01:00")])
async def test_a_time_written_with_its_fraction_makes_no_second_measurement(
    core: Core, client: Client, patient_id: uuid.UUID, times: tuple[str, str]
) -> None:
    """As versions of an app write it: the measurement is the same, only the precision of its time differs."""
    first, again = ("2026-11-20T" + time for time in times)
    sent = bundle((METER, device()), glucose(effectiveDateTime=first), pressure(effectiveDateTime=first))
    before = await taken(client, sent)
    sent = bundle((METER, device()), glucose(effectiveDateTime=again), pressure(effectiveDateTime=again))
    after = await taken(client, sent)
    assert statuses(after) == ["200"] * 3
    ids = [[one["location"].partition("/_history")[0] for one in answers] for answers in (before, after)]
    assert ids[0] == ids[1]
    assert len(await contents(core, patient_id)) == 2
    apart = glucose(effectiveDateTime="2026-11-20T10:00:00.001Z")
    assert statuses(await taken(client, bundle((METER, device()), apart))) == ["200", "201"]
