"""What the FHIR door refuses: one entry of a batch, a whole transaction, and malformed requests."""

from __future__ import annotations

import uuid
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.negotiation import Format
from ddr.fhir.references import ABSENT
from ddr.fhir.representation import render
from ddr.http.core import Core
from tests.gateway.conftest import Client
from tests.gateway.phd import (
    CGM,
    MDC,
    METER,
    METRIC,
    UCUM,
    Json,
    bundle,
    cgm,
    coded,
    device,
    fev1,
    glucose,
    metric,
    phg,
    pressure,
    quantity,
    reason,
    reference_value,
    relative_value,
    send,
    series,
    statuses,
    taken,
)
from tests.gateway.test_junk import JUNK_SETTINGS, damaged, written

SERIES = ((CGM, cgm()), (METRIC, metric()))

MODIFIED: Json = {"modifierExtension": [{"url": "urn:x", "valueBoolean": True}]}
MEAN: Json = {"code": {"coding": [{"code": "8478-0"}]}, "valueQuantity": quantity(96, "mm[Hg]")}

BAD: list[tuple[Json, str, str]] = [
    (glucose(None), "422", "invalid"),
    (glucose(12345678901), "422", "invalid"),
    (glucose() | {"valueQuantity": quantity(5, "mmol/L")}, "422", "unit"),
    (glucose() | {"code": {"coding": [{"code": "2339-0"}]}}, "422", "unknown-code"),
    (glucose() | {"code": coded("2339-0", "https://loinc.org")}, "422", "unknown-code"),
    (metric(type=coded("99504-3", "http://loinc.org/")), "422", "unknown-code"),
    (pressure(component=[*pressure()["component"], MEAN]), "422", "unknown-code"),
    (glucose() | {"code": coded("160184", MDC), "valueQuantity": quantity(5, "MGDL")}, "422", "unknown-code"),
    (glucose() | {"valueQuantity": quantity(5, "MGDL")}, "422", "unit"),
    (pressure(component=pressure()["component"][:1]), "422", "invalid"),
    (metric(unit=coded("MGDL", UCUM)), "422", "unknown-code"),
    (glucose(effectiveDateTime="2026-11-20"), "422", "invalid"),
    (glucose(effectiveDateTime="2027-11-20T10:00:00Z"), "422", "future"),
    (glucose() | {"status": "registered"}, "422", "invalid"),
    (glucose(**MODIFIED), "422", "unknown-member"),
    (pressure(component=[part | MODIFIED for part in pressure()["component"]]), "422", "unknown-member"),
    (metric(calibration=[{"state": "calibrated", **MODIFIED}]), "422", "unknown-member"),
    (glucose() | {"device": {"reference": "Device/unknown"}}, "422", "unknown-device"),
    (pressure(component=[]), "422", "invalid"),
    (series("100 101", dimensions=2), "422", "invalid"),
    (series("100 101", dimensions=True), "422", "invalid"),
    (series("100 101", period=Decimal("0.5")), "422", "invalid"),
    (series("x y"), "422", "value"),
    (series("100", origin=quantity(0, "mmol/L")), "422", "unit"),
    (metric(source="urn:nothing"), "422", "unknown-device"),
    (device("x", manufacturer=None), "422", "invalid"),
    (glucose(effectivePeriod={"start": "2026-11-20T10:00:00Z"}), "422", "invalid"),
    (glucose(valueString="high"), "422", "invalid"),
    (glucose(dataAbsentReason=coded("unknown", ABSENT)), "422", "invalid"),
    (pressure(component=[part | {"valueInteger": 1} for part in pressure()["component"]]), "422", "invalid"),
    (series("100") | {"valueQuantity": quantity(100, "mg/dL")}, "422", "invalid"),
    (glucose(True), "422", "invalid"),
    (glucose(identifier=[{"system": "urn:x", "value": " "}]), "422", "invalid"),
    (glucose(identifier=[{"system": {}, "value": "1"}]), "422", "invalid"),
    (glucose(identifier=[{"value": "x" * 300}]), "422", "invalid"),
]


