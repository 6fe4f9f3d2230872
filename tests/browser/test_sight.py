"""Pages for people with poor eyesight: large letters in a small window, and the colours of their own system."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from playwright.async_api import Locator

from ddr.operations.pairing import approve
from ddr.settings_checks import luminance
from tests.browser.conftest import Site, Window, shoot
from tests.browser.test_data import fill, log_in
from tests.browser.test_pairing import CGM, PRESSURE, overflow
from tests.browser.test_pairing import log_in as on_to_consent
from tests.support.patients import push_request

pytestmark = pytest.mark.browser

HIGH_CONTRAST = {"forced_colors": "active", "viewport": {"width": 900, "height": 900}}
# 320 pixels; and 360 at twice the size of letters, which leaves a page as much room as half of them
NARROW = {str(width): {"viewport": {"width": width, "height": 640}} for width in (320, 180)}
BEYOND = """() => [...document.querySelectorAll(".card *:not(.scroll *, svg *, .aside *)")]
  .filter((one) => one.getBoundingClientRect().right > one.closest(".card").getBoundingClientRect().right + 0.5)
  .map((one) => one.outerHTML)"""


def contrast(one: str, other: str) -> float:
    """The contrast of two opaque colours, as browsers write them (WCAG 2.2)."""
    lighter, darker = sorted((luminance(_hex(one)), luminance(_hex(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _hex(colour: str) -> str:
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, colour
    return "#" + "".join(f"{int(part):02x}" for part in found.groups())


async def style(one: Locator, name: str) -> str:
    """What the browser made of a property."""
    found: str = await one.evaluate("(one, name) => getComputedStyle(one).getPropertyValue(name)", name)
    return found


@pytest.mark.parametrize("window", NARROW.values(), ids=NARROW, indirect=True)
async def test_large_letters_leave_all_values_on_the_page(site: Site, window: Window) -> None:
    """Nobody scrolls to the side, and no number stands beside its card (WCAG 1.4.4, 1.4.10)."""
    page = window.page
    await fill(site)
    await log_in(page, site)
    for path in ("/me", "/me/data", "/me/data/values", "/me/access", "/me/devices", "/me/delete"):
        await page.goto(site.base + path)
        for summary in await page.locator("summary").all():
            await summary.click()
        await shoot(page, f"narrow{path.replace('/', '-')}")
        assert await page.evaluate("document.querySelector('.skip').getBoundingClientRect().right") <= 0, path
        assert await page.evaluate(BEYOND) == [], path
        assert await overflow(page) == 0, path


@pytest.mark.parametrize(
    "window", [{"viewport": {"width": 360, "height": 740}, "bypass_csp": True}], ids=["phone"], indirect=True
)
async def test_letters_that_are_enlarged_alone_break_no_words(site: Site, window: Window) -> None:
    """As by the smallest size of letters that a browser is told to use: the window is as wide as before."""
    page = window.page
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    await page.add_style_tag(content=":root { font-size: 150%; }")
    await shoot(page, "enlarged-letters")
    card = await page.locator(".figures").bounding_box()
    assert card
    for name in await page.locator(".figures dt").all():
        box = await name.bounding_box()
        assert box and box["width"] > card["width"] / 2, await name.inner_text()
    assert await overflow(page) == 0


@pytest.mark.parametrize(
    "window", [{"viewport": {"width": 360, "height": 740}, "bypass_csp": True}], ids=["phone"], indirect=True
)
async def test_letters_of_twice_the_size_alone_widen_no_page(site: Site, window: Window) -> None:
    """As by the setting of a phone for its letters; the width that a stylesheet asks for stays (WCAG 1.4.4)."""
    page = window.page
    await fill(site)
    request_uri = await push_request(site.core, site.diga)
    kinds = [miv.valueset for miv in site.core.catalog.mivs]
    assert await approve(site.core, request_uri, site.patient.patient_id, kinds)
    await log_in(page, site)
    consent = await site.authorize_url()
    for path in ("/me", "/me/data", "/me/data/values", "/me/access", "/me/devices", "/me/delete", consent):
        await page.goto(path if path is consent else site.base + path)
        await page.add_style_tag(content=":root { font-size: 200%; }")
        for summary in await page.locator("summary").all():
            await summary.click()
        await shoot(page, f"twice{path.replace('/', '-')[:20]}")
        assert await overflow(page) == 0, path


@pytest.mark.parametrize("window", NARROW.values(), ids=NARROW, indirect=True)
async def test_large_letters_leave_all_of_the_consent_on_the_page(site: Site, window: Window) -> None:
    page = window.page
    await page.goto(await site.authorize_url(CGM, PRESSURE))
    await on_to_consent(page, site)
    for name in ("consent", "consent-error"):
        await shoot(page, f"narrow-{name}")
        assert await page.evaluate(BEYOND) == [], name
        assert await overflow(page) == 0, name
        await page.locator("button[value=approve]").click()
        await page.get_by_role("alert").wait_for()


@pytest.mark.parametrize(
    "window",
    [HIGH_CONTRAST | {"forced_colors": colours} for colours in ("none", "active")],
    ids=["usual", "high contrast"],
    indirect=True,
)
async def test_a_legend_shows_curves_as_they_are_drawn(site: Site, window: Window) -> None:
    """By colour alone a colour-blind patient, or a practice with a black printer, knows none of them (WCAG 1.4.1)."""
    await fill(site)
    await log_in(window.page, site)
    await window.page.goto(f"{site.base}/me/data")
    await shoot(window.page, "legend")
    seen = set()
    for name in ("c0", "c1"):
        key, curve = window.page.locator(f".legend path.{name}"), window.page.locator(f".chart path.{name}").first
        drawn = [await style(key, "stroke"), await style(key, "stroke-dasharray")]
        assert drawn == [await style(curve, "stroke"), await style(curve, "stroke-dasharray")]
        seen.add(drawn[1])
    assert len(seen) == 2


@pytest.mark.parametrize(
    "window",
    [HIGH_CONTRAST | {"color_scheme": scheme} for scheme in ("light", "dark")],
    ids=["light", "dark"],
    indirect=True,
)
async def test_charts_can_be_read_in_high_contrast(site: Site, window: Window) -> None:
    """Lines and letters stand out from the chart, keys tell curves apart, and what is chosen shows (WCAG 1.4.11)."""
    page = window.page
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    await shoot(page, "high-contrast")
    white = await style(page.locator(".chart").first, "background-color")
    for selector, name, least in (
        (".chart .median", "stroke", 3),
        (".chart path.c0", "stroke", 3),
        (".chart path.c1", "stroke", 3),
        (".chart text", "fill", 4.5),
    ):
        assert contrast(await style(page.locator(selector).first, name), white) >= least, selector
    ranges = [await style(one, "background-color") for one in await page.locator(".ranges .key").all()]
    assert all(one != other for one, other in combinations(ranges, 2))
    chosen = page.locator(".periods a[aria-current]")
    other = page.locator(".periods a:not([aria-current])").first
    assert await style(chosen, "background-color") != await style(other, "background-color")
    assert contrast(await style(chosen, "color"), await style(chosen, "background-color")) >= 4.5
    current = page.locator("header nav a[aria-current]")
    elsewhere = page.locator("header nav a:not([aria-current])").first
    assert await style(current, "border-bottom-color") != await style(elsewhere, "border-bottom-color")
