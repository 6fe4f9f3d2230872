"""The patient's values, the way out, and a login at the provider, in a real browser."""

from __future__ import annotations

import math
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Page

from ddr.demo.certs import authority, server_certificate
from ddr.demo.server import serving
from ddr.gateway import inside
from ddr.http.core import Core
from ddr.identity.provider import Provider
from ddr.patient_pages.app import create_consent
from tests.browser.conftest import Site, Window, shoot
from tests.browser.test_accessibility import DARK, LIGHT, check
from tests.browser.test_pairing import CGM, VISITS, overflow
from tests.diga_api.world import DAY, HOUR, Body
from tests.imports import samples
from tests.patient_pages.test_data import MIDNIGHT, meter, sensor
from tests.patient_pages.test_deletion import rows
from tests.support.clock import Clock
from tests.support.openid import PASSWORD as AT_THE_PROVIDER
from tests.support.openid import OpenIdProvider
from tests.support.patients import PASSWORD, record_read

pytestmark = pytest.mark.browser


def glucose(day: int, slot: int) -> int:
    """Something like a day: three meals, a calmer night, no two days alike."""
    hour = slot / 12
    meals = sum(70 * math.exp(-(((hour - at) / 1.4) ** 2)) for at in (8 + day % 3 / 2, 13, 19.5 - day % 2))
    return round(105 + meals * (0.7 + day % 4 / 5) + 14 * math.sin(slot / 9 + day) - 25 * math.exp(-((hour - 4) ** 2)))


async def fill(site: Site) -> None:
    """Two weeks of glucose with a gap, and some single values."""
    body, epoch_no = await sensor(site.core, site.patient)
    for k in range(15):
        slots = range(288 if k < 14 else 130)
        await body.chunk(epoch_no, k, MIDNIGHT - (14 - k) * DAY, [glucose(k, slot) for slot in slots])
    other = Body(site.core, site.patient.patient_id)
    device_no = await other.device("Pulsar")
    await meter(other, MIDNIGHT + 7 * HOUR, 112, device_no=device_no)
    for hour in (8, 20):
        await other.pressure(MIDNIGHT - DAY + hour * HOUR, 120 + hour, 70 + hour, device_no=device_no)


async def log_in(page: Page, site: Site) -> None:
    """To the patient's pages."""
    await page.goto(f"{site.base}/login")
    await page.fill("input[name=username]", site.patient.username)
    await page.fill("input[name=password]", PASSWORD)
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url("**/me")


async def test_the_sheet_for_the_practice(site: Site, window: Window) -> None:
    """On paper: who, when and from where; a heading stays with its chart, and nothing that can be pressed is left."""
    page = window.page
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    assert not await page.locator(".sheet").is_visible()
    await page.emulate_media(media="print")
    assert await page.locator(".sheet").is_visible()
    for gone in ("nav", "form", "button", "input[type=date]", "summary"):
        assert [await one.is_visible() for one in await page.locator(gone).all() if await one.is_visible()] == [], gone
    if folder := os.environ.get("DDR_SCREENSHOTS"):
        await page.pdf(path=Path(folder) / "data.pdf", prefer_css_page_size=True)


async def test_a_long_table_fills_its_sheets(site: Site, window: Window) -> None:
    """It begins below its heading, which had a sheet to itself, and breaks between rows."""
    body, page = Body(site.core, site.patient.patient_id), window.page
    device_no = await body.device("Pulsar")
    for hour in range(45):
        await meter(body, MIDNIGHT - hour * HOUR, 112, device_no=device_no)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data/values")
    printed = await page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


async def test_accesses_on_paper_have_all_their_times(site: Site, window: Window, clock: Clock) -> None:
    """What the page keeps behind a click cannot be pressed there."""
    page = window.page
    for _ in range(3):
        clock.advance(60)
        await record_read(site.core, site.patient, site.diga, CGM, "0" * 64)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/access")
    times = page.get_by_text("11:03, 11:02, 11:01")
    assert [await one.is_visible() for one in await times.all()].count(True) == 0
    await page.emulate_media(media="print")
    assert [await one.is_visible() for one in await times.all()].count(True) == 1
    await page.emulate_media(media="screen")
    await page.locator("summary").click()
    assert [await one.is_visible() for one in await times.all()].count(True) == 1
    await page.emulate_media(media="print")
    assert [await one.is_visible() for one in await times.all()].count(True) == 1


