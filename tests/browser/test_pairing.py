"""A patient pairs in a real browser: by phone and desktop, in German and English, without JavaScript."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page

from tests.browser.conftest import Site, Window, focused, shoot
from tests.support.clock import Clock
from tests.support.patients import PASSWORD, add_device, record_read

pytestmark = pytest.mark.browser

CGM, PRESSURE = "continuous-glucose-measurement", "blood-pressure-value"
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
VISITS = {
    "phone-de": PHONE | {"locale": "de-DE"},
    "phone-en": PHONE | {"locale": "en-GB", "color_scheme": "dark"},
    "desktop-de": DESKTOP | {"locale": "de-DE", "color_scheme": "dark"},
    "desktop-en": DESKTOP | {"locale": "en-GB"},
}
WORDS = {
    "de": {"login": "Anmelden", "cgm": "Gewebezucker-Verlauf", "approve": "Auswahl erlauben", "deny": "Ablehnen"},
    "en": {"login": "Sign in", "cgm": "Continuous glucose values", "approve": "Allow selection", "deny": "Refuse"},
}


async def log_in(page: Page, site: Site) -> None:
    """Fill in the login form; the consent page follows."""
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url("**/consent?*")


def landed(page: Page) -> dict[str, str]:
    """The parameters that reached the DiGA."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


async def overflow(page: Page) -> Any:
    """How many pixels the page is wider than the window."""
    assert page.viewport_size is not None
    await page.wait_for_load_state()  # a page that is just coming has no element yet
    return max(0, await page.evaluate("document.documentElement.scrollWidth") - page.viewport_size["width"])


@pytest.mark.parametrize(
    "window, visit",
    [pytest.param(options | {"java_script_enabled": False}, name, id=name) for name, options in VISITS.items()],
    indirect=["window"],
)
async def test_partial_consent_without_javascript(site: Site, window: Window, visit: str) -> None:
    page, words = window.page, WORDS[visit[-2:]]
    await add_device(site.core, site.patient, "GlukoSense 7", CGM, "GS7-2206-0184")
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await shoot(page, f"login-{visit}")
    await log_in(page, site)
    await shoot(page, f"consent-{visit}")
    assert await overflow(page) == 0
    assert await page.locator("input[name=scope]:checked").count() == 0
    await page.reload()
    await page.get_by_label(words["cgm"], exact=True).check()
    await page.get_by_role("button", name=words["approve"]).click()
    await page.wait_for_url(f"{site.app}?*")
    assert set(landed(page)) == {"code", "state", "iss"}
    miv = site.core.catalog.by_name(CGM)
    assert miv is not None
    stored = "SELECT miv_url FROM consent WHERE patient_id = $1"
    assert [row["miv_url"] for row in await site.core.pool.fetch(stored, site.patient.patient_id)] == [miv.valueset]
    assert window.complaints == []
    assert window.hosts == {urlsplit(url).netloc for url in (site.base, site.diga.redirect_uri, site.app)}


async def test_refusal(site: Site, window: Window) -> None:
    await window.page.goto(await site.authorize_url(CGM))
    await log_in(window.page, site)
    await window.page.get_by_role("button", name="Ablehnen").click()
    await window.page.wait_for_url(f"{site.app}?*")
    assert landed(window.page) == {"error": "access_denied", "state": "st-1", "iss": site.base}
    assert window.complaints == []


async def test_allowing_nothing_leads_to_the_message(site: Site, window: Window) -> None:
    page = window.page
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await log_in(page, site)
    await page.get_by_role("button", name="Auswahl erlauben").click()
    assert "Sie haben nichts ausgewählt" in await page.get_by_role("alert").inner_text()
    await focused(page, "error")
    await shoot(page, "consent-nothing-chosen")
    await page.get_by_role("alert").get_by_role("link").click()
    await focused(page, "kind-1")


async def test_after_an_error_the_address_still_leads_to_the_request(site: Site, window: Window) -> None:
    """Phones load it again when they have dropped the tab: with it, the request of the DiGA must not be lost."""
    page = window.page
    await page.goto(await site.authorize_url(CGM))
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", "mistyped")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    await page.goto(page.url)
    assert site.diga.name in await page.locator("main").inner_text()
    await log_in(page, site)
    await page.get_by_role("button", name="Auswahl erlauben").click()
    await page.get_by_role("alert").wait_for()
    await page.goto(page.url)
    await page.get_by_role("button", name="Ablehnen").click()
    await page.wait_for_url(f"{site.app}?*")
    assert landed(page)["error"] == "access_denied"


