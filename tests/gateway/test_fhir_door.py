"""The FHIR door: Bundles of the PHD guide store what the JSON API stores, and every entry gets its response."""

from __future__ import annotations

import asyncio
import threading
import uuid
from decimal import Decimal
from typing import Any

import pytest

from ddr.aside import LARGE_ITEMS
from ddr.fhir.instants import parse_instant
from ddr.fhir.negotiation import Format
from ddr.fhir.references import ABSENT
from ddr.fhir.representation import render
from ddr.gateway.door import limits, metrics
from ddr.http.core import Core
from ddr.series.packing import ERROR, HIGH, LOW, decode_values
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.series.start import move_start
from tests.gateway import samples
from tests.gateway.conftest import METER as OWN
from tests.gateway.conftest import Client, put_sensor
from tests.gateway.phd import (
    CGM,
    MDC,
    METER,
    METRIC,
    SERIES_START,
    SYSTEM_IDS,
    UCUM,
    Json,
    bundle,
    cgm,
    coded,
    device,
    fev1,
    glucose,
    metric,
    observation,
    phg,
    pressure,
    quantity,
    reason,
    reference_value,
    relative_value,
    series,
    statuses,
    taken,
)
from tests.gateway.samples import TIME

MEASUREMENTS = """SELECT code, effective_ms, value, unit, status, content FROM measurement
    WHERE patient_id = $1 ORDER BY code"""
CHUNKS = """SELECT k, start_ms, last_ms, filled, status, times, vals FROM chunk
    WHERE patient_id = $1 ORDER BY epoch_no, k"""
SERIES = ((CGM, cgm()), (METRIC, metric()))


async def rows(core: Core, statement: str, patient: uuid.UUID) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await core.pool.fetch(statement, patient)]


@pytest.fixture
async def theirs(core: Core, stranger: Client) -> uuid.UUID:
    """A client of the patient of `stranger`."""
    token = stranger.headers["authorization"].removeprefix("Bearer ")
    found = await gateway_tokens.find(core.pool, sha256(token), core.clock())
    assert found is not None
    return found.patient_id


# --- every kind, in both formats, as through the JSON API -------------------------------------------------------------


@pytest.mark.parametrize("fmt", Format)
@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_measurements_are_those_of_the_json_api(
    core: Core, client: Client, patient_id: uuid.UUID, stranger: Client, theirs: uuid.UUID, fmt: Format, kind: str
) -> None:
    sent = bundle((METER, device()), glucose(), pressure(), ("urn:x:1", fev1()), ("urn:x:2", reference_value()),
                  relative_value("urn:x:1", "urn:x:2"), kind=kind)  # fmt: skip
    responses = await taken(client, sent, fmt)
    assert statuses(responses) == ["201"] * 6
    assert [response["location"].partition("/")[0] for response in responses] == ["Device", *["Observation"] * 5]
    (registered,) = (await client.get("/devices")).json()["devices"]
    assert responses[0]["location"] == f"Device/{registered['id']}"
    assert {name: registered[name] for name in ("serialNumber", "name", "manufacturer", "type", "startedAt")} == {
        "serialNumber": "SN123456",
        "name": "GlukkoCheck plus mg/dL",
        "manufacturer": "Glukko Inc.",
        "type": "337414009",
        "startedAt": "2026-11-20T10:00:00Z",
    }
    await stranger.put("/devices/meter", json={**without_answers(registered)})
    items = [samples.glucose(), samples.pressure(), samples.fev1(), samples.reference(), samples.relative()]
    keys = ["glucose", "pressure", "reading", "reference", "relative"]
    body = {"measurements": [{"key": key, **item} for key, item in zip(keys, items, strict=True)]}
    answer = await stranger.post("/measurements", json=body)
    assert answer.json()["created"] == 5
    assert await rows(core, MEASUREMENTS, patient_id) == await rows(core, MEASUREMENTS, theirs)


def without_answers(registered: Json) -> Json:
    """A device's registration, made from the API's response."""
    return {name: value for name, value in registered.items() if name not in {"key", "id", "heardAt"}}