@pytest.mark.parametrize(
    "window", [options | {"java_script_enabled": False} for options in VISITS.values()], ids=VISITS, indirect=True
)
async def test_values_without_javascript(site: Site, window: Window, request: pytest.FixtureRequest) -> None:
    page, visit = window.page, request.node.callspec.id
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    assert await overflow(page) == 0
    await shoot(page, f"data-{visit}")
    for summary in await page.locator("summary").all():
        await summary.click()
    assert await overflow(page) == 0
    await shoot(page, f"data-tables-{visit}")
    await page.locator("nav.pages a").first.click()
    await page.locator("#day", has_text=re.compile(r"\b21\b")).wait_for()
    await page.fill("input[name=day]", "2026-11-20")
    await page.locator("form.choose button").click()
    await page.locator("#day", has_text=re.compile(r"\b20\b")).wait_for()
    assert "2026" not in page.url
    for name in ("messwerte.csv", "messwerte.json"):
        async with page.expect_download() as download:
            await page.locator(f"a[href='/me/data.{name.rpartition('.')[2]}']").click()
        assert (await download.value).suggested_filename == name
    assert window.complaints == []


BESIDE = """[...document.querySelectorAll("svg.chart text")].filter(text => {
  const box = text.getBBox(), all = text.ownerSVGElement.viewBox.baseVal
  return box.x < 0 || box.x + box.width > all.width
}).map(text => text.textContent)"""


@pytest.mark.parametrize("window", [VISITS["phone-de"]], indirect=True)
async def test_numbers_beside_a_chart_are_whole_on_a_phone(site: Site, window: Window) -> None:
    """Letters are larger there, and values in mmol/L longer."""
    page = window.page
    body, epoch_no = await sensor(site.core, site.patient, unit="mmol/L", decimals=1, code="105272-9")
    await body.chunk(epoch_no, 0, MIDNIGHT, [56, 78, 205, 90])
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    assert "10,0" in await page.locator("svg.chart text").all_text_contents()
    assert await page.evaluate(BESIDE) == []
    await shoot(page, "data-mmol-phone")


LETTERS = """[...document.querySelectorAll("svg.chart[role=img]")].map(chart => {
  const size = parseFloat(getComputedStyle(chart.querySelector("text")).fontSize)
  return size * chart.clientWidth / chart.viewBox.baseVal.width
})"""
TOUCHING = """[...document.querySelectorAll("svg.chart")].flatMap(chart => {
  const boxes = [...chart.querySelectorAll(".hour")].map(one => one.getBoundingClientRect()).filter(box => box.width)
  return boxes.slice(1).filter((box, at) => box.left < boxes[at].right + 4)
}).length"""


@pytest.mark.parametrize("window", [{"locale": "en-GB"}], ids=["en"], indirect=True)
async def test_letters_of_charts_can_be_read_at_any_width(site: Site, window: Window) -> None:
    """Charts shrink with the window, and their letters would with them."""
    page = window.page
    await fill(site)
    body = Body(site.core, site.patient.patient_id)
    for day in range(3):
        await meter(body, MIDNIGHT - day * DAY, 100)
    await log_in(page, site)
    for days in (7, 14, 90):
        await page.goto(f"{site.base}/me/data?days={days}")
        for width in (320, 360, 412, 481, 600, 673, 1280):
            await page.set_viewport_size({"width": width, "height": 700})
            assert min(await page.evaluate(LETTERS)) >= 12, width
            assert await page.evaluate(TOUCHING) == 0, (days, width)


@pytest.mark.parametrize("window", [LIGHT, DARK], ids=["light", "dark"], indirect=True)
async def test_the_pages_follow_the_rules(site: Site, window: Window) -> None:
    page = window.page
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    for summary in await page.locator("summary").all():
        await summary.click()
    await check(window, "axe-data")
    await page.goto(f"{site.base}/me/delete")
    await page.fill("input[name=password]", "not the password")
    await page.locator("button.danger").click()
    await page.get_by_role("alert").wait_for()
    await check(window, "axe-delete-wrong")


