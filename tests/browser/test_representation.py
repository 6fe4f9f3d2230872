"""A mother connects a DiGA for her child in a real browser, with a second tab open for the other child."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ddr.store.authorization.pairings import alive
from ddr.store.authorization.representations import End, Relation, SetBy, end
from tests.browser.conftest import Site, Window, shoot
from tests.browser.test_accessibility import check
from tests.browser.test_pairing import CGM, DESKTOP, log_in, overflow
from tests.support.patients import PASSWORD, add_device, list_diga, new_patient, represent

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
VISITS = {
    "phone-de": PHONE | {"locale": "de-DE"},
    "phone-en": PHONE | {"locale": "en-GB", "color_scheme": "dark"},
    "desktop-de": DESKTOP | {"locale": "de-DE"},
    "desktop-en": DESKTOP | {"locale": "en-GB", "color_scheme": "dark"},
}
WORDS = {
    "de": {"approve": "Auswahl erlauben", "other": "Diese Seite war für jemand anderen", "keep": "Behalten"},
    "en": {"approve": "Allow selection", "other": "This page was for somebody else", "keep": "Keep"},
}


@pytest.mark.parametrize("window", VISITS.values(), ids=VISITS, indirect=True)
async def test_a_mother_with_two_children_and_two_tabs(
    site: Site, window: Window, request: pytest.FixtureRequest
) -> None:
    core, page, visit = site.core, window.page, request.node.callspec.id
    words, mother = WORDS[visit[-2:]], site.patient
    mia, ben = await new_patient(core, "mia"), await new_patient(core, "ben")
    right = await represent(core, mother, mia)
    await represent(core, mother, ben, "Ben", Relation.GUARDIAN)
    await add_device(core, mia, "GlukoSense 7", CGM, "GS7-1")
    await page.goto(await site.authorize_url(CGM))
    await page.fill("input[name=username]", mother.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url("**/me/person?*")
    await check(window, f"person-{visit}")
    assert await overflow(page) == 0
    await page.get_by_role("button", name="Mia").click()
    await page.wait_for_url("**/consent?*")
    await check(window, f"consent-for-{visit}")
    assert await overflow(page) == 0
    await page.locator("input[name=scope]").check()
    second = Window(await page.context.new_page(), [], set())
    tab = second.page
    await tab.goto(f"{site.base}/me/person")
    await tab.get_by_role("button", name="Ben").click()
    await tab.wait_for_url("**/me")
    await check(second, f"acting-{visit}")
    assert await overflow(tab) == 0
    await page.get_by_role("button", name=words["approve"]).click()
    await page.get_by_role("heading", name=words["other"]).wait_for()
    await shoot(page, f"other-person-{visit}")
    await page.go_back()
    await page.reload()
    await page.wait_for_url("**/me/person?*")
    await page.get_by_role("button", name="Mia").click()
    await page.locator("input[name=scope]").check()
    await page.get_by_role("button", name=words["approve"]).click()
    await page.wait_for_url(f"{site.app}?*")
    assert set(parse_qs(urlsplit(page.url).query)) == {"code", "state", "iss"}  # neither the name nor who acted
    assert len(await alive(core.pool, mia.patient_id, core.clock())) == 1
    assert [await alive(core.pool, one.patient_id, core.clock()) for one in (mother, ben)] == [[], []]
    for path, name in (
        ("/me/representation", "representation"),
        ("/me/access", "access-for"),
        ("/me/delete", "delete"),
    ):
        await tab.goto(site.base + path)
        await check(second, f"{name}-{visit}")
        assert await overflow(tab) == 0
    async with core.pool.acquire() as conn, conn.transaction():
        assert await end(conn, mia.patient_id, right, SetBy.OPERATOR, End.RELATION, core.clock())
    await tab.goto(f"{site.base}/me/data")
    await tab.wait_for_url("**/login")
    await tab.fill("input[name=username]", mia.username)
    await tab.fill("input[name=password]", PASSWORD)
    await tab.press("input[name=password]", "Enter")
    await tab.wait_for_url("**/me/review")
    await check(second, f"review-{visit}")
    assert await overflow(tab) == 0
    await tab.get_by_label(words["keep"]).check()
    await tab.locator("main button").click()
    await tab.wait_for_url("**/me")
    await tab.goto(f"{site.base}/me/access")
    await shoot(tab, f"access-of-child-{visit}")
    assert window.complaints == [message for message in window.complaints if "403" in message]


async def test_whoever_represents_nobody_sees_nothing_of_it(site: Site, window: Window) -> None:
    await window.page.goto(await site.authorize_url(CGM))
    await log_in(window.page, site)
    assert "Vertretung" not in await window.page.content()


LONG = "Donaudampfschifffahrtsgesellschaftskapitaen"
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("window", [{"viewport": {"width": 320, "height": 700}}], indirect=True)
async def test_no_long_word_widens_a_page(site: Site, window: Window) -> None:
    """An address for a name, a serial number: nobody has to scroll to the side on a small phone (WCAG 1.4.10)."""
    core, page = site.core, window.page
    mother = await new_patient(core, f"{LONG}@konto.example".lower())
    diga = list_diga(core, name=LONG, manufacturer=LONG, redirect_uri=site.diga.redirect_uri)
    for child in (LONG, "Mia"):
        await represent(core, mother, await new_patient(core, "child"), child)
    await add_device(core, mother, LONG, CGM, "GS7" * 15)
    await page.goto(await replace(site, diga=diga).authorize_url(CGM))
    await page.fill("input[name=username]", mother.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url("**/me/person?*")
    assert await page.evaluate(WIDER) == 0
    await page.locator("button[name=person]").first.click()
    await page.wait_for_url("**/consent?*")
    assert await page.evaluate(WIDER) == 0
    await page.locator("input[name=scope]").first.check()
    await page.locator("button[value=approve]").click()
    await page.wait_for_url(f"{site.app}?*")
    for path in ("/me", "/me/access", "/me/data", "/me/devices", "/me/representation", "/me/delete"):
        await page.goto(site.base + path)
        assert await page.evaluate(WIDER) == 0, path