@pytest.mark.parametrize("fmt", Format)
async def test_series_are_those_of_the_json_api(
    core: Core, client: Client, patient_id: uuid.UUID, stranger: Client, theirs: uuid.UUID, fmt: Format
) -> None:
    values = series("100 101 E L U 40.0 1.2e2", lowerLimit=40, upperLimit=400)
    assert statuses(await taken(client, bundle(*SERIES, values), fmt)) == ["201"] * 3
    (registered,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{registered['key']}/sensors")).json()["sensors"]
    assert sensor["calibration"] == {"state": "calibrated", "type": "offset", "time": SERIES_START}
    assert (sensor["code"], sensor["unit"], sensor["samplingPeriodMs"]) == ("99504-3", "mg/dL", 300_000)
    assert sensor["limits"] == {"lower": 40.0, "upper": 400.0}
    assert sensor["startedAt"] == SERIES_START
    await stranger.put("/devices/cgm", json=without_answers(registered))
    facts = ("code", "unit", "samplingPeriodMs", "decimals", "limits", "metric", "calibration", "startedAt")
    body = {name: sensor[name] for name in facts}
    made = await stranger.put("/devices/cgm/sensors/glucose", json=body)
    assert made.status_code == 201
    readings = [{"time": f"2026-11-22T08:{5 * i:02}:00Z", "value": value}
                for i, value in enumerate([100, 101, "E", "L", "U", 40, 120])]  # fmt: skip
    await stranger.post("/devices/cgm/sensors/glucose/readings", json={"unit": "mg/dL", "readings": readings})
    stored = await rows(core, CHUNKS, patient_id)
    assert stored != []
    assert stored == await rows(core, CHUNKS, theirs)


async def test_the_order_of_codings_means_nothing(client: Client) -> None:
    """The PHD guide puts the nomenclature's code first; the value got another LOINC code than the one beside it."""
    both = [*coded("160184", MDC)["coding"], *coded("2339-0")["coding"]]
    sent = [glucose() | {"code": {"coding": codings}} for codings in (both, both[::-1], both[1:])]
    places = {(await taken(client, bundle((METER, device()), one)))[1]["location"] for one in sent}
    assert len(places) == 1
    mmol = quantity(6.7, "mmol/L")  # 2339-0 is not measured in this, but the nomenclature's code is
    for codings in (both, both[::-1]):
        one = glucose() | {"code": {"coding": codings}, "valueQuantity": mmol}
        assert statuses(await taken(client, bundle((METER, device()), one)))[1] in {"200", "201"}


async def test_a_sensor_stays_one_whose_values_have_a_code_of_blood_too(client: Client) -> None:
    """The device says interstitial fluid, and its app has one LOINC code for all glucose: the values were refused."""
    codings = [*coded("160212", MDC)["coding"], *coded("2339-0")["coding"]]
    sent = series("100 101") | {"code": {"coding": codings}}
    assert statuses(await taken(client, bundle(*SERIES, sent))) == ["201"] * 3


async def test_high_values_have_room_beside_those_with_two_decimals(client: Client) -> None:
    """A sensor in mg/dL with two decimals could not have a limit of 400, and was refused."""
    answer = await taken(client, bundle(*SERIES, series("100.25 100.5 399.5 U", lowerLimit=40, upperLimit=400)))
    assert statuses(answer) == ["201"] * 3
    issues = answer[2]["outcome"]["issue"]
    assert [issue["details"]["coding"][0]["code"] for issue in issues if "details" in issue] == ["precision"]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_limits_are_known_whichever_bundle_has_them(
    core: Core, client: Client, patient_id: uuid.UUID, first: int, kind: str
) -> None:
    """A gateway that follows the PHD guide has no other request to add limits: values beyond them were lost."""
    low = quantity(40, "mg/dL") | {"comparator": "<"}
    one = observation("99504-3", METRIC, effectiveDateTime="2026-11-22T08:20:00Z", valueQuantity=low)
    later = {"start": "2026-11-22T08:25:00Z"}
    sent = [series(), series("L U", lowerLimit=40, upperLimit=400) | {"effectivePeriod": later}, one]
    for values in (sent[first], *sent):
        answers = await taken(client, bundle(*SERIES, values, kind=kind))
        assert " 0 rejected" in str(answers[2]["outcome"])
    (registered,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{registered['key']}/sensors")).json()["sensors"]
    assert sensor["limits"] == {"lower": 40.0, "upper": 400.0}
    (chunk,) = await rows(core, "SELECT times, vals FROM chunk WHERE patient_id = $1", patient_id)
    assert decode_values(chunk[1]) == (100, 101, ERROR, 103, LOW, LOW, HIGH)


def beyond(comparator: str, value: int, minute: int) -> Json:
    """A single value of a continuous sensor that is below or above a number."""
    said = quantity(value, "mg/dL") | {"comparator": comparator}
    return observation("99504-3", METRIC, effectiveDateTime=f"2026-11-22T08:{minute}:00Z", valueQuantity=said)


@pytest.mark.parametrize("together", [False, True])
async def test_what_a_value_is_beyond_is_no_limit_of_a_sensor_that_has_measured_more(
    core: Core, client: Client, patient_id: uuid.UUID, together: bool
) -> None:
    """One value above 250 made 300 a U for ever, and every later value above 250."""
    bundles = [[series("60 300")], [beyond(">", 250, 20), beyond("<", 70, 25), beyond("<", 40, 30)]]
    for values in [[*bundles[0], *bundles[1]]] if together else bundles:
        answers = await taken(client, bundle(*SERIES, *values))
    assert statuses(answers)[-3:] == ["422", "422", "201"]
    assert [reason(answer) for answer in answers[-3:-1]] == ["range"] * 2
    assert "above 250, but there are numbers above it" in str(answers[-3]["outcome"])
    (chunk,) = await rows(core, "SELECT vals FROM chunk WHERE patient_id = $1", patient_id)
    assert decode_values(chunk[0]) == (60, 300, LOW)
    last = beyond(">", 9999, 35), beyond(">", 400, 35), beyond("<", 39, 40), beyond("<", 54, 45)
    answers = await taken(client, bundle(*SERIES, *last))
    assert statuses(answers)[-4:] == ["422", "201", "201", "422"]
    assert reason(answers[-4]) == "implausible"
    assert "the sensor's lower limit is 40" in str(answers[-1]["outcome"])
    answers = await taken(
        client, bundle(*SERIES, series("401 400") | {"effectivePeriod": {"start": "2026-11-22T08:50:00Z"}})
    )
    assert "Value 1: beyond the limit of the sensor, so stored as U" in str(answers[-1]["outcome"])
    (chunk,) = await rows(core, "SELECT vals FROM chunk WHERE patient_id = $1", patient_id)
    assert decode_values(chunk[0]) == (60, 300, LOW, HIGH, LOW, HIGH, 400)


@pytest.mark.parametrize("known", [False, True])
async def test_a_number_beyond_one_limit_says_nothing_of_the_other(client: Client, known: bool) -> None:
    later = {"effectivePeriod": {"start": "2026-11-22T08:30:00Z"}}
    values = series("39 100", lowerLimit=None if known else 40) | later
    if known:
        await taken(client, bundle(*SERIES, series("100 101", lowerLimit=40)))
    for status in ("201", "200"):
        answers = await taken(client, bundle(*SERIES, values, beyond(">", 400, 20)))
        assert statuses(answers)[2:] == [status] * 2
    (registered,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{registered['key']}/sensors")).json()["sensors"]
    assert sensor["limits"] == {"lower": 40.0, "upper": 400.0}


async def test_a_value_beyond_what_cannot_be_takes_no_decimals_from_its_sensor(client: Client) -> None:
    """A device says ">9999" when it has no value: for that its sensor, and all of its first Bundle, were refused."""
    said = quantity(9999, "mmol/L") | {"comparator": ">"}
    when = "2026-11-22T08:40:00Z"
    placeholder = observation("105272-9", METRIC, effectiveDateTime=when, valueQuantity=said)
    values = series("5.5 6.1", origin=quantity(0, "mmol/L"), lowerLimit=Decimal("2.2"), upperLimit=Decimal("22.2"))
    sensor = (METRIC, metric(unit=coded("mmol/L", UCUM)))
    answers = await taken(client, bundle((CGM, cgm()), sensor, values | {"code": coded("105272-9")}, placeholder))
    assert statuses(answers) == ["201", "201", "201", "422"]
    assert reason(answers[-1]) == "implausible"


@pytest.mark.parametrize("more", [0, 1])
async def test_what_many_values_say_of_their_sensor_is_looked_for_beside_the_event_loop(
    client: Client, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    on_the_loop: dict[str, bool] = {}

    def noted(work: Any) -> Any:
        def watched(*given: Any) -> Any:
            on_the_loop[work.__name__] = threading.current_thread() is threading.main_thread()
            return work(*given)

        return watched

    parts = (metrics, metrics.new_sensor), (limits, limits._new_limits), (limits, limits._all_unfit)
    for module, work in parts:
        monkeypatch.setattr(module, work.__name__, noted(work))
    many = series(" ".join(["100"] * (LARGE_ITEMS - 1 + more)), upperLimit=400)
    once = many | {"effectivePeriod": {"start": "2026-11-12T08:00:00Z"}}
    assert statuses(await taken(client, bundle(*SERIES, once, beyond(">", 400, 20))))[-2:] == ["201", "201"]
    assert on_the_loop == {work.__name__: not more for _, work in parts}


@pytest.mark.parametrize("limits", [{}, {"lowerLimit": 39.64}])
async def test_two_decimals_are_taken_where_limits_leave_room(client: Client, limits: Json) -> None:
    answer = await taken(client, bundle(*SERIES, series("100.25 101.33", **limits)))
    assert statuses(answer) == ["201"] * 3 and "0 rejected" in str(answer[2]["outcome"])


# --- repeats, corrections, references ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_a_repeated_bundle_changes_nothing(core: Core, client: Client, patient_id: uuid.UUID, kind: str) -> None:
    sent = bundle((METER, device()), glucose(), *SERIES, series(), kind=kind)
    await taken(client, sent)
    before = [await rows(core, statement, patient_id) for statement in (MEASUREMENTS, CHUNKS)]
    again = await taken(client, sent)
    assert statuses(again) == ["200"] * 5
    assert again[4]["outcome"]["issue"][0]["diagnostics"] == "0 accepted, 4 duplicate, 0 rejected"
    assert [await rows(core, statement, patient_id) for statement in (MEASUREMENTS, CHUNKS)] == before


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_the_same_bundle_at_once(core: Core, client: Client, patient_id: uuid.UUID, kind: str) -> None:
    sent = bundle((METER, device()), glucose(), *SERIES, series(), kind=kind)
    answers = await asyncio.gather(*(taken(client, sent) for _ in range(4)))
    for column in zip(*answers, strict=True):
        assert sorted(statuses(list(column))) == ["200", "200", "200", "201"]
    assert len(await rows(core, MEASUREMENTS, patient_id)) == len(await rows(core, CHUNKS, patient_id)) == 1


@pytest.mark.parametrize("changes", [{"identifier": [{"system": "urn:x", "value": "7"}]}, {"status": "corrected"}])
async def test_a_measurement_is_corrected_by_identifier_or_status(client: Client, changes: Json) -> None:
    named = {name: value for name, value in changes.items() if name == "identifier"}
    first = await taken(client, bundle((METER, device()), glucose(120, **named)))
    second = await taken(client, bundle((METER, device()), glucose(121, **changes)))
    assert statuses(second) == ["200", "200"]
    assert second[1]["location"] == first[1]["location"].replace("_history/1", "_history/2")
    assert second[1]["etag"] == 'W/"2"'


async def test_measurements_of_one_time_do_not_replace_each_other(
    core: Core, client: Client, patient_id: uuid.UUID
) -> None:
    """A meter's clock may know only minutes."""
    cuff = [pressure(), pressure(component=[*pressure()["component"][:1], diastolic(81)])]
    sent = bundle((METER, device()), glucose(120), glucose(Decimal("121.0")), *cuff)
    assert statuses(await taken(client, sent)) == ["201"] * 5
    assert statuses(await taken(client, bundle((METER, device()), glucose(121), *cuff))) == ["200"] * 4
    assert len(await rows(core, MEASUREMENTS, patient_id)) == 4
    unclear = glucose(122, status="corrected")  # which of the two?
    assert statuses(await taken(client, bundle((METER, device()), unclear))) == ["200", "201"]
    withdrawn = glucose(120, status="entered-in-error")
    assert statuses(await taken(client, bundle((METER, device()), withdrawn))) == ["200", "200"]
    states = [status for *_, value, _, status, _ in await rows(core, MEASUREMENTS, patient_id) if value == 120]
    assert states == ["entered-in-error"]


def diastolic(value: int) -> Json:
    """A component of blood pressure."""
    return {"code": coded("8462-4"), "valueQuantity": quantity(value, "mm[Hg]")}


PULSE = observation("8867-4", valueQuantity=quantity(71, "/min"))
BATTERY = {"resourceType": "Observation", "status": "final", "code": coded("67996", MDC), "effectiveDateTime": TIME,
           "device": {"reference": METER}, "valueQuantity": quantity(80, "%")}  # fmt: skip
THERMOMETER = metric(METER, type=coded("150364", MDC), unit=coded("Cel", UCUM), calibration=None)


@pytest.mark.parametrize("fmt", Format)
@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_what_has_no_miv_is_not_kept_and_refuses_nothing(
    core: Core, client: Client, patient_id: uuid.UUID, fmt: Format, kind: str
) -> None:
    others = [
        PULSE,
        BATTERY,
        {name: part for name, part in THERMOMETER.items() if part},
        {"resourceType": "Procedure"} if fmt is Format.JSON else PULSE,
    ]
    more = pressure(
        component=[*pressure()["component"], {"code": coded("8867-4"), "valueQuantity": quantity(71, "/min")}]
    )
    fever = {**glucose(), "component": [{"code": coded("8310-5"), "valueQuantity": quantity(37, "Cel")}]}
    responses = await taken(client, bundle((METER, device()), more, fever, *others, kind=kind), fmt)
    assert statuses(responses) == ["201"] * 3 + ["200"] * 4
    for response in responses[1:]:
        (issue,) = response["outcome"]["issue"]
        assert (issue["severity"], issue["details"]["coding"][0]["code"]) == ("warning", "unknown-code")
        assert issue["diagnostics"].startswith("Not kept: ")
    assert "component[2], 8867-4" in responses[1]["outcome"]["issue"][0]["diagnostics"]
    assert [row[0] for row in await rows(core, MEASUREMENTS, patient_id)] == ["2339-0", "85354-9"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_litres_are_written_large_or_small(core: Core, client: Client, patient_id: uuid.UUID, kind: str) -> None:
    small = observation("15074-8", valueQuantity=quantity(Decimal("5.5"), "mmol/l"))
    nomenclature = glucose(130) | {"code": coded("160184", MDC), "valueQuantity": quantity(130, "mg/dl")}
    flow = observation("19935-6", valueQuantity=quantity(500, "l/min"))
    sent = bundle((METER, device()), glucose() | {"valueQuantity": quantity(120, "mg/dl")}, small, nomenclature, flow,
                  *SERIES, series("100", origin=quantity(0, "mg/dl")), kind=kind)  # fmt: skip
    assert set(statuses(await taken(client, sent))) == {"201"}
    units = {unit for _, _, _, unit, _, _ in await rows(core, MEASUREMENTS, patient_id)}
    assert units == {"mg/dL", "mmol/L", "L/min"}


async def test_an_identifier_names_a_measurement(client: Client) -> None:
    named = {"identifier": [{"system": "urn:meter", "value": "17"}]}
    first = await taken(client, bundle((METER, device()), glucose(**named)))
    later = await taken(client, bundle((METER, device()), glucose(effectiveDateTime="2026-11-20T13:00:00Z", **named)))
    assert later[1]["location"].split("/")[1] == first[1]["location"].split("/")[1]


def identifiers(*values: str) -> Json:
    return {"identifier": [{"system": "urn:meter", "value": value} for value in values]}


async def place(client: Client, value: Json) -> tuple[str, str]:
    """The status and id of the only measurement of a Bundle."""
    _, answer = await taken(client, bundle((METER, device()), value))
    return answer["status"], answer["location"].split("/")[1]


async def test_the_order_of_identifiers_does_not_matter(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    _, first = await place(client, glucose(120, **identifiers("a", "b")))
    assert await place(client, glucose(120, **identifiers("b", "a"))) == ("200", first)
    assert await place(client, glucose(121, **identifiers("c", "b", "a"))) == ("200", first), "corrected"
    assert await place(client, glucose(121, **identifiers("a"))) == ("200", first)
    assert [row[4] for row in await rows(core, MEASUREMENTS, patient_id)] == ["corrected"]


async def test_identifiers_that_measurements_share_do_not_replace_them(
    core: Core, client: Client, patient_id: uuid.UUID
) -> None:
    _, first = await place(client, glucose(120, **identifiers("a", "session")))
    status, second = await place(client, glucose(121, **identifiers("b", "session")))
    assert (status, second != first) == ("201", True)
    _, whole = await place(client, pressure(**identifiers("panel")))
    status, part = await place(client, glucose(122, **identifiers("c", "panel")))
    assert (status, part != whole) == ("201", True), "another code is another measurement"
    other = device("00-1C-05-04-00-00-78-27", serialNumber="SN2")
    _, answer = await taken(client, bundle((METER, other), glucose(120, **identifiers("d", "a"))))
    assert answer["status"] == "201", "another device is another measurement"
    assert len(await rows(core, MEASUREMENTS, patient_id)) == 5


@pytest.mark.parametrize("stored", [True, False])
async def test_one_bundle_says_one_thing_of_a_measurement(client: Client, stored: bool) -> None:
    both = [glucose(120 + n, **identifiers(*names)) for n, names in enumerate(("ab", "ba"))]
    if stored:
        await place(client, glucose(119, **identifiers("b")))
    _, first, second = await taken(client, bundle((METER, device()), *both))
    assert (first["status"], second["status"], reason(second)) == ("200" if stored else "201", "422", "repeated-key")


async def test_bundles_at_once_make_one_measurement_in_any_order(
    core: Core, client: Client, patient_id: uuid.UUID
) -> None:
    sent = [bundle((METER, device()), glucose(**identifiers(*names))) for names in ("ab", "ba", "ab", "ba")]
    answers = await asyncio.gather(*(taken(client, one) for one in sent))
    assert sorted(answer["status"] for _, answer in answers) == ["200", "200", "200", "201"]
    assert len(await rows(core, MEASUREMENTS, patient_id)) == 1


async def test_devices_and_sensors_are_known_by_identifiers_in_any_order(
    core: Core, client: Client, patient_id: uuid.UUID
) -> None:
    found = []
    for names in ("ab", "ba", "cba"):
        sent = bundle((CGM, cgm(**identifiers(*names))), (METRIC, metric(**identifiers(*names))), series())
        found.append([answer.get("location") for answer in await taken(client, sent)])
    assert found[0][:2] == found[1][:2] == found[2][:2]
    model = bundle((METER, device(**identifiers("d", "a"), serialNumber="SN2")))
    assert statuses(await taken(client, model)) == ["201"], "an identifier of a model, and another serial number"
    again = bundle((METER, device(**identifiers("a", "d"), serialNumber="SN2")))
    assert statuses(await taken(client, again)) == ["409"], "the first one names a device"
    assert await core.pool.fetchval("SELECT count(*) FROM sensor WHERE patient_id = $1", patient_id) == 1
    assert await core.pool.fetchval("SELECT count(*) FROM device WHERE patient_id = $1", patient_id) == 2


async def test_what_is_derived_finds_a_source_by_any_of_its_identifiers(client: Client) -> None:
    reading, reference = (
        "urn:uuid:00000000-0000-4000-8000-00000000000a",
        "urn:uuid:00000000-0000-4000-8000-00000000000b",
    )
    for names in ("ab", "ba"):
        sent = bundle(
            (METER, device()),
            (reading, fev1(**identifiers(*names))),
            (reference, reference_value(**identifiers("r", *names))),
            relative_value(reading, reference, **identifiers("x")),
        )
        found = statuses(await taken(client, sent))
        assert found[1:] == (["201"] * 3 if names == "ab" else ["200"] * 3)


@pytest.mark.parametrize("form", ["answer", "absolute", "conditional", "logical", "relative"])
async def test_references(client: Client, form: str) -> None:
    (answer,) = await taken(client, bundle(device()))
    named = f"{SYSTEM_IDS}|00-1C-05-04-00-00-78-25"
    text = {
        "answer": answer["location"],
        "absolute": f"https://recorder/fhir/{answer['location']}",
        "conditional": f"Device?identifier={named}",
        "relative": "Device/mine",
    }.get(form)
    value = glucose(effectiveDateTime="2026-11-22T10:00:00Z")
    value["device"] = {"reference": text} if text else {"identifier": {"system": SYSTEM_IDS, "value": named[-23:]}}
    entries = [device(id="mine"), value] if form == "relative" else [value]
    assert statuses(await taken(client, bundle(*entries)))[-1] == "201"


async def test_what_the_json_api_registered_can_be_referred_to(client: Client) -> None:
    registered = await client.put("/devices/cgm", json={**samples_cgm(), "startedAt": SERIES_START})
    sensor = {"code": "99504-3", "unit": "mg/dL", "samplingPeriodMs": 300_000}
    made = (await client.put("/devices/cgm/sensors/glucose", json=sensor)).json()
    by_metric = series(made_with=f"DeviceMetric/{made['metricId']}")
    by_device = series("90", made_with=f"Device/{registered.json()['id']}")
    by_device["effectivePeriod"] = {"start": "2026-11-22T09:00:00Z"}
    responses = await taken(
        client, bundle(by_metric, {**by_device, "effectivePeriod": {"start": "2026-11-22T09:00:00Z"}})
    )
    assert statuses(responses) == ["201", "201"]
    (only,) = (await client.get("/devices/cgm/sensors")).json()["sensors"]
    assert only["storedUntil"] == "2026-11-22T09:00:00Z"


def samples_cgm() -> Json:
    return {"serialNumber": "1", "name": "c", "manufacturer": "m", "type": "700585005"}


# --- devices and sensors ----------------------------------------------------------------------------------------------


async def test_the_gateway_the_patient_and_time_stamps_are_not_kept(client: Client) -> None:
    stamp = {**observation("x"), "code": coded("67975", MDC), "valueDateTime": "2026-11-22T10:00:00Z"}
    responses = await taken(client, bundle(phg(), {"resourceType": "Patient", "name": [{"family": "N"}]}, stamp))
    assert statuses(responses) == ["200"] * 3
    assert [response["outcome"]["issue"][0]["severity"] for response in responses] == ["information"] * 3
    assert (await client.get("/devices")).json() == {"devices": []}


async def test_a_series_needs_no_device_metric(client: Client) -> None:
    sent = bundle((CGM, cgm()), series("5.5 5.6", CGM, origin=quantity(0, "mmol/L")))
    sent["entry"][1]["resource"]["code"] = coded("160212", MDC)
    assert statuses(await taken(client, sent)) == ["201", "201"]
    (found,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{found['key']}/sensors")).json()["sensors"]
    assert (sensor["code"], sensor["unit"], sensor["decimals"]) == ("105272-9", "mmol/L", 1)


async def test_single_values_of_a_series(client: Client) -> None:
    times = [f"2026-11-22T08:{minute:02}:00Z" for minute in (0, 5, 10)]
    values = [observation("99504-3", METRIC, effectiveDateTime=time, valueQuantity=quantity(100 + i, "mg/dL"))
              for i, time in enumerate(times[:2])]  # fmt: skip
    failed = observation("99504-3", METRIC, effectiveDateTime=times[2], dataAbsentReason=coded("error", ABSENT))
    responses = await taken(client, bundle(*SERIES, *values, failed))
    assert statuses(responses) == ["201"] * 5


async def test_many_observations_of_a_sensor_are_one_upload(client: Client) -> None:
    parts = [f"2026-11-22T08:{minute:02}:00Z" for minute in (30, 0, 15)]
    values = [series(data) | {"effectivePeriod": {"start": start}}
              for data, start in zip(("130 x", "100 101 102", "x"), parts, strict=True)]  # fmt: skip
    responses = await taken(client, bundle(*SERIES, *values))
    assert statuses(responses)[2:] == ["201", "201", "422"]
    told = [response["outcome"]["issue"][0]["diagnostics"] for response in responses[2:4]]
    assert told == ["1 accepted, 0 duplicate, 1 rejected", "3 accepted, 0 duplicate, 0 rejected"]


async def test_codes_of_the_nomenclature_alone(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    coding = [(glucose(), "160184"), (pressure(), "150020"), (observation("x"), "152584")]
    values = [{**value, "code": coded(code, MDC)} for value, code in coding]
    values[2]["valueQuantity"] = quantity(612, "L/min")
    assert statuses(await taken(client, bundle((METER, device()), *values))) == ["201"] * 4
    assert [row[0] for row in await rows(core, MEASUREMENTS, patient_id)] == ["19935-6", "41653-7", "85354-9"]


async def test_older_values_may_come_later_when_the_device_says_when_it_was_made(client: Client) -> None:
    made = device(manufactureDate="2025-01")
    await taken(client, bundle((METER, made), glucose()))
    older = glucose() | {"effectiveDateTime": "2026-11-01T10:00:00Z"}
    assert statuses(await taken(client, bundle((METER, made), older))) == ["200", "201"]


async def test_conditional_creates_and_updates_are_what_repeats_are(client: Client) -> None:
    sent = bundle((METER, device(id="mine")), glucose())
    sent["entry"][0]["request"]["ifNoneExist"] = f"identifier={SYSTEM_IDS}|00-1C-05-04-00-00-78-25"
    assert statuses(await taken(client, sent)) == ["201", "201"]
    sent["entry"][0]["request"] = {"method": "PUT", "url": "Device/mine"}
    assert statuses(await taken(client, sent)) == ["200", "200"]


async def test_origin_and_factor_are_exact(core: Core, client: Client, patient_id: uuid.UUID) -> None:
    scaled = series("1 2 3", CGM, origin=quantity(Decimal("0.1"), "mmol/L"), factor=Decimal("1.1"))
    scaled["code"] = coded("105272-9")
    body = bundle((CGM, cgm()), scaled)
    raw = render(body, Format.JSON)
    answer = await client.post("/fhir", content=raw, headers={"content-type": "application/fhir+json"})
    assert statuses([entry["response"] for entry in answer.json()["entry"]]) == ["201", "201"]
    (chunk,) = await rows(core, CHUNKS, patient_id)
    assert chunk[-1] == b"".join(n.to_bytes(2, "little") for n in (12, 23, 34))


async def test_calibrations_follow_the_device_metric(client: Client) -> None:
    await taken(client, bundle(*SERIES, series()))
    later = [
        {"type": "offset", "state": "calibrated", "time": SERIES_START},
        {"type": "offset", "state": "calibration-required", "time": "2026-11-22T09:00:00Z"},
    ]
    for expected in ("accepted", "again"):
        responses = await taken(client, bundle((CGM, cgm()), metric(calibration=later)))
        assert statuses(responses) == ["200", "200"], expected
    (found,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{found['key']}/sensors")).json()["sensors"]
    assert sensor["calibration"]["state"] == "calibration-required"
    history = (await client.get(f"/devices/{found['key']}/sensors/{sensor['key']}/calibrations")).json()["calibrations"]
    assert [event["state"] for event in history] == ["calibrated", "calibration-required"]
    assert responses[1]["location"] == f"DeviceMetric/{history[1]['metricId']}"


async def test_a_change_of_state_needs_its_time(client: Client) -> None:
    await taken(client, bundle(*SERIES, series()))
    (_, response) = await taken(client, bundle((CGM, cgm()), metric(calibration=[{"state": "not-calibrated"}])))
    assert response["status"] == "422"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_older_values_that_come_later_move_the_start_back(
    core: Core, client: Client, patient_id: uuid.UUID, kind: str
) -> None:
    """FHIR does not say since when a device is in use: it starts with the first value that has arrived."""
    for day in (21, 19, 20):
        value = glucose() | {"effectiveDateTime": f"2026-11-{day}T10:00:00Z"}
        assert statuses(await taken(client, bundle((METER, device()), value, kind=kind)))[1] == "201"
        period = {"effectivePeriod": {"start": f"2026-11-{day}T08:00:00Z"}}
        assert statuses(await taken(client, bundle(*SERIES, series("100 101") | period, kind=kind)))[2] == "201"
    started = {each["serialNumber"]: each["startedAt"] for each in (await client.get("/devices")).json()["devices"]}
    assert started == {"SN123456": "2026-11-19T10:00:00Z", "CGM1234567890": "2026-11-19T08:00:00Z"}
    assert len(await rows(core, MEASUREMENTS, patient_id)) == 3
    assert sum(row[3] for row in await rows(core, CHUNKS, patient_id)) == 6


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_state_from_before_the_start_may_become_known_after_it(client: Client, order: tuple[int, int]) -> None:
    states = [
        {"state": "not-calibrated", "time": "2026-11-19T07:00:00Z"},
        {"state": "calibrated", "time": "2026-11-19T07:55:00Z"},
    ]
    for known in order:
        value = series("100 101 102") | {"effectivePeriod": {"start": f"2026-11-19T0{8 + known}:00:00Z"}}
        sent = bundle((CGM, cgm()), (METRIC, metric(calibration=states[: 1 + known])), value)
        assert statuses(await taken(client, sent))[1:] == ["201" if known == order[0] else "200", "201"]
    (device_,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{device_['key']}/sensors")).json()["sensors"]
    found = (await client.get(f"/devices/{device_['key']}/sensors/{sensor['key']}/calibrations")).json()["calibrations"]
    assert [(event["state"], event["time"]) for event in found] == [("calibrated", "2026-11-19T07:55:00Z")]


@pytest.mark.parametrize("told", [True, False])
async def test_a_state_that_a_moved_start_left_behind_is_mended_with_the_next_bundle(
    core: Core, client: Client, patient_id: uuid.UUID, told: bool
) -> None:
    """Earlier versions moved the start and nothing else."""
    states = [
        {"state": "not-calibrated", "time": "2026-11-22T07:00:00Z"},
        {"state": "calibrated", "time": "2026-11-22T08:00:00Z"},
    ][0 if told else 1 :]
    sent = bundle((CGM, cgm()), (METRIC, metric(calibration=states)), series())
    await taken(client, sent)
    async with core.pool.acquire() as conn, conn.transaction():
        before_ms = parse_instant("2026-11-22T07:30:00Z")
        (number,) = await conn.fetchrow("SELECT sensor_no FROM sensor WHERE patient_id = $1", patient_id)
        await move_start(conn, patient_id, number, before_ms, core.clock(), 0, 0)
    for _ in range(2):
        assert statuses(await taken(client, sent)) == ["200"] * 3
        (device_,) = (await client.get("/devices")).json()["devices"]
        (sensor,) = (await client.get(f"/devices/{device_['key']}/sensors")).json()["sensors"]
        path = f"/devices/{device_['key']}/sensors/{sensor['key']}/calibrations"
        found = (await client.get(path)).json()["calibrations"]
        assert [event["state"] for event in found] == ["not-calibrated" if told else "unspecified", "calibrated"]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
@pytest.mark.parametrize("order", [(19, 21), (21, 19), (21, 20, 19)])
async def test_warm_up_that_comes_after_later_values_stays_warm_up(
    client: Client, kind: str, order: tuple[int, ...]
) -> None:
    times = "2026-11-19T07:55:00Z", "2026-11-19T08:05:00Z"
    states = [
        {"state": state, "time": time} for state, time in zip(("not-calibrated", "calibrated"), times, strict=True)
    ]
    for day in order:
        value = series("100 101 102") | {"effectivePeriod": {"start": f"2026-11-{day}T08:00:00Z"}}
        sent = bundle((CGM, cgm()), (METRIC, metric(calibration=states)), value, kind=kind)
        assert statuses(await taken(client, sent))[2] == "201"
    (device_,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{device_['key']}/sensors")).json()["sensors"]
    found = (await client.get(f"/devices/{device_['key']}/sensors/{sensor['key']}/calibrations")).json()["calibrations"]
    assert [(event["state"], event["time"]) for event in found] == [
        ("not-calibrated", times[0]),
        ("calibrated", times[1]),
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"state": "not-calibrated", "time": "2026-11-19t07:55:00z"}, ("not-calibrated", "2026-11-19T07:55:00Z")),
        ({"type": "offset", "time": "2026-11-19T07:55:00Z"}, ("calibrated", "2026-11-20T08:00:00Z")),
        ({"state": "odd", "time": "2026-11-19T07:55:00Z"}, ("calibrated", "2026-11-20T08:00:00Z")),
        ({"state": "not-calibrated"}, ("calibrated", "2026-11-20T08:00:00Z")),  # refused: a change without its time
    ],
)
async def test_a_start_that_moves_back_takes_only_a_state_that_can_be_read(
    client: Client, said: dict[str, str], expected: tuple[str, str]
) -> None:
    for day, calibration in ((21, {"state": "calibrated"}), (20, said)):
        value = series("100 101 102") | {"effectivePeriod": {"start": f"2026-11-{day}T08:00:00Z"}}
        responses = await taken(client, bundle((CGM, cgm()), (METRIC, metric(calibration=[calibration])), value))
        assert responses[2]["status"] == "201"
    assert responses[1]["status"] == ("200" if "time" in said else "422")
    (device_,) = (await client.get("/devices")).json()["devices"]
    (sensor,) = (await client.get(f"/devices/{device_['key']}/sensors")).json()["sensors"]
    found = (await client.get(f"/devices/{device_['key']}/sensors/{sensor['key']}/calibrations")).json()["calibrations"]
    assert [(event["state"], event["time"]) for event in found] == [expected]


async def test_a_start_that_was_told_stays(client: Client) -> None:
    """A device of the JSON API has its own startedAt."""
    await client.put("/devices/meter", json=OWN | {"startedAt": "2026-11-20T00:00:00Z"})
    (own,) = (await client.get("/devices")).json()["devices"]
    early = glucose(effectiveDateTime="2026-11-19T10:00:00Z") | {"device": {"reference": f"Device/{own['id']}"}}
    (response,) = await taken(client, bundle(early))
    assert (response["status"], response["outcome"]["issue"][0]["details"]["coding"][0]["code"]) == (
        "422",
        "before-start",
    )


async def test_a_sensor_that_was_told_stays_on_a_device_of_the_door(client: Client) -> None:
    """The request that registered it is idempotent, whatever comes through the other door."""
    await taken(client, bundle((CGM, cgm()), glucose(effectiveDateTime="2026-11-20T08:00:00Z", made_with=CGM)))
    (own,) = (await client.get("/devices")).json()["devices"]
    told = {
        "startedAt": "2026-11-21T08:00:00Z",
        "calibration": {"state": "calibrated", "time": "2026-11-21T08:00:00Z"},
    }
    assert (await put_sensor(client, own["key"], "s", **told)).status_code == 201
    (sensor,) = (await client.get(f"/devices/{own['key']}/sensors")).json()["sensors"]
    name = f"DeviceMetric/{sensor['metricId']}"
    early = series("100 101", name) | {"effectivePeriod": {"start": "2026-11-19T08:00:00Z"}}
    (response,) = await taken(client, bundle(early))
    assert (response["status"], reason(response)) == ("422", "before-start")
    assert (await put_sensor(client, own["key"], "s", **told)).status_code == 200


async def test_a_start_moves_back_behind_what_another_sensor_has_measured(client: Client) -> None:
    """Both belong to one device; what one measured says nothing about the start of the other."""
    units = {"mg/dL": ("2339-0", 120), "mmol/L": ("15074-8", 5.5)}

    async def send(day: int, unit: str) -> str:
        code, value = units[unit]
        kind = metric(METER, type=coded(code), unit=coded(unit, UCUM), measurementPeriod=None)
        own = observation(code, METRIC, valueQuantity=quantity(value, unit))
        own["effectiveDateTime"] = f"2026-11-{day}T08:00:00Z"
        sent = bundle((METER, device()), (METRIC, {k: v for k, v in kind.items() if v is not None}), own)
        return statuses(await taken(client, sent))[2]

    sent = (20, "mg/dL"), (21, "mmol/L"), (18, "mg/dL"), (19, "mmol/L")
    assert [await send(*one) for one in sent] == ["201"] * 4
