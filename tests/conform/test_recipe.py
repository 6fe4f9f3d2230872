"""Recipes for logging in: what is rejected on reading, and the message when pages are different."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from ddr.conform.earlier import Earlier, read_earlier
from ddr.conform.recipe import OURS, RecipeBrowser, read_recipe, recipe_file
from ddr.conform.target import Account, Target, TargetError
from ddr.conform.verdict import NotRun
from ddr.conform.wire import Wire

LOGIN = '<form action="/login" method="post"><input name="username"><input type="password" name="password"></form>'
DECIDE = """<form action="/decide" method="post"><input type="hidden" name="csrf" value="c">
<input type="checkbox" name="scope" value="patient/A.rs" checked>
<input type="checkbox" name="scope" value="patient/B.rs">
<input type="checkbox" name="remember" checked><input type="checkbox" name="letters">
<button name="decision" value="approve">Ja</button><button name="decision" value="deny">Nein</button></form>"""
BACK = "https://diga.example/back"
WHO = Account("anna", "secret")


def browser(pages: Mapping[str, httpx.Response], told: list[httpx.Request]) -> RecipeBrowser:
    """A browser at a server with these responses by path; `told` collects its requests."""

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(request)
        found = pages.get(request.url.path)
        if found is None:
            raise httpx.ConnectError("away")
        return found

    return RecipeBrowser(
        read_recipe(OURS),
        Wire(
            Target("https://recorder.example/fhir", "https://login.recorder.example"),
            lambda _transport, _client: httpx.MockTransport(answer),
        ),
    )


def page(html: str) -> httpx.Response:
    return httpx.Response(200, html=html)


def to(url: str) -> httpx.Response:
    return httpx.Response(303, headers={"location": url})


@pytest.mark.parametrize(
    ("approve", "fields"),
    [
        (["patient/A.rs"], b"csrf=c&scope=patient%2FA.rs&remember=on&decision=approve"),
        (
            ["patient/A.rs", "patient/B.rs"],
            b"csrf=c&scope=patient%2FA.rs&scope=patient%2FB.rs&remember=on&decision=approve",
        ),
        ([], b"csrf=c&remember=on&decision=approve"),
        (None, b"csrf=c&remember=on&decision=deny"),
    ],
)
def test_what_is_agreed_to_is_ticked_and_what_else_is_ticked_stays_so(approve: list[str] | None, fields: bytes) -> None:
    told: list[httpx.Request] = []
    pages = {
        "/authorize": page(LOGIN),
        "/login": to("/consent"),
        "/consent": page(DECIDE),
        "/decide": to(BACK + "?code=1"),
    }
    assert browser(pages, told).decide("https://recorder.example/authorize", BACK, WHO, approve) == BACK + "?code=1"
    assert [one.url.path for one in told] == ["/authorize", "/login", "/consent", "/decide"]
    assert told[1].content == b"username=anna&password=secret"
    assert told[3].content == fields


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"/authorize": httpx.Response(500)}, "logging in: /authorize answers 500"),
        ({"/authorize": page("<p>Wartung</p>")}, "logging in: no step of the recipe fits the page /authorize"),
        ({"/authorize": to("/authorize")}, "logging in: more than 20 steps"),
        ({}, "logging in: ConnectError: away"),
        ({"/authorize": httpx.Response(304)}, "logging in: no step of the recipe fits the page /authorize"),
        (
            {"/authorize": page(re.sub('action="[^"]*"', 'action="http://x:port/"', LOGIN))},
            "logging in: /authorize leads to 'http://x:port/', which is not a URL",
        ),
        ({"/authorize": to("https://[x")}, "logging in: /authorize leads to 'https://[x', which is not a URL"),
        (
            {"/authorize": page(LOGIN.replace("/login", "https://[x"))},
            "logging in: /authorize leads to 'https://[x', which is not a URL",
        ),
        (
            {"/authorize": page(DECIDE.replace('value="approve"', 'value="yes"'))},
            "logging in: no button button[name=decision][value=approve]",
        ),
    ],
)
def test_other_pages_than_the_recipes_end_the_check(pages: Mapping[str, httpx.Response], said: str) -> None:
    with pytest.raises(NotRun) as ended:
        browser(pages, []).decide("https://recorder.example/authorize", BACK, WHO, [])
    assert str(ended.value) == said


def test_an_app_may_be_led_back_to_by_a_scheme_of_its_own() -> None:
    """RFC 8252 section 7.1: such a URL has no host."""
    back = "com.example.app:/back"
    pages = {"/authorize": to(f"{back}?code=1")}
    assert browser(pages, []).decide("https://recorder.example/authorize", back, WHO, []) == f"{back}?code=1"


def test_a_page_without_an_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formerly the run never ended, and used up all memory."""

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(1000)

    monkeypatch.setattr("ddr.conform.wire.MOST_BYTES", 10_000)
    with pytest.raises(NotRun, match="logging in: Endless: the answer has more than 10,000 bytes"):
        browser({"/authorize": httpx.Response(200, content=endless())}, []).decide(
            "https://recorder.example/authorize", BACK, WHO, []
        )


def test_a_form_is_sent_by_get_or_post_alone() -> None:
    told: list[httpx.Request] = []
    pages = {"/authorize": page(LOGIN.replace("post", "delete")), "/login": to(BACK)}
    assert browser(pages, told).decide("https://recorder.example/authorize", BACK, WHO, []) == BACK
    assert [one.method for one in told] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[page", "recipe: "),
        ("", "recipe: 'page'"),
        ('[[page]]\npress = "button"', "recipe: 'when'"),
        ('[[page]]\nwhen = "button"\nclick = "button"', "recipe: click is not known"),
        ('[[page]]\nwhen = "div > p"', "recipe: "),
        ("[[page]]\nwhen = 5", "recipe: 5 must be a string"),
        ('[[page]]\nwhen = "input"\ntick = true', "recipe: True must be a string"),
        ('[[page]]\nwhen = "input"\nfill = ["input"]', "recipe: fill must be a table of strings"),
        ('[[page]]\nwhen = "input"\nfill = { input = 5 }', "recipe: 5 must be a string"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (file := tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(TargetError) as refused:
        recipe_file(file)
    assert str(refused.value).startswith(said)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for read in (recipe_file, read_earlier):
        with pytest.raises(TargetError) as refused:
            read(tmp_path / "none")
        assert str(refused.value) == f"{tmp_path / 'none'}: No such file or directory"
        (tmp_path / "latin").write_bytes(b"\xe4")
        with pytest.raises(TargetError, match="latin is not UTF-8 text"):
            read(tmp_path / "latin")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"state": []}', '{"state": {}}', '{"state": {"format": "ddr-conform-state-1"}}']
)
def test_what_is_no_state_of_an_earlier_run_is_refused(text: str, tmp_path: Path) -> None:
    (file := tmp_path / "report.json").write_text(text)
    with pytest.raises(TargetError) as refused:
        read_earlier(file)
    assert str(refused.value) == f"{file} is not a report of an earlier run"


def test_the_state_of_an_earlier_run_is_read_as_it_was_kept(tmp_path: Path) -> None:
    kept = Earlier("https://recorder.example/fhir", 7, {"anna": {"Device/1": {"id": "1"}}}, {"tls": "passed"})
    (file := tmp_path / "report.json").write_text(httpx.Response(200, json={"state": kept.to_json()}).text)
    assert read_earlier(file) == kept
