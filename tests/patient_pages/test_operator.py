"""The operator is named on every page; language switch, first page, favicon, security.txt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ddr.http.core import Core
from ddr.http.operator import with_operator
from ddr.http.pages import error_page
from ddr.settings import SettingsError
from ddr.settings_checks import missing_operator
from ddr.settings_sources import load_settings
from tests.patient_pages.browser import Browser
from tests.support.patients import new_patient

BUILTIN: dict[str, Any] = {"allow_builtin_accounts": True}
TOLD: dict[str, Any] = {
    "operator_name": "Muster Medizintechnik AG",
    "operator_imprint_url": "https://muster.example/impressum",
    "operator_privacy_url": "https://muster.example/datenschutz",
    "operator_contact": "datenschutz@muster.example",
}


@pytest.fixture
def told(core: Core) -> Core:
    core.settings = replace(core.settings, **TOLD)
    return core


async def test_every_page_says_who_runs_it(told: Core) -> None:
    browser = Browser(told)
    await browser.login(await new_patient(told))
    for path in ("/login", "/me", "/me/access", "/me/data", "/me/devices", "/me/delete"):
        page = (await browser.get(path)).text
        assert "Muster Medizintechnik AG" in page, path
        for link in ("https://muster.example/impressum", "https://muster.example/datenschutz"):
            assert f'href="{link}"' in page, path
        assert 'href="mailto:datenschutz@muster.example"' in page, path


async def test_pages_about_errors_say_it_too(told: Core) -> None:
    sent: list[bytes] = []

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await error_page(scope, 404, "not_found")(scope, receive, send)

    async def send(message):  # type: ignore[no-untyped-def]
        sent.append(message.get("body", b""))

    scope = {"type": "http", "headers": [], "method": "GET", "path": "/x"}
    await with_operator(app, told.settings)(scope, lambda: None, send)  # type: ignore[arg-type, return-value]
    page = b"".join(sent).decode()
    assert "Muster Medizintechnik AG" in page and "Impressum" in page and 'href="/me"' in page


async def test_the_language_can_be_chosen_and_stays(core: Core) -> None:
    browser = Browser(core)
    await browser.login(await new_patient(core))
    german = await browser.get("/me/devices")
    assert 'href="/me/devices?lang=en"' in german.text
    english = await browser.get("/me/devices?lang=en")
    assert '<html lang="en">' in english.text and "__Host-language=en" in english.headers["set-cookie"]
    assert '<html lang="en">' in (await browser.get("/me")).text
    assert '<html lang="de">' in (await browser.get("/me?lang=de")).text
    assert '<html lang="en">' not in (await browser.get("/me?lang=xx")).text


async def test_the_switch_keeps_what_the_address_names(core: Core) -> None:
    page = (await Browser(core).get("/login?request_uri=urn%3Ax")).text
    assert 'href="/login?request_uri=urn%3Ax&amp;lang=en"' in page


async def test_a_page_about_an_error_can_be_read_in_the_other_language(core: Core) -> None:
    browser = Browser(core)
    german = await browser.get("/consent?request_uri=urn:%22%3E<b>")
    assert 'href="?lang=en" lang="en"' in german.text and "urn" not in german.text, "it repeats nothing"
    english = await browser.get("/consent?lang=en")
    assert english.status_code == 400 and "go back to your app" in english.text and ">Deutsch</a>" in english.text
    assert '<html lang="en">' in (await browser.get("/login")).text, "it stays"
    sent = await browser.http.post("/me/withdraw")
    assert sent.status_code == 403 and "hreflang" not in sent.text, "a link cannot send a form again"


async def test_the_language_that_is_chosen_as_the_session_has_ended_stays(core: Core) -> None:
    browser = Browser(core)
    assert (await browser.get("/me?lang=en")).headers["location"] == "/login"
    assert '<html lang="en">' in (await browser.get("/login")).text


async def test_the_first_page_leads_to_the_login(core: Core) -> None:
    browser = Browser(core)
    first = await browser.get("/")
    assert (first.status_code, first.headers["location"]) == (303, "/me")
    assert (await browser.get("/me")).headers["location"] == "/login"
    assert (await browser.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"


async def test_security_txt_names_the_contact(told: Core) -> None:
    text = (await Browser(told).get("/.well-known/security.txt")).text
    assert "Contact: mailto:datenschutz@muster.example\n" in text and "Expires: 2027-05-" in text
    told.settings = replace(told.settings, operator_contact="")
    assert (await Browser(told).get("/.well-known/security.txt")).status_code == 404


async def test_colour_and_logo_are_the_operators(core: Core, tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    core.settings = replace(core.settings, operator_colour="#123456", operator_logo=str(logo))
    browser = Browser(core)
    page = (await browser.get("/login")).text
    assert 'src="/static/logo"' in page and "/static/operator.css?v=123456" in page
    assert "#123456" in (await browser.get("/static/operator.css")).text
    assert "--tint: #e7ebee" in (await browser.get("/static/operator.css")).text
    assert (await browser.get("/static/logo")).headers["content-type"] == "image/svg+xml"
    logo.unlink()
    assert (await browser.get("/static/logo")).status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"operator_imprint_url": "javascript:alert(1)"},
        {"operator_privacy_url": "muster.example"},
        {"operator_contact": "call us"},
        {"operator_colour": "#ffee00"},
        {"operator_colour": "#0079a1"},  # white on it can be read, but not a link on a notice
        {"operator_colour": "red; } body { display: none"},
        {"operator_logo": "/nowhere/logo.svg"},
        {"operator_logo": "logo.gif"},
    ],
)
def test_what_cannot_be_shown_is_no_setting(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        load_settings({}, **BUILTIN, **wrong)


def test_a_logo_that_is_empty_or_cannot_be_read_is_none(tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text("")
    with pytest.raises(SettingsError, match="operator_logo"):
        load_settings({}, **BUILTIN, operator_logo=logo)
    logo.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert load_settings({}, **BUILTIN, operator_logo=logo).operator_logo == str(logo)
    with patch("os.access", return_value=False), pytest.raises(SettingsError, match="operator_logo"):
        load_settings({}, **BUILTIN, operator_logo=logo)


def test_what_is_missing_is_named() -> None:
    assert missing_operator(load_settings({}, **BUILTIN)) == [
        "operator_name",
        "operator_imprint_url",
        "operator_privacy_url",
        "operator_contact",
    ]
    assert missing_operator(load_settings({}, **BUILTIN, **TOLD)) == []
