"""A patient with a browser without JavaScript: follows redirects, keeps cookies, fills in the forms of the pages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx

MAX_STEPS = 10


class BrowserError(Exception):
    """The pages are not as a patient expects; the message says where."""


@dataclass
class Form:
    """One form of a page: its target, its fields with their values, its checkboxes, lists and buttons."""

    action: str
    method: str
    hidden: list[tuple[str, str]] = field(default_factory=list)
    inputs: set[str] = field(default_factory=set)
    boxes: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    selects: dict[str, list[str]] = field(default_factory=dict)  # values of the options, the preset one first


class _Forms(HTMLParser):
    """Collects the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open = False
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
            self._open = True
        elif self._open and tag in ("input", "button") and given.get("name"):
            self._control(tag, given)
        elif self._open and tag == "select":
            self._select = given.get("name", "")
        elif self._open and tag == "option" and self._select:
            options = self.forms[-1].selects.setdefault(self._select, [])
            options.insert(0 if "selected" in given else len(options), given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "form"

    def _control(self, tag: str, given: dict[str, str]) -> None:
        form, pair = self.forms[-1], (given["name"], given.get("value", ""))
        kind = "button" if tag == "button" else given.get("type", "text")
        match kind:
            case "hidden":
                form.hidden.append(pair)
            case "checkbox":
                form.boxes.append(pair)
            case "button" | "submit":
                form.buttons.append(pair)
            case _:
                form.inputs.add(given["name"])


@dataclass(frozen=True)
class Page:
    """What the browser shows."""

    url: str
    html: str

    def form(self, control: str) -> Form | None:
        """The form that has an input, checkbox or button with this name."""
        parser = _Forms()
        parser.feed(self.html)
        for form in parser.forms:
            if control in form.inputs | {name for name, _ in (*form.boxes, *form.buttons)}:
                return form
        return None


class BrowserUser:
    """One patient with a browser of their own; `http` must not be shared, since its cookies are the session."""

    def __init__(self, http: httpx.AsyncClient, username: str, password: str) -> None:
        self._http, self._username, self._password = http, username, password

    async def decide(
        self, url: str, redirect_uri: str, approve: Collection[str] | None, days: int | None = None
    ) -> str:
        """Open the authorization `url`, log in if asked, tick the scopes in `approve` (None: refuse).

        `days` is the requested duration of the consent; None keeps the preset one.

        Returns the URL below `redirect_uri` to which the browser is finally sent; it is not opened.
        """
        page = await self._open("GET", url, redirect_uri)
        if isinstance(page, Page) and (login := page.form("username")):
            named = {"username": self._username, "password": self._password}
            page = await self._submit(page, login, redirect_uri, [*named.items()])
        if isinstance(page, Page) and (choice := page.form("person")):  # this login's persons, itself first
            page = await self._submit(page, choice, redirect_uri, choice.buttons[:1])
        if isinstance(page, str):
            return page
        consent = page.form("decision")
        if consent is None:
            raise BrowserError(f"no consent form at {page.url}")
        decision = ("decision", "deny" if approve is None else "approve")
        ticked = [box for box in consent.boxes if box[0] == "scope" and box[1] in (approve or ())]
        chosen = {"days": str(days)} if days else {name: options[0] for name, options in consent.selects.items()}
        landed = await self._submit(page, consent, redirect_uri, [*ticked, *chosen.items(), decision])
        if isinstance(landed, Page):
            raise BrowserError(f"the decision ended at {landed.url}")
        return landed

    async def _submit(self, page: Page, form: Form, stop: str, values: list[tuple[str, str]]) -> Page | str:
        body = [*form.hidden, *values]
        return await self._open(form.method.upper(), urljoin(page.url, form.action), stop, body)

    async def _open(self, method: str, url: str, stop: str, form: list[tuple[str, str]] | None = None) -> Page | str:
        """The page at `url` after all redirects, or the first URL that begins with `stop`."""
        for _ in range(MAX_STEPS):
            response = await self._http.request(method, url, data=_fields(form) if form else None)
            if not response.is_redirect:
                return _page(response)
            url = urljoin(url, response.headers["location"])
            if url.startswith(stop):
                return url
            method, form = "GET", None
        raise BrowserError(f"too many redirects at {url}")


def _fields(form: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Form values by name; names may repeat."""
    fields: dict[str, list[str]] = {}
    for name, value in form:
        fields.setdefault(name, []).append(value)
    return fields


def _page(response: httpx.Response) -> Page:
    if response.is_error:
        raise BrowserError(f"{response.request.url.path} answered {response.status_code}")
    return Page(str(response.request.url), response.text)
