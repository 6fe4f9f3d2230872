"""The patient with a browser: forms as on the page, redirects, cookies."""

from __future__ import annotations

from urllib.parse import parse_qs

import httpx
import pytest

from ddr.demo.browser_user import BrowserError, BrowserUser, Page

REDIRECT = "https://diga.example/callback"
LOGIN = """<form method="post" action="/login"><input type="hidden" name="t" value="1"><input name="username">
<input type="password" name="password"><button>ok</button></form><form action="/search"><input name="q"></form>"""
CONSENT = """<form method="post"><input type="hidden" name="t" value="2">
<input type="checkbox" name="scope" value="a"><input type="checkbox" name="scope" value="b">
<input type="checkbox" name="scope" value="c"><button name="decision" value="approve">x</button></form>"""

PERSON = """<form method="post" action="/logout"><button>out</button></form>
<form method="post" action="/person"><input type="hidden" name="t" value="3">
<button name="person" value="myself">me</button><button name="person" value="7">Mia</button></form>"""


def recorder(request: httpx.Request) -> httpx.Response:
    """A login and a consent page as the recorder has them."""
    form = parse_qs(request.content.decode())
    match request.method, request.url.path:
        case "GET", "/authorize":
            return httpx.Response(303, headers={"location": "/login"})
        case "GET", "/login":
            return httpx.Response(200, html=LOGIN)
        case "POST", "/login":
            assert form == {"t": ["1"], "username": ["anna"], "password": ["geheim"]}
            return httpx.Response(303, headers={"location": "/consent", "set-cookie": "session=s; Path=/"})
        case "GET", "/consent":
            assert request.headers["cookie"] == "session=s"
            return httpx.Response(200, html=CONSENT)
        case "POST", "/consent":
            code = "-".join([*form.get("scope", []), *form["decision"], *form["t"]])
            return httpx.Response(303, headers={"location": f"{REDIRECT}?code={code}"})
    return httpx.Response(404)


def user(password: str = "geheim") -> BrowserUser:
    return BrowserUser(httpx.AsyncClient(transport=httpx.MockTransport(recorder)), "anna", password)


async def test_logs_in_and_ticks_what_is_approved() -> None:
    landed = await user().decide("https://recorder.example/authorize", REDIRECT, ["a", "c", "elsewhere"])
    assert landed == f"{REDIRECT}?code=a-c-approve-2"


async def test_who_represents_others_decides_for_himself() -> None:
    """Before: after `ddr patient proxy add` the demonstration ended with "no consent form at …/me/person"."""

    def representing(request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/person"):
            assert parse_qs(request.content.decode()) == {"t": ["3"], "person": ["myself"]}
            return httpx.Response(303, headers={"location": "/consent"})
        answer = recorder(request)
        if answer.headers.get("location") != "/consent":
            return answer
        return httpx.Response(200, html=PERSON, headers={"set-cookie": "session=s; Path=/"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(representing)) as http:
        anna = BrowserUser(http, "anna", "geheim")
        landed = await anna.decide("https://recorder.example/authorize", REDIRECT, ["a"])
    assert landed == f"{REDIRECT}?code=a-approve-2"


async def test_refuses() -> None:
    assert await user().decide("https://recorder.example/authorize", REDIRECT, None) == f"{REDIRECT}?code=deny-2"


async def test_unexpected_pages_are_told() -> None:
    with pytest.raises(BrowserError, match="404"):
        await user().decide("https://recorder.example/nowhere", REDIRECT, [])


def test_a_form_is_found_by_its_control() -> None:
    page = Page("https://recorder.example/login", LOGIN)
    login = page.form("username")
    assert login is not None and login.action == "/login"
    assert page.form("decision") is None
