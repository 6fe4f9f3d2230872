"""The whole way with a running recorder of two workers: a DiGA asks, a patient agrees and withdraws in the browser."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import pytest
from playwright.async_api import Page

from ddr.cli.main import main
from ddr.demo.accounts import Account
from ddr.demo.cast import GLUKOBUCH
from ddr.demo.diga_client import DigaRefused, Tokens
from ddr.demo.stack import DemoStack, Options
from tests.browser.conftest import Window

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def log_in(tab: Page, patient: Account, url: str) -> None:
    """Open the DiGA's link and log in."""
    await tab.goto(url)
    await tab.fill("input[name=username]", patient.username)
    await tab.fill("input[name=password]", patient.password)
    await tab.press("input[name=password]", "Enter")


async def allow_the_first(tab: Page) -> str:
    """Allow the first of several kinds of data; the address that leads back to the DiGA.

    The tab is closed then: nobody serves that address, and when the browser gives up looking for it is its own matter.
    """
    await tab.locator("input[name=scope]").first.check()
    async with tab.expect_request(lambda request: request.url.startswith(GLUKOBUCH.redirect_uri)) as redirected:
        await tab.locator("button[value=approve]").click()
    url = (await redirected.value).url
    await tab.close()
    return url


async def refused_everywhere(stack: DemoStack, tokens: Tokens) -> bool:
    """Every worker answers 401: each request has a connection of its own, which any of them may take."""
    for _ in range(10):
        async with stack.client(stack.certificate(GLUKOBUCH)) as http:
            headers = {"authorization": f"Bearer {tokens.access_token}"}
            response = await http.get(f"{stack.settings.fhir_base}/Device", headers=headers)
            if response.status_code != 401:
                return False
    return True


async def test_consent_and_withdrawal(window: Window, tmp_path: Path) -> None:
    page = window.page
    async with DemoStack(Options(state_dir=tmp_path, ports="auto", patients=2, workers=2)) as stack:
        diga = await stack.diga(GLUKOBUCH)
        request = await diga.push_request(stack.scopes(*GLUKOBUCH.mivs))
        tab = await page.context.new_page()
        await log_in(tab, stack.patients[0], request.url)
        tokens = await diga.redeem(request, await allow_the_first(tab))
        assert len([scope for scope in tokens.scopes if "Observation" in scope]) == 1
        await diga.search(tokens, "Device", {})
        await page.goto(f"{stack.settings.public_base_url}/me")
        assert "noch nie" not in await page.locator("main").inner_text()
        await page.locator("summary").click()
        await page.locator("button[value=all]").click()
        await page.wait_for_url("**/me?withdrawn")
        assert await refused_everywhere(stack, tokens)
        with pytest.raises(DigaRefused, match="invalid_grant"):
            await diga.refresh(tokens)


@pytest.mark.parametrize("window", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
async def test_a_mother_pairs_for_her_child(window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The DiGA reads the child's data under a pseudonym of the child's; the trail says who had allowed it."""
    page = window.page
    async with DemoStack(Options(state_dir=tmp_path, ports="auto", patients=2, workers=2)) as stack:
        monkeypatch.setenv("DDR_SETTINGS", str(tmp_path / "serve.toml"))
        mother, child = (patient.username for patient in stack.patients)
        terms = ["--relation", "parent", "--name", "Mia", "--born", f"{date.today().year - 9}-01-01"]
        assert await asyncio.to_thread(main, ["patient", "proxy", "add", mother, child, *terms]) == 0
        diga = await stack.diga(GLUKOBUCH)
        request = await diga.push_request(stack.scopes(*GLUKOBUCH.mivs))
        tab = await page.context.new_page()
        await log_in(tab, stack.patients[0], request.url)
        await tab.get_by_role("button", name="Mia").click()
        assert "Darf GlukoBuch die Daten von Mia lesen?" in await tab.get_by_role("heading", level=1).inner_text()
        tokens = await diga.redeem(request, await allow_the_first(tab))
        whose = "SELECT username FROM pairing_directory JOIN account USING (patient_id) WHERE pairing_id = $1"
        assert await stack.pool.fetchval(whose, tokens.pairing_id) == child
        await diga.search(tokens, "Device", {})
        await page.goto(f"{stack.settings.public_base_url}/me/access")
        assert "Ein Elternteil hat für Sie GlukoBuch erlaubt" in await page.locator("main").inner_text()
        assert await asyncio.to_thread(main, ["patient", "proxy", "end", mother, child]) == 0
        await page.goto(f"{stack.settings.public_base_url}/me")
        await page.wait_for_url("**/login")
        await diga.search(tokens, "Device", {})  # the connection stays until the child decides
