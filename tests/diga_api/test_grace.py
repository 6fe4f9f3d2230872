"""The Grace-Period: per pairing and MIV, counted from the last answered Observation search (OPS-012, OPS-028)."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from ddr.store.authorization.access import Admission, Permit, Request, admit
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, GLUCOSE, PRESSURE, Backend, Body
from tests.support.clock import Clock


async def status(diga: Backend, path: str = "Observation") -> int:
    return (await diga.get(path)).status_code


async def test_a_second_search_has_to_wait(pair: Pair, clock: Clock) -> None:
    diga = await pair(CGM)
    assert await status(diga) == 200
    clock.advance(300)
    response = await diga.get("Observation")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "600"
    assert response.json()["issue"] == [
        {
            "severity": "error",
            "code": "throttled",
            "diagnostics": "Rate limit exceeded. Please retry after the specified time.",
        }
    ]
    clock.advance(599)
    diga.token = diga.signed()
    assert await status(diga) == 429  # refused requests do not prolong it
    clock.advance(1)
    assert await status(diga) == 200


@pytest.mark.parametrize("back", [5, 60, 600, 86_400])
async def test_nobody_waits_for_a_clock_that_was_set_back_and_for_the_period(
    pair: Pair, clock: Clock, back: int
) -> None:
    """The same holds when another host with a fast clock gave the last response."""
    diga = await pair(CGM)
    assert await status(diga) == 200
    clock.advance(-back)
    diga.token = diga.signed()
    response = await diga.get("Observation")
    assert (response.status_code, response.headers["retry-after"]) == (429, "900")
    clock.advance(899)
    diga.token = diga.signed()
    assert await status(diga) == 429
    clock.advance(1)
    assert await status(diga) == 200
    clock.advance(899)
    diga.token = diga.signed()
    assert await status(diga) == 429, "the new answer counts from the time that is in force"


@pytest.mark.requirement("OPS-028")
async def test_only_observation_searches_count(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    for path in (
        "Device",
        "DeviceMetric",
        f"Observation/{chunks[0]}",
        "Observation?foo=1",
        "Observation/x",
        "metadata",
    ):
        for _ in range(2):
            assert await status(diga, path) != 429
    assert await status(diga) == 200
    for path in ("Device", "DeviceMetric", f"Observation/{chunks[0]}"):
        assert await status(diga, path) == 200


@pytest.mark.requirement("OPS-028")
@pytest.mark.parametrize("asked", ["", "code=99504-3&"])
async def test_further_pages_do_not_count(body: Body, pair: Pair, asked: str) -> None:
    """This holds for a search for one of two kinds, too: its link says what was asked for."""
    _, _, chunks = await body.cgm()
    diga = await pair(CGM, GLUCOSE)
    bundle = await diga.bundle(f"Observation?{asked}_count=1")
    for _ in chunks[1:]:
        (url,) = [one["url"] for one in bundle["link"] if one["relation"] == "next"]
        bundle = await diga.bundle(url.removeprefix(diga.core.settings.fhir_base + "/"))
    assert await status(diga) == 429


async def test_observations_do_not_come_round_by_revinclude(body: Body, pair: Pair) -> None:
    await body.cgm()
    diga = await pair(CGM)
    assert await status(diga) == 200
    assert await status(diga, "DeviceMetric?_revinclude=Observation:device") == 429
    assert await status(diga, "Device?_revinclude=DeviceMetric:source") == 200


@pytest.mark.requirement("OPS-028")
async def test_each_miv_counts_for_itself(pair: Pair, clock: Clock) -> None:
    diga = await pair(CGM, PRESSURE)
    assert await status(diga, "Observation?code=85354-9") == 200
    assert await status(diga, "Observation?code=99504-3") == 200
    clock.advance(300)  # the period of blood pressure
    assert await status(diga, "Observation?code=99504-3") == 429
    assert await status(diga, "Observation") == 429
    assert await status(diga, "Observation?code=85354-9") == 200  # the refused search for both claimed nothing
    assert await status(diga, "Observation?code=unknown") == 200  # asks for nothing that counts


@pytest.mark.requirement("OPS-028")
async def test_pairings_do_not_wait_for_each_other(pair: Pair) -> None:
    assert await status(await pair(CGM)) == 200
    assert await status(await pair(CGM)) == 200


async def test_of_many_at_once_one_is_answered(pair: Pair) -> None:
    diga = await pair(CGM, GLUCOSE)
    for _ in range(3):
        await diga.rest()
        paths = ["Observation", "Observation?code=99504-3,2339-0", "Observation?date=ge2026"] * 4
        found = await asyncio.gather(*(status(diga, path) for path in paths))
        assert sorted(found) == [200] + [429] * 11


async def test_overlapping_searches_never_both_get_the_same_miv(pair: Pair) -> None:
    diga = await pair(CGM, GLUCOSE)
    await status(diga, "Observation?code=unknown")
    paths = ["Observation?code=99504-3", "Observation?code=2339-0", "Observation"] * 3
    found = await asyncio.gather(*(status(diga, path) for path in paths))
    one, other, both = (sum(s == 200 for s in found[part::3]) for part in range(3))
    assert (one + both, other + both) in {(1, 1), (1, 0), (0, 1)}
    assert one + other + both >= 1


async def test_a_search_that_failed_leaves_the_former_period(body: Body, pair: Pair, clock: Clock) -> None:
    await body.cgm()
    diga = await pair(CGM)
    assert await status(diga) == 200
    clock.advance(900)
    diga.token = diga.signed()
    with patch("ddr.diga_api.search.first_page", side_effect=OSError):
        assert await status(diga) == 503
    answered = await diga.core.pool.fetchval("SELECT answered FROM grace WHERE patient_id = $1", body.patient_id)
    assert answered == {body.miv(CGM).valueset: clock() - 900_000}
    assert await status(diga) == 200


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_every_way_to_search_counts(pair: Pair, method: str) -> None:
    diga = await pair(CGM)
    path = "/fhir/Observation/_search" if method == "POST" else "/fhir/Observation"
    fields = {"authorization": f"Bearer {diga.token}"}
    assert (await diga.client.request(method, path, headers=fields)).status_code == 200
    assert await status(diga) == 429


async def test_to_claim_what_is_not_consented_is_to_claim_nothing(body: Body, pair: Pair, clock: Clock) -> None:
    diga, pool = await pair(CGM, GLUCOSE), body.core.pool
    ended, standing = (body.miv(kind).valueset for kind in (CGM, GLUCOSE))
    await pool.execute(
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1 AND miv_url = $2", body.patient_id, ended
    )

    async def asked(grace_ms: int | None) -> Admission:
        permits = [Permit(ended, grace_ms), Permit(standing, None)]
        names = diga.pairing_id, diga.grant_no, diga.diga.client_id
        return await admit(pool, Request(*names, permits, {}, clock(), clock()))

    await asked(None)  # and notes what it was the first to see
    plain = await asked(None)
    assert plain.standing is not None and set(plain.standing.consents) == {standing}
    assert await asked(600_000) == plain
    clock.advance(61)
    await asked(600_000)
    assert await pool.fetchval("SELECT read_ms FROM grace WHERE patient_id = $1", body.patient_id) == clock()
