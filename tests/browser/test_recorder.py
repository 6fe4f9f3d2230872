"""The whole way with a running recorder of two workers: a DiGA asks, a patient agrees and withdraws in the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page

from ddr.demo.cast import GLUKOBUCH
from ddr.demo.diga_client import DigaRefused, Tokens
from ddr.demo.stack import DemoStack, Options
from tests.browser.conftest import Window

pytestmark = [pytest.mark.browser, pytest.mark.slow]


async def agree(page: Page, stack: DemoStack, url: str) -> str:
    """Open the DiGA's link, log in, allow the first of two kinds of data; the address that leads back to the DiGA."""
    patient = stack.patients[0]
    await page.goto(url)
    await page.fill("input[name=username]", patient.username)
    await page.fill("input[name=password]", patient.password)
    await page.press("input[name=password]", "Enter")
    await page.locator("input[name=scope]").first.check()
    async with page.expect_request(lambda request: request.url.startswith(GLUKOBUCH.redirect_uri)) as redirected:
        await page.locator("button[value=approve]").click()
    return (await redirected.value).url


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
        tokens = await diga.redeem(request, await agree(page, stack, request.url))
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
