"""Who is admitted: certificate, DiGA, token, pairing, consent, scope and MIV, each removed in turn (SCO-009)."""

from __future__ import annotations

from typing import Any

import pytest

from ddr.http.core import Core
from ddr.registries import follower
from ddr.scopes.diga import Diga
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, PRESSURE, Backend, Body, fhir_client, ids
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.trust import FakeTrust

PATHS = ["Observation", "Device", "DeviceMetric", "Observation/x", "Device/x/_history/1", "Patient", "nothing/at/all"]


async def refused(diga: Backend, path: str = "Observation") -> tuple[int, str]:
    response = await diga.get(path)
    return response.status_code, response.headers.get("www-authenticate", "")


def invalid(description: str) -> tuple[int, str]:
    return 401, f'Bearer error="invalid_token", error_description="{description}"'


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_without_a_token(pair: Pair, path: str) -> None:
    diga = await pair()
    for headers in ({}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer"}, {"authorization": diga.token}):
        response = await diga.client.get(f"/fhir/{path}", headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer realm="fhir"')


async def test_two_tokens_are_none(pair: Pair) -> None:
    diga = await pair()
    fields = [("authorization", f"Bearer {diga.token}")] * 2
    assert (await diga.client.get("/fhir/Device", headers=fields)).status_code == 401


@pytest.mark.parametrize("path", PATHS)
async def test_bad_tokens_are_told_apart(pair: Pair, path: str) -> None:
    diga = await pair()
    now = diga.core.clock() // 1000
    for token, description in (
        ("nonsense", "Token is not a signed JWT"),
        (diga.signed(iss="https://elsewhere.example"), "Invalid token issuer"),
        (diga.signed(exp=now), "The access token expired"),
        (diga.signed(nbf=now + 6), "Token cannot be used yet"),
    ):
        diga.token = token
        assert await refused(diga, path) == invalid(description)


async def test_another_connection_cannot_use_the_token(core: Core, pair: Pair) -> None:
    diga, other = await pair(), await pair()
    other.token = diga.token
    assert await refused(other) == invalid("The access token was issued to another client")
    for certificate in (None, b"unknown"):
        client = fhir_client(core, certificate)
        response = await client.get("/fhir/Device", headers={"authorization": f"Bearer {diga.token}"})
        assert response.status_code == 401
        assert "no DiGA of the DiGA directory" in response.headers["www-authenticate"]


async def test_an_inactive_diga_is_out(pair: Pair, trust: FakeTrust) -> None:
    diga = await pair()
    trust.add(Diga(**{**vars(diga.diga), "active": False}))
    assert await refused(diga) == invalid("The DiGA is not active in the DiGA directory")


async def test_an_old_directory_serves_nobody(pair: Pair, trust: FakeTrust) -> None:
    diga = await pair()
    trust.is_stale = True
    response = await diga.get("Observation")
    assert response.status_code == 503
    assert 0 < int(response.headers["retry-after"]) <= follower.RETRY_SECONDS  # it has been read again by then
    assert response.json()["issue"][0]["code"] == "transient"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pairing SET ended_ms = 1 WHERE patient_id = $1",
        "UPDATE token_grant SET revoked_ms = 1 WHERE patient_id = $1",
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1",
        # over several servers a worker relies on what it knows of the directory, and on the pairing itself
        pytest.param("DELETE FROM pairing_directory WHERE patient_id = $1", marks=one_server_only),
    ],
)
async def test_what_was_taken_back_is_over_at_once(body: Body, pair: Pair, statement: str) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    assert (await diga.get(f"Observation/{chunks[0]}")).status_code == 200
    await diga.core.pool.execute(statement, body.patient_id)
    for path in ("Observation", f"Observation/{chunks[0]}", "Device", "DeviceMetric?_count=0"):
        assert await refused(diga, path) == invalid("The access token was revoked")


async def test_consent_runs_out(pair: Pair, clock: Clock) -> None:
    diga = await pair()
    clock.advance(DAY / 1000)
    diga.token = diga.signed()
    assert await refused(diga) == invalid("The access token was revoked")


