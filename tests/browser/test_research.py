"""A patient agrees to research in a real browser, and withdraws; a mother does so for her child."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from ddr.http.core import Core
from ddr.store.authorization import research
from ddr.store.patients import research as store
from tests.browser.conftest import Site, Window, shoot
from tests.browser.test_accessibility import check
from tests.browser.test_pairing import overflow
from tests.browser.test_representation import LONG, VISITS, WIDER
from tests.support.patients import PASSWORD, new_patient, represent
from tests.support.volunteers import approved, moment

pytestmark = pytest.mark.browser

WORDS = {
    "de": {"link": "Forschung", "give": "Zustimmung speichern", "back": "Zustimmung widerrufen", "on": "Zugestimmt am"},
    "en": {"link": "Research", "give": "Save the consent", "back": "Withdraw the consent", "on": "Agreed on"},
}


@pytest.fixture
async def core(core: Core) -> Core:
    core.settings = replace(core.settings, research=True)
    return core


@pytest.mark.parametrize("window", VISITS.values(), ids=VISITS, indirect=True)
async def test_agree_and_take_it_back(site: Site, window: Window, request: pytest.FixtureRequest) -> None:
    page, visit = window.page, request.node.callspec.id
    words = WORDS[visit[-2:]]
    await page.goto(f"{site.base}/login")
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.get_by_role("link", name=words["link"], exact=True).click()
    await page.wait_for_url("**/me/research")
    await check(window, f"research-{visit}")
    assert await overflow(page) == 0
    await page.get_by_role("button", name=words["give"]).click()
    await page.get_by_role("alert").wait_for()
    await check(window, f"research-unticked-{visit}")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name=words["give"]).click()
    await page.get_by_text(words["on"]).wait_for()
    await check(window, f"research-given-{visit}")
    week = {site.patient.patient_id: {miv.valueset: {2900} for miv in site.core.catalog.mivs[:2]}}
    assert await store.note(site.core.pool, uuid4(), approved(), "Team Daten", week, moment(site.core))
    await page.goto(f"{site.base}/me/research")
    await page.get_by_text("University of Musterstadt").wait_for()
    await check(window, f"research-exported-{visit}")
    assert await overflow(page) == 0
    await page.get_by_role("button", name=words["back"]).click()
    await page.get_by_role("checkbox").wait_for()
    await check(window, f"research-withdrawn-{visit}")
    (consent,) = await research.of_patient(site.core.pool, site.patient.patient_id)
    assert (consent["ended_by"], consent["language"]) == ("patient", visit[-2:])
    assert all("422" in message for message in window.complaints)


async def test_a_mother_agrees_for_her_child(site: Site, window: Window) -> None:
    mia, page = await new_patient(site.core, "mia"), window.page
    await represent(site.core, site.patient, mia)
    await page.goto(f"{site.base}/login")
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.get_by_role("button", name="Mia").click()
    await page.get_by_role("link", name="Forschung", exact=True).click()
    await page.wait_for_url("**/me/research")
    await check(window, "research-for")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Zustimmung speichern").click()
    await page.get_by_text("hat ein Elternteil für Sie zugestimmt").wait_for()
    await shoot(page, "research-for-given")
    (consent,) = await research.of_patient(site.core.pool, mia.patient_id)
    assert consent["given_role"] == "parent" and not await research.of_patient(site.core.pool, site.patient.patient_id)


@pytest.mark.parametrize("window", [{"viewport": {"width": 320, "height": 700}}], indirect=True)
async def test_a_long_name_beside_a_box_does_not_widen_the_page(site: Site, window: Window) -> None:
    page = window.page
    await represent(site.core, site.patient, await new_patient(site.core, "child"), LONG)
    await page.goto(f"{site.base}/login")
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.get_by_role("button", name=LONG).click()
    await page.get_by_role("link", name="Forschung", exact=True).click()
    await page.wait_for_url("**/me/research")
    assert await page.evaluate(WIDER) == 0