@pytest.mark.parametrize(("bad", "status", "code"), BAD)
async def test_a_bad_entry_blocks_no_other_of_a_batch(client: Client, bad: Json, status: str, code: str) -> None:
    sent = bundle((METER, device()), *SERIES, orjson.loads(render(bad, Format.JSON)), glucose(), series("100"))
    responses = await taken(client, sent)
    assert [*statuses(responses)[:3], *statuses(responses)[4:]] == ["201"] * 5
    assert (responses[3]["status"], reason(responses[3])) == (status, code)
    assert responses[3]["outcome"]["issue"][0]["expression"] == ["Bundle.entry[3]"]


@pytest.mark.parametrize(("bad", "status", "code"), BAD)
async def test_a_bad_entry_refuses_a_transaction(
    core: Core, client: Client, patient_id: uuid.UUID, bad: Json, status: str, code: str
) -> None:
    good = ((METER, device()), *SERIES, glucose(), series("100"))
    answer = await send(client, bundle(*good, orjson.loads(render(bad, Format.JSON)), kind="transaction"))
    assert (answer.status_code, reason(answer.json())) == (int(status), code)
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[5]"]
    for table in ("device", "sensor", "epoch", "chunk", "measurement"):
        assert await core.pool.fetchval(f"SELECT count(*) FROM {table} WHERE patient_id = $1", patient_id) == 0
    assert await taken(client, bundle(*good, kind="transaction")) != []
    assert statuses(await taken(client, bundle(series("100 101"), *SERIES))) == ["201", "200", "200"]


async def test_values_that_are_rejected_are_told_one_by_one(client: Client) -> None:
    *_, response = await taken(client, bundle(*SERIES, series("100 x 102")))
    assert response["status"] == "201"
    told, warning = response["outcome"]["issue"]
    assert told["diagnostics"] == "2 accepted, 0 duplicate, 1 rejected"
    assert (warning["severity"], warning["diagnostics"].partition(":")[0]) == ("warning", "Value 2")


async def test_of_many_values_each_that_is_rejected_is_told(client: Client) -> None:
    """Before, an entry had at most twenty issues, unusual values first. A gateway sends again only what is named."""
    values = [*["990"] * 22, "x", "100", "x", *["100"] * 60]  # the last sixty are from after ten o'clock
    *_, response = await taken(client, bundle(*SERIES, series(" ".join(values))))
    issues = response["outcome"]["issue"]
    told = [(one["details"]["coding"][0]["code"], one["diagnostics"].partition(":")[0]) for one in issues[1:]]
    assert told == [("value", "Values 23, 25"), ("future", "Values 26–85"), ("implausible", "Values 1–22")]


async def test_values_that_are_all_rejected_for_several_reasons_are_told_apart(client: Client) -> None:
    *_, response = await taken(client, bundle(*SERIES, series("x 5 x x")))
    assert response["status"] == "422"
    errors = [one for one in response["outcome"]["issue"] if one["severity"] == "error"]
    told = [(one["details"]["coding"][0]["code"], one["diagnostics"].partition(":")[0]) for one in errors]
    assert told == [("value", "Values 1, 3–4"), ("implausible", "Value 2")]


