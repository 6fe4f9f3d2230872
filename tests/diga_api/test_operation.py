"""$hddt-cgm-summary as a request: its statements, access, Grace-Period, refusals and what it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ddr.fhir.instants import date_time, parse_instant
from ddr.store.audit.trail import Event
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, MINUTE, Backend, Body, fhir_client
from tests.support.citus import one_server_only
from tests.support.counting import counted

PATH = "Observation/$hddt-cgm-summary"
CODES = {
    "mean": "97507-8",
    "mmol": "105273-7",
    "gmi": "97506-0",
    "cv": "104638-2",
    "days": "104636-6",
    "active": "104637-4",
}


async def post(diga: Backend, body: Any = None, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    fields = {"authorization": f"Bearer {diga.token}", **headers}
    options: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body} if body else {}
    response = await diga.client.post(f"/fhir/{PATH}{query}", headers=fields, **options)
    assert response.headers["content-type"].startswith("application/fhir+json")
    resource: dict[str, Any] = response.json()
    return response.status_code, resource


async def numbers(diga: Backend, **parameters: str) -> dict[str, float]:
    """The metrics by name, and the shares of the ranges from very low to very high."""
    await diga.rest()
    response = await diga.client.get(
        f"/fhir/{PATH}", params=parameters, headers={"authorization": f"Bearer {diga.token}"}
    )
    assert response.status_code == 200, response.text
    found = {}
    for entry in response.json()["entry"]:
        if "code" in (resource := entry["resource"]):
            found[resource["code"]["coding"][0]["code"]] = resource
    shares = [part["valueQuantity"]["value"] for part in found["106793-3"]["component"]]
    single = {name: found[code]["valueQuantity"]["value"] for name, code in CODES.items() if code in found}
    return {**single, **dict(zip(("very low", "low", "target", "high", "very high"), shares, strict=True))}


@one_server_only
@pytest.mark.parametrize(("path", "most"), [("", 3), ("?related=true", 3), ("?foo=1", 1)])
async def test_a_report_takes_few_statements(body: Body, pair: Pair, path: str, most: int) -> None:
    await body.cgm(days=30)
    diga = await pair(CGM)
    assert (await diga.get(PATH)).status_code == 200  # the driver asks for types once per connection
    await diga.rest()
    async with counted(body.core.pool) as statements:
        response = await diga.get(PATH + path)
    assert response.status_code in (200, 400)
    assert len(statements) == most, statements
    assert all("patient_id" in statement for statement in statements[:-1])  # the last statement writes the record


async def test_the_report_counts_each_reading_of_the_period(body: Body, pair: Pair) -> None:
    await body.cgm(days=3)  # 288 times 100, 288 times 101, 210 times 102
    found = await numbers(await pair(CGM))
    assert found["mean"] == round((288 * 100 + 288 * 101 + 210 * 102) / 786, 2)
    assert found["mmol"] == 5.6
    assert found["gmi"] == 5.72
    assert found["days"] == 4  # they began on an afternoon
    # one reading per five minutes for 14 days from midnight in Berlin, which is 23:00 UTC
    assert found["active"] == round(786 * 5 * MINUTE / (13 * DAY + 11 * 60 * MINUTE) * 100, 2)
    assert [found[name] for name in ("very low", "low", "target", "high", "very high")] == [0, 0, 100, 0, 0]


async def test_readings_without_calibration(body: Body, pair: Pair) -> None:
    device_no = await body.device()
    sensor_no = await body.sensor(device_no, CGM, "99504-3")
    start_ms = body.core.clock() - DAY
    warm_up = await body.epoch(
        device_no, sensor_no, start_ms, calibration_state="not-calibrated", until_ms=start_ms + DAY // 2
    )
    await body.chunk(warm_up, 0, start_ms, [300] * 144)
    diga = await pair(CGM)
    assert (await diga.get(PATH)).status_code == 404
    lenient = replace(body.core, settings=replace(body.core.settings, summary_uncalibrated=True))
    strict, diga.client = diga.client, fhir_client(lenient, diga.certificate)
    assert (await numbers(diga))["mean"] == 300
    diga.client = strict
    ready = await body.epoch(device_no, sensor_no, start_ms + DAY // 2)
    await body.chunk(ready, 0, start_ms + DAY // 2, [100] * 144)
    assert (await numbers(diga))["mean"] == 100


async def test_devices_that_contributed(body: Body, pair: Pair) -> None:
    device_no, _, _ = await body.cgm()
    await body.cgm(days=1, started_ms=body.core.clock() - 40 * DAY)  # too old
    await body.glucose_meter()
    diga = await pair(CGM)
    _, report = await post(
        diga, {"resourceType": "Parameters", "parameter": [{"name": "related", "valueBoolean": True}]}
    )
    devices = [entry for entry in report["entry"] if entry["resource"]["resourceType"] == "Device"]
    assert [entry["resource"]["id"] for entry in devices] == [body.core.ids.device(device_no)]
    assert devices[0]["fullUrl"] == f"{body.core.settings.fhir_base}/Device/{body.core.ids.device(device_no)}"
    assert devices[0]["resource"]["status"] == "active"


@pytest.mark.parametrize("query", ["", "?related=false"])
async def test_no_devices_unless_asked_for(body: Body, pair: Pair, query: str) -> None:
    await body.cgm()
    _, report = await post(await pair(CGM), query=query)
    assert {entry["resource"]["resourceType"] for entry in report["entry"]} == {"Observation"}


async def test_no_devices_without_their_scope(body: Body, pair: Pair) -> None:
    await body.cgm()
    _, report = await post(await pair(CGM, device=False), query="?related=true")
    assert {entry["resource"]["resourceType"] for entry in report["entry"]} == {"Observation"}


async def events(body: Body) -> list[tuple[str, Any]]:
    """The patient's audit trail."""
    rows = await body.core.pool.fetch(
        "SELECT event, detail FROM audit WHERE patient_id = $1 ORDER BY audit_no", body.patient_id
    )
    return [(row["event"], row["detail"]) for row in rows]


