"""No page breaks a rule of WCAG 2.2 AA that axe-core can see, in light and dark."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe

from ddr.http.watch import RAISE_MS, Trouble
from ddr.operations.pairing import approve
from ddr.store.outages import notices
from ddr.store.outages.notices import Notice
from tests.browser.conftest import Site, Window, shoot
from tests.browser.test_pairing import CGM, PHONE, PRESSURE, log_in
from tests.support.patients import PASSWORD, add_device, list_diga, push_request

pytestmark = pytest.mark.browser

RULES: dict[str, Any] = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},  # axe leaves it out by itself
}
NAMELESS = "table:not([aria-label], [aria-labelledby])"  # which no rule of axe sees: people go from table to table
LIGHT, DARK = PHONE | {"color_scheme": "light"}, PHONE | {"color_scheme": "dark"}


async def check(window: Window, name: str) -> None:
    """The page as it stands has no violation."""
    await shoot(window.page, name)
    results = await Axe().run(window.page, options=RULES)
    assert results.response["violations"] == [], results.generate_report()
    assert await window.page.locator(NAMELESS).count() == 0


@pytest.mark.parametrize("window", [LIGHT, DARK], ids=["light", "dark"], indirect=True)
async def test_every_page_follows_the_rules(site: Site, window: Window) -> None:
    page = window.page
    await add_device(site.core, site.patient, "GlukoSense 7", CGM, "GS7-2206-0184")
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await page.fill("input[name=username]", "nobody")
    await page.fill("input[name=password]", "nothing")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    await check(window, "axe-login-wrong")
    await log_in(page, site)
    await check(window, "axe-consent")
    await page.locator("button[value=approve]").click()
    await page.get_by_role("alert").wait_for()
    await check(window, "axe-consent-error")
    await page.locator("input[name=scope]").first.check()
    await page.locator("button[value=approve]").click()
    await page.wait_for_url(f"{site.app}?*")
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await check(window, "axe-consent-again")
    await page.locator("input[name=scope]").last.check()
    await page.locator("button[value=approve]").click()
    await page.wait_for_url(f"{site.app}?*")
    for path in ("/me/access", "/me/devices", "/me/data", "/me/delete", "/nowhere", "/me"):
        await page.goto(site.base + path)
        await check(window, f"axe{path.replace('/', '-')}")
    await page.locator("summary").click()
    await check(window, "axe-withdraw")
    await page.locator("button[value=all]").click()
    await page.wait_for_url("**/me?withdrawn")
    await check(window, "axe-withdrawn")


async def test_devices_and_apps_of_one_name_are_told_apart(site: Site, window: Window) -> None:
    """A glucose sensor is worn for some days; the next one has its name."""
    for serial in ("GS7-2206-0184", "GS7-2206-0185"):
        await add_device(site.core, site.patient, "GlukoSense 7", CGM, serial)
    for number in ("00001", "00002"):
        diga = list_diga(site.core, number, manufacturer=f"Beispiel {number} GmbH")
        kinds = [miv.valueset for miv in site.core.catalog.mivs]
        assert await approve(site.core, await push_request(site.core, diga), site.patient.patient_id, kinds)
    await window.page.goto(f"{site.base}/login")
    await window.page.fill("input[name=username]", site.patient.username)
    await window.page.fill("input[name=password]", PASSWORD)
    await window.page.press("input[name=password]", "Enter")
    await window.page.wait_for_url("**/me")
    for path in ("/me", "/me/devices"):
        await window.page.goto(site.base + path)
        await check(window, f"axe-alike{path.replace('/', '-')}")


@pytest.mark.parametrize("window", [LIGHT, DARK], ids=["light", "dark"], indirect=True)
async def test_the_status_page_follows_them_too(site: Site, window: Window) -> None:
    now_ms, told = site.core.clock(), ("Repair", "Reparatur", "", "", "")
    site.core.watch.note([Trouble("a", "demoted", ["token"], "A fault", "Ein Fehler")], now_ms)
    site.core.watch.note([Trouble("a", "demoted", ["token"], "A fault", "Ein Fehler")], now_ms + RAISE_MS)
    until_ms = now_ms + 3_600_000
    await notices.add(
        site.core.pool, Notice("n", True, "unavailable", ["data"], now_ms, until_ms, *told, None, now_ms, now_ms)
    )
    for lang in ("de", "en"):
        await window.page.goto(f"{site.base}/status.html?lang={lang}")
        assert ("Reparatur" if lang == "de" else "Repair") in await window.page.locator("main").inner_text()
        await check(window, f"axe-status-{lang}")
    await site.core.pool.execute("DELETE FROM outage_notice WHERE notice = 'n'")
