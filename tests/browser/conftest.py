"""A real Chromium in front of the public listener's pages, and a DiGA for it to return to."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, async_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ddr.demo.certs import authority, server_certificate
from ddr.demo.server import serving
from ddr.http.asgi import ASGIApp
from ddr.http.core import Core
from ddr.http.guard import by_path
from ddr.oauth.app import create_oauth_public
from ddr.operations.status.app import PATHS as STATUS_PATHS
from ddr.operations.status.app import create_status
from ddr.patient_pages.app import create_consent
from ddr.scopes.diga import Diga
from tests.support.patients import Patient, list_diga, new_patient, push_request

PATIENCE_MS = 120_000  # of whoever waits for the browser on a busy machine
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Site:
    """The recorder as a patient reaches it, and a DiGA that asks for data."""

    core: Core
    base: str
    diga: Diga
    app: str  # where a patient ends up after the decision
    patient: Patient

    async def authorize_url(self, *names: str) -> str:
        """Where the DiGA sends the browser after pushing a request for the MIVs with these package names."""
        request_uri = await push_request(self.core, self.diga, *names)
        return f"{self.base}/oauth/authorize?client_id={quote(self.diga.client_id)}&request_uri={quote(request_uri)}"


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser process for all tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        yield browser
        await browser.close()


def diga_backend() -> Starlette:
    """The DiGA's redirect_uri, which sends the browser on to another origin: the app."""

    async def callback(request: Request) -> Response:
        return RedirectResponse(f"https://127.0.0.1:{request.url.port}/app?{request.url.query}", 302)

    async def app(request: Request) -> Response:
        return PlainTextResponse("Zurück in der App")

    return Starlette(routes=[Route("/callback", callback), Route("/{path:path}", app)])


@pytest.fixture
async def site(core: Core, tmp_path: Path) -> AsyncIterator[Site]:
    """Both servers on free ports, over TLS."""
    pair = server_certificate(tmp_path, authority(tmp_path))
    others: dict[str, ASGIApp] = {
        "/oauth": create_oauth_public(core),
        **dict.fromkeys(STATUS_PATHS, create_status(core)),
    }
    public = by_path(others, create_consent(core))
    async with serving(diga_backend(), pair) as diga_port, serving(public, pair) as port:
        diga = list_diga(core, redirect_uri=f"https://localhost:{diga_port}/callback")
        core.settings = replace(core.settings, public_base_url=f"https://localhost:{port}")
        app = f"https://127.0.0.1:{diga_port}/app"
        yield Site(core, core.settings.public_base_url, diga, app, await new_patient(core))


@dataclass(frozen=True)
class Window:
    """A page and what the browser complained about while it was open."""

    page: Page
    complaints: list[str]
    hosts: set[str]


@pytest.fixture
async def window(chromium: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Window]:
    """A private window; an indirect parameter holds options of the browser context."""
    options = {"locale": "de-DE", "ignore_https_errors": True} | getattr(request, "param", {})
    context = await chromium.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    opened = Window(page, [], set())
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("request", lambda sent: opened.hosts.add(sent.url.partition("://")[2].partition("/")[0]))
    yield opened
    await context.close()


async def focused(page: Page, name: str) -> None:
    """Wait until the element with this id has the focus, which a page gives when it is shown."""
    await page.locator(f"#{name}:focus").wait_for(state="attached")


async def shoot(page: Page, name: str) -> None:
    """Wait for a page that is just coming; its picture goes below $DDR_SCREENSHOTS, where that is set, for people."""
    await page.wait_for_load_state()  # until then a page may have no element to measure
    if folder := os.environ.get("DDR_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
