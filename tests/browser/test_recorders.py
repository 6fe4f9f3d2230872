"""Two recorders of one installation in one browser: each in its operator's design, and nothing of one at the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from playwright.async_api import Page, Request

from ddr.http.clock import now_ms
from ddr.settings import Settings
from ddr.store.database.pool import open_pool
from ddr.store.patients.accounts import create_patient
from tests.browser.conftest import Window
from tests.browser.test_accessibility import check
from tests.browser.test_pairing import overflow
from tests.browser.test_representation import VISITS
from tests.cli.test_recorders import Installation
from tests.support.database import fresh_database
from tests.support.patients import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#8a1c5c" d="M12 2a8 8 0 0 1 8 8c0 5-8 12-8'
    ' 12S4 15 4 10a8 8 0 0 1 8-8z"/></svg>'
)
LOOKS = {
    "glucose": {"name": "Zuckerwerk Medizintechnik GmbH", "colour": "#00557f", "child": "Mathilda"},
    "pressure": {"name": "Hoffmann &amp; Töchter KG", "colour": "#8a1c5c", "child": "Kasimir"},
}
TWO = {name: VISITS[name] for name in ("phone-de", "desktop-en")}
WITHDRAW = {"de": "Zustimmung widerrufen", "en": "Withdraw the consent"}
PATHS = ("/me", "/me/representation", "/me/research", "/nowhere")


class House(Installation):
    """Two recorders with two workers each; the same mother has an account at both, and another child at each."""

    def base(self, name: str) -> str:
        """Where browsers find one. Chromium knows that names below localhost are this machine."""
        return f"https://{name}.localhost:{self.settings[name]['public_port']}"

    def furnish(self, name: str) -> None:
        """Its file."""
        look = LOOKS[name]
        self.write(name)
        more = {"operator_logo": self.folder / "logo.svg"} if name == "pressure" else {}
        self.write(
            name,
            workers=2,
            public_base_url=self.base(name),
            operator_name=look["name"].replace("&amp;", "&"),
            operator_colour=look["colour"],
            operator_imprint_url=f"https://www.{name}.example/impressum",
            operator_privacy_url=f"https://www.{name}.example/datenschutz",
            operator_contact=f"hilfe@{name}.example",
            research=name == "glucose",
            **more,
        )

    async def people(self, name: str, settings: Settings) -> None:
        """A mother and her child."""
        async with await open_pool(replace(settings, database_url=self.database, database_schema=name)) as pool:
            for username in ("mutter", "kind"):
                await create_patient(pool, username, PASSWORD, now_ms())
        terms = ("--relation", "parent", "--name", LOOKS[name]["child"], "--born", "2018-05-01")
        done = await asyncio.to_thread(
            self.command, "--recorder", name, "patient", "proxy", "add", "mutter", "kind", *terms
        )
        assert done[0] == 0, done


@pytest.fixture(scope="module")
async def house(
    database_url: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    async with fresh_database(database_url) as url:
        found = House(tmp_path_factory.mktemp("house"), url)
        (found.folder / "logo.svg").write_text(LOGO)
        for name in LOOKS:
            found.furnish(name)
        found.start()
        try:
            await asyncio.to_thread(found.workers, *LOOKS)
            for name in LOOKS:
                await found.people(name, settings)
            yield found
        finally:
            await asyncio.to_thread(found.running.stop)


def note_host(tab: Window, sent: Request) -> None:
    """Whom the page asks for something."""
    tab.hosts.add(sent.url.partition("://")[2].partition("/")[0])


async def enter(page: Page, base: str) -> None:
    """Log the mother in."""
    await page.goto(f"{base}/login")
    await page.fill("input[name=username]", "mutter")
    await page.fill("input[name=password]", PASSWORD)


@pytest.mark.parametrize("window", TWO.values(), ids=TWO, indirect=True)
async def test_two_recorders_in_one_browser(house: House, window: Window, request: pytest.FixtureRequest) -> None:
    visit, context = request.node.callspec.id, window.page.context
    dark = "en" in visit  # as VISITS has it
    tabs = {name: Window(await context.new_page(), [], set()) for name in LOOKS}
    for name, tab in tabs.items():
        page, look, base = tab.page, LOOKS[name], house.base(name)
        page.on("request", partial(note_host, tab))
        await enter(page, base)
        await check(tab, f"recorders-{name}-login-{visit}")
        red, green, blue = (int(look["colour"][at : at + 2], 16) for at in (1, 3, 5))
        button = page.locator("button.main")
        shown = await button.evaluate("one => getComputedStyle(one).backgroundColor")
        assert (shown == f"rgb({red}, {green}, {blue})") is not dark
        await button.click()
        await page.wait_for_url("**/me/person")
        await check(tab, f"recorders-{name}-person-{visit}")
    for name, tab in tabs.items():  # both are logged in at once
        page, base = tab.page, house.base(name)
        await page.get_by_role("button", name=LOOKS[name]["child"]).click()
        await page.wait_for_url("**/me")
        for path in PATHS:
            await page.goto(base + path)
            await check(tab, f"recorders-{name}{path.replace('/', '-')}-{visit}")
            assert await overflow(page) == 0
            content = await page.content()
            assert LOOKS[name]["name"] in content and f"https://www.{name}.example/impressum" in content
            for other, strange in LOOKS.items():
                if other != name:
                    assert not any(word in content for word in (strange["name"], strange["child"], f"{other}.example"))
        assert tab.hosts == {base.removeprefix("https://")}
    page = tabs["glucose"].page
    await page.goto(f"{house.base('glucose')}/me/research")
    if await page.get_by_role("checkbox").count():  # of an earlier visit the consent is still there
        await page.get_by_role("checkbox").check()
        await page.locator("main button").click()
    await page.get_by_role("button", name=WITHDRAW[visit[-2:]]).click()
    await page.get_by_role("checkbox").wait_for()
    await tabs["pressure"].page.goto(f"{house.base('pressure')}/me")
    await tabs["pressure"].page.locator("footer button").click()
    await tabs["pressure"].page.wait_for_url("**/login?bye=1")
    await tabs["glucose"].page.goto(f"{house.base('glucose')}/me")
    assert tabs["glucose"].page.url.endswith("/me"), "whoever leaves one is still at the other"