async def test_the_audit_trail_names_the_operation(body: Body, pair: Pair) -> None:
    await body.cgm()
    await post(await pair())
    ((event, detail),) = await events(body)
    assert event == Event.DATA_READ
    assert detail["interaction"] == "operation"
    assert CGM in str(detail)
    assert not any(miv in str(detail) for miv in (GLUCOSE, "blood-pressure-value", "lung-function-testing"))


async def test_a_token_for_other_data_is_refused(body: Body, pair: Pair) -> None:
    await body.cgm()
    status, outcome = await post(await pair(GLUCOSE))
    assert (status, outcome["resourceType"]) == (404, "OperationOutcome")


async def test_a_withdrawn_consent_is_refused_while_others_last(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM, GLUCOSE)
    await body.core.pool.execute(
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1 AND miv_url = $2",
        body.patient_id, body.miv(CGM).valueset,
    )  # fmt: skip
    assert (await post(diga))[0] == 404
    assert (await events(body))[-1][0] == Event.DATA_REFUSED
    assert (await diga.get("Observation")).status_code == 200


async def test_grace_period(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM, GLUCOSE)
    assert (await diga.get(PATH)).status_code == 200
    again = await diga.get(PATH)
    assert (again.status_code, again.json()["issue"][0]["code"]) == (429, "throttled")
    assert again.headers["retry-after"] == "900"
    assert (await diga.get("Observation?code=99504-3")).status_code == 429  # one period for both
    assert (await diga.get("Observation?code=2339-0")).status_code == 200  # of this MIV only


async def test_what_is_not_answered_does_not_count(body: Body, pair: Pair) -> None:
    diga = await pair(CGM)
    for _ in range(2):
        status, outcome = await post(diga)
        assert (status, outcome["issue"][0]["code"]) == (404, "not-found")
    assert (await post(diga, query="?foo=1"))[0] == 400
    await body.cgm()
    assert (await post(diga))[0] == 200


async def test_readings_beyond_the_historic_period_do_not_count(body: Body, pair: Pair) -> None:
    now_ms = body.core.clock()
    await body.cgm(days=32, started_ms=now_ms - 32 * DAY)
    diga = await pair(CGM)
    found = await numbers(diga, effectivePeriodStart="2020-01-01")
    assert found["active"] < 100
    # of the oldest day within the period, the readings from this time of day on
    assert found["days"] == 31


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"resourceType": "Parameters", "parameter": [{"name": "foo", "valueString": "x"}]}, "MSG_PARAM_UNKNOWN"),
        (
            {"resourceType": "Parameters", "parameter": [{"name": "effectivePeriodEnd", "valueDateTime": "x"}]},
            "MSG_PARAM_INVALID",
        ),
        ({"resourceType": "Parameters", "parameter": [{"valueString": "x"}]}, "MSG_BAD_SYNTAX"),
        ({"resourceType": "Observation"}, "MSG_BAD_SYNTAX"),
        (b"{", "MSG_BAD_SYNTAX"),
    ],
)
async def test_refused_parameters(pair: Pair, content: Any, code: str) -> None:
    status, outcome = await post(await pair(CGM), content, **{"content-type": "application/fhir+json"})
    (issue,) = outcome["issue"]
    assert (status, issue["severity"], issue["code"]) == (400, "error", "invalid")
    assert issue["details"]["coding"][0]["code"] == code


async def test_bodies_that_are_no_parameters_are_refused(pair: Pair) -> None:
    diga = await pair(CGM)
    assert (await post(diga, b"related=true", **{"content-type": "application/x-www-form-urlencoded"}))[0] == 415
    assert (await post(diga, b"x" * 70_000, **{"content-type": "application/fhir+json"}))[0] == 413
    assert (await post(diga, query="?_format=csv"))[0] == 406


@pytest.mark.parametrize("path", ["$hddt-cgm-summary", "Observation/x/$hddt-cgm-summary", "Device/$hddt-cgm-summary"])
async def test_the_operation_is_at_the_type_observation_only(pair: Pair, path: str) -> None:
    diga = await pair(CGM)
    response = await diga.client.post(f"/fhir/{path}", headers={"authorization": f"Bearer {diga.token}"})
    assert response.status_code == 404


async def test_the_operation_takes_get_and_post_only(pair: Pair) -> None:
    diga = await pair(CGM)
    response = await diga.client.put(f"/fhir/{PATH}", headers={"authorization": f"Bearer {diga.token}"})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_content_and_query_are_read_together(body: Body, pair: Pair) -> None:
    await body.cgm()
    end = date_time(body.core.clock() - DAY)
    parameters = [{"name": "effectivePeriodEnd", "valueDateTime": end}]
    _, report = await post(await pair(CGM), {"resourceType": "Parameters", "parameter": parameters}, "?related=true")
    assert len(report["entry"]) == 9
    assert report["entry"][0]["resource"]["effectivePeriod"]["end"] == end[:10]
    assert parse_instant(report["timestamp"]) == body.core.clock()