async def test_withdrawing_one_kind_leaves_the_other(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm()
    meter = await body.glucose_meter()
    value = await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(CGM, GLUCOSE)
    assert len(await diga.matches("Observation")) == 4
    await body.core.pool.execute(
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1 AND miv_url = $2",
        body.patient_id,
        body.miv(CGM).valueset,
    )
    assert await diga.matches("Observation") == [value]
    assert (await diga.get(f"Observation/{chunks[0]}")).status_code == 404
    assert await diga.matches("Device") == [body.core.ids.device(meter)]


async def test_a_miv_that_the_registry_takes_back_is_gone(body: Body, pair: Pair, trust: FakeTrust) -> None:
    await body.cgm()
    diga = await pair(CGM)
    trust.add(Diga(**{**vars(diga.diga), "valuesets": frozenset({body.miv(GLUCOSE).valueset})}))
    response = await diga.get("Observation")
    assert (response.status_code, "www-authenticate" in response.headers) == (404, False)


async def test_the_patient_is_that_of_the_token(core: Core, body: Body, pair: Pair) -> None:
    mine, other = await body.cgm(), Body(core)
    theirs = await other.cgm()
    diga, neighbour = await pair(CGM), await pair(CGM, of=other)
    assert await diga.matches("Observation") == mine[2]
    assert await neighbour.matches("Observation") == theirs[2]
    foreign = [
        f"Observation/{theirs[2][0]}",
        f"Device/{core.ids.device(theirs[0])}",
        f"DeviceMetric/{core.ids.metric(theirs[1])}",
        f"Observation/{theirs[2][0]}/_history/1",
    ]
    for path in foreign:
        assert (await neighbour.get(path)).status_code == 200
        await assert_unknown(diga, path)
    assert await diga.matches(f"Observation?_id={theirs[2][0]}") == []
    assert await diga.matches(f"DeviceMetric?source={core.ids.device(theirs[0])}") == []


async def assert_unknown(diga: Backend, path: str) -> None:
    reference = path.removesuffix("/_history/1")
    response = await diga.get(path)
    assert response.status_code == 404
    assert response.json()["issue"] == [
        {"severity": "error", "code": "processing", "diagnostics": f"Resource {reference} is not known"}
    ]


async def test_unknown_foreign_and_out_of_scope_look_the_same(body: Body, pair: Pair) -> None:
    device_no, epoch_no, chunks = await body.cgm()
    diga = await pair(GLUCOSE)
    encode = body.core.ids
    for path in (
        f"Observation/{chunks[0]}",
        f"Device/{encode.device(device_no)}",
        f"DeviceMetric/{encode.metric(epoch_no)}",
        "Observation/0",
        f"Observation/{encode.measurement(2**40)}",
        f"Device/{chunks[0]}",
    ):
        await assert_unknown(diga, path)


async def test_resource_scopes_are_needed(body: Body, pair: Pair) -> None:
    device_no, epoch_no, _ = await body.cgm()
    diga = await pair(CGM, device=False)
    for path in ("Device", f"Device/{body.core.ids.device(device_no)}"):
        assert (await diga.get(path)).status_code == 404
    assert (await diga.get(f"DeviceMetric/{body.core.ids.metric(epoch_no)}")).status_code == 200
    bundle = await diga.bundle("Observation?_include=Observation:device&_include:iterate=DeviceMetric:source")
    assert ids(bundle, "include") == [body.core.ids.metric(epoch_no)]


async def test_what_is_not_granted_ends_the_way_of_includes(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM, device_metric=False)
    bundle = await diga.bundle("Observation?_include=Observation:device&_include:iterate=DeviceMetric:source")
    assert ids(bundle, "include") == []
    assert (await diga.get("DeviceMetric")).status_code == 404


async def test_a_device_needs_an_authorised_observation(body: Body, pair: Pair) -> None:
    await body.cgm()
    meter, unused = await body.glucose_meter(), await body.glucose_meter()
    now_ms = body.core.clock()
    old = await body.glucose_meter()
    await body.measurement(GLUCOSE, "2339-0", now_ms, device_no=meter)
    await body.measurement(GLUCOSE, "2339-0", now_ms - 31 * DAY, device_no=old)
    diga = await pair(GLUCOSE)
    assert await diga.matches("Device") == [body.core.ids.device(meter)]
    assert await diga.matches("DeviceMetric") == []
    for hidden in (unused, old):
        await assert_unknown(diga, f"Device/{body.core.ids.device(hidden)}")


async def test_a_placeholder_anchors_its_device(body: Body, pair: Pair) -> None:
    device_no = await body.device()
    sensor_no = await body.sensor(device_no, CGM)
    epoch_no = await body.epoch(device_no, sensor_no, body.core.clock() - 3_600_000)
    diga = await pair(CGM)
    assert await diga.matches("Device") == [body.core.ids.device(device_no)]
    assert await diga.matches("DeviceMetric") == [body.core.ids.metric(epoch_no)]


async def events(diga: Backend) -> list[tuple[str, dict[str, Any]]]:
    rows = await diga.core.pool.fetch(
        "SELECT event, detail FROM audit WHERE client_id = $1 ORDER BY audit_no", diga.diga.client_id
    )
    return [(row["event"], row["detail"]) for row in rows]


async def test_every_call_is_recorded_with_the_pairing(body: Body, pair: Pair) -> None:
    diga = await pair(CGM)
    await diga.get("Observation")
    await diga.get("Observation")
    await diga.get("Device/x")
    diga.token = "nonsense"
    await diga.get("Device/x")
    valuesets = list(diga.diga.valuesets)
    assert await events(diga) == [
        ("diga:data:read", {"type": "Observation", "interaction": "search", "valuesets": valuesets}),
        ("diga:data:refused", {"type": "Observation", "interaction": "search", "reason": "grace-period"}),
        ("diga:data:read", {"type": "Device", "interaction": "read", "valuesets": []}),
        ("diga:data:refused", {"reason": "token-invalid"}),
    ]
    pairings = await diga.core.pool.fetch(
        "SELECT pairing_id, patient_id FROM audit WHERE client_id = $1 ORDER BY audit_no LIMIT 3", diga.diga.client_id
    )
    assert {tuple(row) for row in pairings} == {(diga.pairing_id, body.patient_id)}


async def test_a_further_page_is_told_as_of_the_kinds_that_its_search_asked_for(body: Body, pair: Pair) -> None:
    for minutes in range(3):
        await body.measurement(GLUCOSE, "2339-0", body.core.clock() - minutes * 60_000)
    diga = await pair(GLUCOSE, PRESSURE)
    own, every = [body.miv(GLUCOSE).valueset], sorted(diga.diga.valuesets)
    for query, told in (("?code=2339-0&_count=1", own), ("?_count=1", every)):
        await diga.rest()
        answer = await diga.bundle(f"Observation{query}")
        for _ in range(2):
            following = next(link["url"] for link in answer["link"] if link["relation"] == "next")
            answer = await diga.bundle(following.partition("/fhir/")[2])
            assert len(ids(answer)) == 1
        read = [sorted(detail["valuesets"]) for event, detail in await events(diga) if event == "diga:data:read"]
        assert read[-3:] == [told] * 3


async def test_a_value_that_is_read_by_its_id_is_told_as_of_its_kind(body: Body, pair: Pair, clock: Clock) -> None:
    now_ms = body.core.clock()
    value = await body.measurement(GLUCOSE, "2339-0", now_ms)
    old = await body.measurement(GLUCOSE, "2339-0", now_ms - 31 * DAY)
    diga = await pair(GLUCOSE, PRESSURE)
    own = [body.miv(GLUCOSE).valueset]
    for path, status, told in (
        (f"Observation/{value}", 200, own),
        (f"Observation/{value}/_history/1", 200, own),
        (f"Observation/{value}/_history/9", 404, own),
        (f"Observation/{old}", 404, []),
        ("Observation/x", 404, []),
    ):
        answer = await diga.get(path)
        assert answer.status_code == status, answer.text
        event, detail = (await events(diga))[-1]
        assert (event, detail["valuesets"]) == ("diga:data:read", told), path
