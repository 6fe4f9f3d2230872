"""Paging shows every item once, whatever happens meanwhile; a link is useful to its owner only (RS-038)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from ddr.diga_api import search
from ddr.http.core import Core
from ddr.store.database.ask_there import fetch_of_patient
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, MINUTE, Backend, Body, ids
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.touched import touched


@pytest.fixture(params=["in the link", "stored"], autouse=True)
def rest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the keys of the further pages are stored."""
    if request.param == "stored":
        monkeypatch.setattr(search, "LONGEST_LINK", 0)


def following(bundle: dict[str, Any]) -> str | None:
    """The path of the next link below /fhir."""
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    url: str | None = links.get("next")
    return None if url is None else url.partition("/fhir/")[2]


async def pages(diga: Backend, path: str) -> list[dict[str, Any]]:
    found = [await diga.bundle(path)]
    while (link := following(found[-1])) is not None:
        found.append(await diga.bundle(link))
    return found


async def many(body: Body, count: int) -> list[str]:
    """Measurements of the last minutes, the newest first."""
    meter = await body.glucose_meter()
    now_ms = body.core.clock()
    return [
        await body.measurement(GLUCOSE, "2339-0", now_ms - n * MINUTE, str(80 + n), meter, updated_ms=now_ms - n)
        for n in range(count)
    ]


async def test_pages_join_to_the_whole(body: Body, pair: Pair) -> None:
    expected = await many(body, 10)
    diga = await pair(GLUCOSE)
    found = await pages(diga, "Observation?_sort=-date&_count=3&_include=Observation:device")
    assert [len(ids(page)) for page in found] == [3, 3, 3, 1]
    assert [logical_id for page in found for logical_id in ids(page)] == expected
    assert {page["total"] for page in found} == {10}
    assert all(len(ids(page, "include")) == 1 for page in found)


@one_server_only
async def test_the_keys_of_a_page_are_hashed(body: Body, pair: Pair) -> None:
    """Each value was compared with each key: of 20,000 values a page of 200 took seconds, and one of 1,000 was 503."""
    await many(body, 3)
    diga = await pair(GLUCOSE)
    link = following(await diga.bundle("Observation?_count=1")) or ""
    asked: list[tuple[Any, ...]] = []

    async def noted(pool: Any, *arguments: Any) -> list[Any]:
        asked.append(arguments)
        return await fetch_of_patient(pool, *arguments)

    with patch("ddr.store.search.pages.fetch_of_patient", noted):
        await diga.bundle(link)
    ((text, *arguments),) = asked
    plan = await body.core.pool.fetch(f"EXPLAIN {text}", *arguments)
    assert any(re.search(r"hashed SubPlan \d+\) IS TRUE", row[0]) for row in plan)


async def test_the_self_link_says_how_large_the_page_was_at_most(body: Body, pair: Pair) -> None:
    core, diga = body.core, await pair(GLUCOSE)
    core.settings = replace(core.settings, search_max_count=2)
    await many(body, 3)
    bundle = await diga.bundle("Observation?_count=5000&_format=json")
    links = {link["relation"]: link["url"].partition("/fhir/")[2] for link in bundle["link"]}
    assert (links["self"], len(ids(bundle))) == ("Observation?_count=2&_format=json", 2)


async def test_the_self_link_of_a_later_page_lacks_what_was_added_to_it(body: Body, pair: Pair) -> None:
    await many(body, 3)
    diga = await pair(GLUCOSE)
    link = following(await diga.bundle("Observation?_count=2&_format=json")) or ""
    for added in ("", "&_count=50", "&_summary=count", "&_elements=id", "&_total=none"):
        bundle = await diga.bundle(link + added)
        links = {link["relation"]: link["url"].partition("/fhir/")[2] for link in bundle["link"]}
        assert (links["self"], bundle["total"]) == (link, 3), added


async def test_a_page_that_holds_all_has_no_next(body: Body, pair: Pair) -> None:
    await many(body, 3)
    diga = await pair(GLUCOSE)
    assert following(await diga.bundle("Observation?_count=3")) is None


async def test_count_zero_only_counts(body: Body, pair: Pair) -> None:
    await many(body, 3)
    diga = await pair(GLUCOSE)
    bundle = await diga.bundle("Observation?_count=0")
    assert (bundle["total"], "entry" in bundle, following(bundle)) == (3, False, None)
    await diga.rest()
    empty = await diga.bundle("Observation?code=unknown&_count=0")
    assert empty["total"] == 0