@pytest.mark.parametrize("time", ["1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
async def test_a_wrong_clock_spoils_no_device(client: Client, time: str) -> None:
    values = [glucose() | {"effectiveDateTime": time}, series("1") | {"effectivePeriod": {"start": time}}]
    responses = await taken(client, bundle((METER, device()), *SERIES, *values, glucose(), series("100")))
    assert [*statuses(responses)[:3], *statuses(responses)[5:]] == ["201"] * 5
    assert responses[4]["status"] == "422"


async def test_an_account_that_is_gone(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    await taken(client, bundle(phg()))
    await core.pool.execute("DELETE FROM patient WHERE patient_id = $1", patient_id)
    for kind in ("batch", "transaction"):
        assert (await send(client, bundle((METER, device()), kind=kind))).status_code == 401


@pytest.mark.parametrize("name", [METER, "https://gateway/fhir/Device/1"])
async def test_a_name_of_two_devices_names_none(client: Client, name: str) -> None:
    value = glucose(device={"reference": name})
    again = ((name, device()), (name, device(modelNumber="2")), value)
    other = device("00-1C-05-04-00-00-78-99", serialNumber="SN999999")
    responses = await taken(client, bundle((name, device()), (name, other), value))
    assert statuses(responses) == ["201", "201", "422"]
    assert reason(responses[2]) == "unknown-device"
    assert statuses(await taken(client, bundle(*again))) == ["200", "200", "201"]


async def test_entries_that_depend_on_a_refused_one(client: Client) -> None:
    responses = await taken(client, bundle((METER, device(manufacturer=None)), glucose()))
    assert [reason(response) for response in responses] == ["invalid", "unknown-device"]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/fhir+json", 400),
        (b"<Bundle/>", "application/fhir+xml", 400),
        (b"{}", "text/plain", 415),
        (b'{"resourceType": "Bundle", "type": "batch", "entry": "\\ud800"}', "application/fhir+json", 400),
        (b'{"resourceType": "Patient"}', "application/fhir+json", 422),
        (b'{"resourceType": "Bundle", "type": "collection"}', "application/fhir+json", 422),
    ],
)
async def test_what_is_no_upload_at_all(client: Client, content: bytes, content_type: str, status: int) -> None:
    answer = await client.post("/fhir", content=content, headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_other_methods_in_a_bundle(client: Client) -> None:
    sent = bundle((METER, device()))
    sent["entry"][0]["request"] = {"method": "DELETE", "url": "Device/1"}
    (response,) = await taken(client, sent)
    assert (response["status"], reason(response)) == ("405", "method-not-allowed")


async def test_another_patient_sees_nothing(client: Client, stranger: Client) -> None:
    (_, response) = await taken(client, bundle((METER, device()), glucose()))
    (mine,) = (await client.get("/devices")).json()["devices"]
    (theirs,) = await taken(stranger, bundle(glucose() | {"device": {"reference": f"Device/{mine['id']}"}}))
    assert reason(theirs) == "unknown-device"
    assert response["status"] == "201"


# --- junk -------------------------------------------------------------------------------------------------------------

WHOLE = bundle((METER, device()), *SERIES, phg(), glucose(), pressure(), series(lowerLimit=40), reference_value(),
               ("urn:x:1", fev1()), relative_value("urn:x:1", "urn:x:2"))  # fmt: skip


@JUNK_SETTINGS
@given(data=st.data(), kind=st.sampled_from(["batch", "transaction"]))
async def test_damaged_bundles(client: Client, data: st.DataObject, kind: str) -> None:
    body = data.draw(damaged({**WHOLE, "type": kind}))
    answer = await client.post("/fhir", content=written(body), headers={"content-type": "application/fhir+json"})
    assert answer.status_code < 500


@JUNK_SETTINGS
@given(data=st.data())
async def test_damaged_entries(client: Client, data: st.DataObject) -> None:
    resources = data.draw(st.lists(st.sampled_from([entry["resource"] for entry in WHOLE["entry"]]), min_size=1))
    body = bundle(*SERIES, (METER, device()))
    body["entry"] += [{"resource": data.draw(damaged(resource)), "request": {"method": "POST",
                       "url": resource["resourceType"]}} for resource in resources]  # fmt: skip
    answer = await client.post("/fhir", content=written(body), headers={"content-type": "application/fhir+json"})
    assert answer.status_code < 500


@JUNK_SETTINGS
@given(body=st.binary(max_size=200) | st.text(max_size=50).map(str.encode), fmt=st.sampled_from(list(Format)))
async def test_bodies_of_any_bytes(client: Client, body: bytes, fmt: Format) -> None:
    answer = await client.post("/fhir?_format=xml", content=body, headers={"content-type": fmt.value})
    assert answer.status_code in {400, 422}


async def test_a_property_that_is_there_twice(client: Client) -> None:
    """FHIR R4 json.html: each property once. The last one would have counted here, the first one for other readers."""
    content = b'{"resourceType":"Bundle","type":"batch","type":"transaction","entry":[]}'
    answer = await client.post("/fhir", content=content, headers={"content-type": "application/fhir+json"})
    assert answer.status_code == 400
    assert "more than once" in answer.json()["issue"][0]["diagnostics"]


async def test_what_is_no_object_is_named(client: Client) -> None:
    answer = await client.post("/fhir", json={"resourceType": "Bundle", "type": "batch", "entry": [None]})
    (told,) = answer.json()["entry"][0]["response"]["outcome"]["issue"]
    assert told["diagnostics"] == "entry must be a JSON object"
    answer = await client.post("/measurements", json={"measurements": [None]})
    assert answer.json()["items"][0]["detail"] == "measurement must be a JSON object"