async def test_back_from_a_file_that_was_taken(site: Site, window: Window, tmp_path: Path) -> None:
    """There the browser would only ask whether to send the form again (ERR_CACHE_MISS)."""
    page, export = window.page, tmp_path / "export.csv"
    site.core.inside = partial(inside.call, site.core)
    export.write_text(samples.CLARITY)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/devices")
    await page.set_input_files("input[type=file]", export)
    await page.get_by_role("button", name="Ansehen").click()
    await page.wait_for_url("**/me/devices/file")
    await check(window, "file-looked-at")
    await page.get_by_role("button", name="Diese Werte übernehmen").click()
    await page.wait_for_url("**/me/devices/file/take")
    await check(window, "file-taken")
    await page.go_back()
    await page.wait_for_url("**/me/devices/file")
    await page.get_by_role("heading", name="Zuletzt übernommen").wait_for()
    await check(window, "file-looked-at-again")
    await page.get_by_role("button", name="Wieder zurücknehmen").click()
    await page.wait_for_url("**/me/devices?file-taken-back")
    assert window.complaints == []


@pytest.mark.parametrize("window", VISITS.values(), ids=VISITS, indirect=True)
async def test_deleting_everything(site: Site, window: Window, request: pytest.FixtureRequest) -> None:
    page, visit = window.page, request.node.callspec.id
    await fill(site)
    await log_in(page, site)
    await page.goto(f"{site.base}/me/data")
    await page.locator("a[href='/me/delete']").click()
    await page.wait_for_url("**/me/delete")
    await shoot(page, f"delete-{visit}")
    assert await overflow(page) == 0
    await page.fill("input[name=password]", PASSWORD)
    await page.locator("button.danger").click()
    await page.wait_for_url("**/deleted")
    await check(window, f"deleted-{visit}")
    assert (await rows(site.core.pool, site.patient.patient_id)).keys() == {"audit", "erased"}
    assert window.complaints == []


@dataclass(frozen=True)
class Accounts:
    """A recorder whose patients log in at a provider on another origin."""

    core: Core
    base: str


@pytest.fixture
async def accounts(oidc_core: Core, openid: OpenIdProvider, clock: Clock, tmp_path: Path) -> AsyncIterator[Accounts]:
    """Both on free ports, over TLS."""
    ca = authority(tmp_path)
    pair = server_certificate(tmp_path, ca)
    async with serving(openid.app(), pair) as provider_port, serving(create_consent(oidc_core), pair) as port:
        openid.issuer = f"https://127.0.0.1:{provider_port}"
        oidc_core.settings = replace(
            oidc_core.settings,
            public_base_url=f"https://localhost:{port}",
            oidc_issuer=openid.issuer,
            oidc_ca=str(ca.cert),
        )
        oidc_core.identity = Provider(oidc_core.settings, clock)
        # the application reads the core with each request
        yield Accounts(oidc_core, oidc_core.settings.public_base_url)


async def prove(page: Page) -> None:
    """Fill in the provider's form."""
    await page.fill("input[name=user]", "anna")
    await page.fill("input[name=secret]", AT_THE_PROVIDER)
    await page.get_by_role("button").click()


async def test_login_deletion_and_logout_at_the_provider(accounts: Accounts, window: Window) -> None:
    page = window.page
    for last in (False, True):
        await page.goto(f"{accounts.base}/login")
        await prove(page)
        await page.wait_for_url("**/me")
        assert "Angemeldet als anna" in await page.locator("footer").inner_text()
        if not last:
            await page.get_by_role("button", name="Abmelden").click()
            await page.wait_for_url("**/login?bye=1")
            await check(window, "axe-signed-out")
    await page.goto(f"{accounts.base}/me/delete")
    await shoot(page, "delete-confirm")
    await page.get_by_role("link", name="Weiter zur Anmeldung").click()
    await prove(page)
    await page.wait_for_url("**/me/delete")
    await check(window, "axe-delete-confirmed")
    await page.get_by_role("button", name="Endgültig löschen").click()
    await page.wait_for_url("**/deleted")
    assert window.complaints == []