async def test_new_and_changed_data_neither_repeat_nor_hide_an_item(body: Body, pair: Pair) -> None:
    expected = await many(body, 9)
    diga = await pair(GLUCOSE)
    page = await diga.bundle("Observation?_sort=-_lastUpdated&_count=2")
    found = ids(page)
    for step in range(4):
        now_ms = body.core.clock()
        await body.measurement(GLUCOSE, "2339-0", now_ms - step, updated_ms=now_ms + step)
        number = body.core.ids.decode(expected[8 - step])
        assert number is not None
        await body.core.pool.execute(
            "UPDATE measurement SET updated_ms = $3, effective_ms = $3 WHERE patient_id = $1 AND measurement_no = $2",
            body.patient_id, number[1], now_ms + step,
        )  # fmt: skip
        page = await diga.bundle(following(page) or "")
        found += ids(page)
    assert found == expected
    assert following(page) is None


async def test_paging_does_not_count_towards_the_grace_period(body: Body, pair: Pair) -> None:
    await many(body, 4)
    diga = await pair(GLUCOSE)
    assert len(await pages(diga, "Observation?_count=1")) == 4
    assert (await diga.get("Observation")).status_code == 429


async def test_other_types_are_paged_too(body: Body, pair: Pair) -> None:
    for _ in range(5):
        await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair(GLUCOSE)
    found = await pages(diga, "Device?_count=2&_sort=_id")
    assert [len(ids(page)) for page in found] == [2, 2, 1]
    assert len({logical_id for page in found for logical_id in ids(page)}) == 5


async def test_links_keep_the_representation(body: Body, pair: Pair) -> None:
    await many(body, 2)
    diga = await pair(GLUCOSE)
    bundle = await diga.bundle("Observation?_count=1&_format=json&_pretty=true")
    assert "&_format=json&_pretty=true" in (following(bundle) or "")


async def test_links_are_of_no_use_to_others(core: Core, body: Body, pair: Pair) -> None:
    await many(body, 4)
    diga, same_patient, other_patient = await pair(GLUCOSE), await pair(GLUCOSE), await pair(GLUCOSE, of=Body(core))
    link = following(await diga.bundle("Observation?_count=1")) or ""
    again = following(await diga.bundle(link)) or ""
    assert link != again
    for thief in (same_patient, other_patient):
        response = await thief.get(link)
        assert (response.status_code, response.json()["issue"][0]["severity"]) == (400, "error")
    for forged in (link[:-2] + ("AA" if link[-2:] != "AA" else "BB"), "Observation?_page=", "Observation?_page=%00ä"):
        assert (await diga.get(forged)).status_code == 400
    for changed in (f"{link}&code=x", f"{link}&_page=x", link.replace("Observation", "Device")):
        assert (await diga.get(changed)).status_code == 400


async def test_links_expire(body: Body, pair: Pair, clock: Clock) -> None:
    await many(body, 2)
    diga = await pair(GLUCOSE)
    link = following(await diga.bundle("Observation?_count=1")) or ""
    clock.advance(body.core.settings.page_link_seconds)
    diga.token = diga.signed()
    assert (await diga.get(link)).status_code == 410


async def test_a_link_shows_no_more_than_is_still_allowed(body: Body, pair: Pair) -> None:
    await body.cgm()
    meter = await body.glucose_meter()
    value = await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=meter)
    diga = await pair(CGM, GLUCOSE)
    link = following(await diga.bundle("Observation?_count=1&_sort=date")) or ""
    await body.core.pool.execute(
        "UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1 AND miv_url = $2",
        body.patient_id,
        body.miv(CGM).valueset,
    )
    rest = [logical_id for page in await pages(diga, link) for logical_id in ids(page)]
    assert rest == [value]


async def test_a_link_outlives_a_chunk(body: Body, pair: Pair, clock: Clock) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    link = following(await diga.bundle("Observation?_count=1&_sort=date")) or ""
    await body.core.pool.execute("DELETE FROM chunk WHERE patient_id = $1 AND k = 1", body.patient_id)
    clock.advance(DAY / 1000 / 100)
    diga.token = diga.signed()
    found = [logical_id for page in await pages(diga, link) for logical_id in ids(page)]
    assert found == chunks[2:]


@pytest.mark.parametrize("rest", ["in the link"], indirect=True)
@pytest.mark.parametrize("days", [30, 400])
async def test_a_search_for_the_newest_chunk_stores_nothing(body: Body, pair: Pair, days: int) -> None:
    terms, valueset = body.core.catalog.terms, body.miv(CGM).valueset
    terms[valueset] = replace(terms[valueset], historic_days=days)
    _, _, chunks = await body.cgm(days)
    diga = await pair(CGM)
    async with touched(body.core.pool, "search_rest") as work:
        bundle = await diga.bundle("Observation?_sort=-date&_count=1")
    assert (work.written, work.blocks) == (0, 0)
    link = following(bundle)
    assert link is not None
    assert len(link) < 700
    assert len(ids(await diga.bundle(link))) == 1
    await diga.rest()
    found = await pages(diga, "Observation?_sort=-date&_count=50")
    assert [logical_id for page in found for logical_id in ids(page)] == chunks[::-1]
