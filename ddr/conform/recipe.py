"""Logs in and consents by a recipe: which fields to fill on which page, for pages that work without JavaScript.

A recipe is a TOML file with one table [[page]] for each page on the way; docs/conformance-kit.md explains the keys. The
one for this project's recorder is OURS.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ddr.conform.addresses import joined
from ddr.conform.markup import Form, SelectorError, forms, matches
from ddr.conform.target import Account, TargetError, text_of
from ddr.conform.verdict import NotRun
from ddr.conform.wire import Wire, received
from ddr.reasons import in_words

MAX_STEPS = 20
OURS = """
[[page]]
when = "input[name=password]"
fill = { "input[name=username]" = "$USERNAME", "input[name=password]" = "$PASSWORD" }

[[page]]
when = "button[name=decision]"
tick = "input[name=scope]"
press = "button[name=decision][value=approve]"
refuse = "button[name=decision][value=deny]"
"""


@dataclass(frozen=True)
class Page:
    """What to do on a page with a control that matches `when`. `tick`: boxes; those whose value is a scope only if it
    is to be approved. `press`, `refuse`: the button to agree (or continue) and to refuse, "" for none."""

    when: str
    fill: Mapping[str, str]
    tick: str = ""
    press: str = ""
    refuse: str = ""


def read_recipe(text: str) -> tuple[Page, ...]:
    """The pages of a recipe. Raises TargetError."""
    try:
        found = tomllib.loads(text)["page"]
        return tuple(_page(one) for one in found)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, SelectorError) as error:
        raise TargetError(f"recipe: {error}") from None


def recipe_file(file: Path) -> tuple[Page, ...]:
    """The recipe in a file. Raises TargetError."""
    return read_recipe(text_of(file))


def _page(one: Mapping[str, Any]) -> Page:
    if unknown := set(one) - {"when", "fill", "tick", "press", "refuse"}:
        raise TargetError(f"recipe: {min(unknown)} is not known")
    page = Page(one["when"], one.get("fill", {}), one.get("tick", ""), one.get("press", ""), one.get("refuse", ""))
    if not isinstance(page.fill, dict):
        raise TargetError("recipe: fill must be a table of strings")
    for text in (page.when, page.tick, page.press, page.refuse, *page.fill.values()):
        if not isinstance(text, str):
            raise TargetError(f"recipe: {text!r} must be a string")
    for selector in (page.when, page.tick, page.press, page.refuse, *page.fill):
        if selector:
            matches(_NOTHING, selector)
    return page


class RecipeBrowser:
    """Follows a recipe over HTTP, with new cookies for each decision. `wire` makes the browser."""

    automatic = True

    def __init__(self, pages: tuple[Page, ...], wire: Wire) -> None:
        self._pages, self._wire = pages, wire

    def decide(self, url: str, redirect_uri: str, account: Account, approve: Collection[str] | None) -> str:
        with self._wire.browser() as http:
            method, body = "GET", None
            for _ in range(MAX_STEPS):
                answer = self._sent(http, method, url, body)
                method, body = "GET", None
                if answer.has_redirect_location:
                    location = answer.headers["location"]
                    url = location if location.startswith(redirect_uri) else _address(url, location)
                    if url.startswith(redirect_uri):
                        return url
                    continue
                if answer.is_error:
                    raise NotRun(f"logging in: {httpx.URL(url).path} answers {answer.status_code}")
                form, page = self._found(answer.text, url)
                url, method = _address(url, form.action), "POST" if form.method == "post" else "GET"
                body = _filled(form, page, account, approve)
        raise NotRun(f"logging in: more than {MAX_STEPS} steps")

    def _sent(self, http: httpx.Client, method: str, url: str, body: list[tuple[str, str]] | None) -> httpx.Response:
        fields: dict[str, list[str]] = {}
        for name, value in body or ():
            fields.setdefault(name, []).append(value)
        given: dict[str, Any] = {"params": fields or None} if method == "GET" else {"data": fields}

        def ask() -> tuple[httpx.Response, bytes]:
            with http.stream(method, url, **given) as answer:
                return answer, received(answer, time.monotonic())

        try:
            answer, content = self._wire.in_time(ask)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NotRun(f"logging in: {type(error).__name__}: {in_words(error)}") from None
        headers = [(name, value) for name, value in answer.headers.multi_items() if name != "content-encoding"]
        return httpx.Response(answer.status_code, headers=headers, content=content)

    def _found(self, html: str, url: str) -> tuple[Form, Page]:
        for page in self._pages:
            for form in forms(html):
                if form.first(page.when):
                    return form, page
        raise NotRun(f"logging in: no step of the recipe fits the page {httpx.URL(url).path}")


def _address(page: str, link: str) -> str:
    """The URL of a link on a page. Raises NotRun."""
    if found := joined(page, link):
        return found
    raise NotRun(f"logging in: {httpx.URL(page).path} leads to {link!r:.200}, which is not a URL")


def _filled(form: Form, page: Page, account: Account, approve: Collection[str] | None) -> list[tuple[str, str]]:
    """The fields that a browser would submit."""
    given = {"$USERNAME": account.username, "$PASSWORD": account.password}
    button = page.refuse if approve is None else page.press
    pressed = form.first(button) if button else None
    if button and pressed is None:
        raise NotRun(f"logging in: no button {button}")
    body: list[tuple[str, str]] = []
    for control in form.controls:
        name, value = control.attributes.get("name"), control.attributes.get("value", "")
        if not name:
            continue
        if control.kind in ("submit", "button", "image", "reset"):
            if control is pressed:
                body.append((name, value))
        elif control.kind in ("checkbox", "radio"):
            if _ticked(control.attributes, bool(page.tick) and matches(control, page.tick), approve):
                body.append((name, value or "on"))
        else:
            filled = [text for selector, text in page.fill.items() if matches(control, selector)]
            body.append((name, given.get(filled[0], filled[0]) if filled else value))
    return body


def _ticked(attributes: Mapping[str, str], named: bool, approve: Collection[str] | None) -> bool:
    if not named:
        return "checked" in attributes
    value = attributes.get("value", "")
    return approve is not None and (not value.startswith("patient/") or value in approve)


_NOTHING = forms("<form><input></form>")[0].controls[0]
