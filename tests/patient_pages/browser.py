"""A headless browser: keeps cookies, reads forms, follows no redirect by itself."""

from __future__ import annotations

import re
from functools import partial
from html.parser import HTMLParser
from typing import Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from ddr.gateway import inside
from ddr.http.core import Core
from ddr.patient_pages.app import create_consent
from ddr.patient_pages.visitor import COOKIE
from ddr.store.patients.sessions import Session, open_session
from tests.support.patients import PASSWORD, Patient

FORM = "application/x-www-form-urlencoded"


class _Inputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("input", "button"):
            self.all.append({"tag": tag, **dict(attrs)})


def inputs(html: str) -> list[dict[str, str | None]]:
    """Attributes of every input and button, in order."""
    parser = _Inputs()
    parser.feed(html)
    return parser.all


def form_token(html: str) -> str:
    """The token of the page's forms."""
    return next(str(field["value"]) for field in inputs(html) if field.get("name") == "form_token")


def choices(html: str) -> list[dict[str, str | None]]:
    """The checkboxes of the consent page."""
    return [field for field in inputs(html) if field.get("type") == "checkbox"]


def answer(response: httpx.Response) -> dict[str, str]:
    """The parameters that a redirect hands to the DiGA."""
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


def person(html: str, name: str) -> str:
    """What the button with this name on the page "/me/person" sends."""
    buttons = re.findall(r'<button class="card" name="person" value="([^"]+)">\s*<strong>(?:<bdi>)?([^<]*)<', html)
    return next(str(value) for value, said in buttons if said == name or (not name and value == "self"))


class Browser:
    """One patient's browser at the public listener."""

    def __init__(self, core: Core, lang: str = "de", address: str = "203.0.113.7") -> None:
        self.core = core
        core.inside = partial(inside.call, core)
        transport = httpx.ASGITransport(create_consent(core), client=(address, 40_000))
        self.http = httpx.AsyncClient(
            transport=transport, base_url="https://recorder.example", headers={"accept-language": lang}
        )

    async def get(self, path: str) -> httpx.Response:
        """GET without following redirects."""
        return await self.http.get(path)

    async def post(self, path: str, page: httpx.Response, *fields: tuple[str, str], **named: str) -> httpx.Response:
        """Send the form of `page` with these fields added."""
        body = urlencode([("form_token", form_token(page.text)), *fields, *named.items()])
        return await self.http.post(path, content=body, headers={"content-type": FORM})

    async def give_file(self, page: httpx.Response, content: bytes) -> httpx.Response:
        """Send the form with a file, and look at it."""
        fields, path = {"form_token": form_token(page.text)}, "/me/devices/file"
        answer = await self.http.post(path, data=fields, files={"file": ("export.csv", content)})
        return await self.get(answer.headers["location"]) if answer.status_code == 303 else answer

    async def login(self, patient: Patient, password: str = PASSWORD, request_uri: str = "") -> httpx.Response:
        """Open and send the login form."""
        page = await self.get(f"/login?{urlencode({'request_uri': request_uri})}")
        return await self.post("/login", page, username=patient.username, password=password, request_uri=request_uri)

    async def act_for(self, name: str, request_uri: str = "") -> httpx.Response:
        """Choose the person who is called so; "" for oneself."""
        page = await self.get(f"/me/person?{urlencode({'request_uri': request_uri})}" if request_uri else "/me/person")
        return await self.post("/me/person", page, person=person(page.text, name), request_uri=request_uri)

    async def logged_in(self, patient: Patient) -> Self:
        """This browser with a session of the patient: the login without its form."""
        cookie = await open_session(self.core.pool, Session(patient.patient_id, patient.username), self.core.clock())
        self.http.cookies.set(COOKIE, cookie, domain="recorder.example", path="/")
        return self

    async def consent_page(self, request_uri: str) -> httpx.Response:
        """Open the consent page."""
        return await self.get(f"/consent?{urlencode({'request_uri': request_uri})}")

    async def decide(self, request_uri: str, decision: str, *scopes: str, days: str = "365") -> httpx.Response:
        """Open the consent page, tick `scopes`, choose how long, press the button."""
        page = await self.consent_page(request_uri)
        ticked = [("scope", scope) for scope in scopes]
        return await self.post("/consent", page, *ticked, request_uri=request_uri, decision=decision, days=days)