async def test_by_keyboard_alone(site: Site, window: Window) -> None:
    page = window.page
    await page.goto(await site.authorize_url(CGM))
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Tab")
    await page.keyboard.type(site.patient.username)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/consent?*")
    for key in ("Tab", "Tab", "Space", "Tab", "Tab", "Enter"):
        await page.keyboard.press(key)
    await page.wait_for_url(f"{site.app}?*")
    assert "code" in landed(page)


@pytest.mark.parametrize("window", [{"viewport": {"width": 320, "height": 640}}], indirect=True)
async def test_all_of_the_period_can_be_read_on_a_narrow_phone(site: Site, window: Window) -> None:
    page = window.page
    await page.goto(await site.authorize_url(CGM))
    await log_in(page, site)
    await shoot(page, "consent-period-narrow")
    periods = await page.locator("#days-until li").all()
    assert len(periods) == await page.locator("#days option").count() == 3
    for one in periods:  # a list that opens cuts its lines off, in all browsers but one
        box = await one.bounding_box()
        assert box and box["x"] + box["width"] <= 320 and await one.is_visible()
        assert re.search(r" 20\d\d\)$", await one.inner_text())
    assert await overflow(page) == 0


async def test_what_is_agreed_to_can_be_printed(site: Site, window: Window) -> None:
    """Who reads better on paper, or wants to keep it, has all of the text: kinds of data, how long, what to know."""
    page = window.page
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await log_in(page, site)
    await page.emulate_media(media="print")
    texts = await page.locator("main h1, main h2, main p, main label, main li, main dd").all()
    assert len(texts) > 10
    assert [await one.inner_text() for one in texts if not await one.is_visible()] == []
    assert await page.locator("select").is_visible() and await page.locator("input[name=scope]").first.is_visible()
    assert not await page.locator(".decision").is_visible(), "nothing that can only be pressed"
    await shoot(page, "consent-print")


@pytest.mark.parametrize("window", VISITS.values(), ids=VISITS, indirect=True)
async def test_the_patients_pages(site: Site, window: Window, clock: Clock, request: pytest.FixtureRequest) -> None:
    page, visit = window.page, request.node.callspec.id
    await add_device(site.core, site.patient, "GlukoSense 7", CGM, "GS7-2206-0184")
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await log_in(page, site)
    for box in await page.locator("input[name=scope]").all():
        await box.check()
    await page.locator("button[value=approve]").click()
    await page.wait_for_url(f"{site.app}?*")
    pairing_id = "SELECT pairing_id FROM pairing WHERE patient_id = $1"
    pseudonym = await site.core.pool.fetchval(pairing_id, site.patient.patient_id)
    for _ in range(12):
        clock.advance(60)
        await record_read(site.core, site.patient, site.diga, CGM, pseudonym)
    for path, name in (("/me", "connections"), ("/me/access", "access"), ("/me/devices", "devices")):
        await page.goto(site.base + path)
        await shoot(page, f"{name}-{visit}")
        assert await overflow(page) == 0
    await page.goto(f"{site.base}/me")
    await page.locator("summary").click()
    await shoot(page, f"withdraw-{visit}")
    await page.locator("button[value=all]").click()
    await page.wait_for_url("**/me?withdrawn")
    await shoot(page, f"withdrawn-{visit}")
    alive = "SELECT count(*) FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL"
    assert await site.core.pool.fetchval(alive, site.patient.patient_id) == 0
    assert window.complaints == []


async def test_an_invalid_request_is_explained(site: Site, window: Window) -> None:
    response = await window.page.goto(f"{site.base}/oauth/authorize?client_id=x&request_uri=y")
    assert response is not None
    assert response.status == 400
    assert await window.page.get_by_role("heading").inner_text() == "Diese App ist hier nicht bekannt"
    await shoot(window.page, "error")


async def test_the_pages_cannot_be_framed(site: Site, window: Window) -> None:
    await window.page.goto(site.diga.redirect_uri)
    await window.page.set_content(f'<iframe src="{site.base}/login"></iframe>')
    frame = window.page.frames[-1]
    await frame.wait_for_load_state()
    assert await frame.locator("input").count() == 0
