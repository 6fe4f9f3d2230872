"""Two tabs of one browser: each continues with its own request, and none is a dead end."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from ddr.http.core import Core
from tests.patient_pages.browser import Browser
from tests.support.patients import PASSWORD, list_diga, new_patient, push_request


async def test_a_second_tab_goes_on_with_the_session_of_the_first(core: Core) -> None:
    """Two DiGA open the login in two tabs: who logs in in one has logged in in the other, each with its own request."""
    patient, browser = await new_patient(core), Browser(core)
    diga = list_diga(core)
    requests = [await push_request(core, diga) for _ in range(2)]
    tabs = [await browser.get(f"/login?{urlencode({'request_uri': request})}") for request in requests]
    own = {"username": patient.username, "password": PASSWORD}
    places = [
        (await browser.post("/login", tab, **own, request_uri=request)).headers["location"]
        for tab, request in zip(tabs, requests, strict=True)
    ]
    assert places == [f"/consent?{urlencode({'request_uri': request})}" for request in requests]
    assert [(await browser.get(place)).status_code for place in places] == [200, 200]


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_a_login_form_from_before_the_cookie_is_shown_again(core: Core, lang: str) -> None:
    """Tabs that open at once each get a cookie, of which the last one stays: the form of the other is none of it."""
    patient, browser, other = await new_patient(core), Browser(core, lang), Browser(core, lang)
    request_uri = await push_request(core, list_diga(core))
    early, _ = await other.get("/login"), await browser.get("/login")
    own = {"username": patient.username, "password": PASSWORD, "request_uri": request_uri}
    again = await browser.post("/login", early, **own)
    assert again.status_code == 403 and PASSWORD not in again.text
    assert ("in einem anderen Fenster" if lang == "de" else "in another window") in again.text
    assert (await browser.post("/login", again, **own)).headers["location"].startswith("/consent?request_uri=")


async def test_a_stale_form_of_another_account_does_not_go_on_as_the_first(core: Core) -> None:
    first, second, browser = await new_patient(core), await new_patient(core), Browser(core)
    tab = await browser.get("/login")
    await browser.login(first)
    again = await browser.post("/login", tab, username=second.username, password=PASSWORD)
    assert again.status_code == 403
    await browser.post("/login", again, username=second.username, password=PASSWORD)
    assert second.username in (await browser.get("/me")).text
