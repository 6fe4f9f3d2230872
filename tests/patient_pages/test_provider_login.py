"""Login at the manufacturer's OpenID provider, there and back, and what an attacker might try on the way (AS-016)."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from html import unescape
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from ddr.http.core import Core
from ddr.identity import journey
from ddr.identity.errors import ProviderUnavailable
from ddr.store.patients import identities, journeys
from ddr.store.patients.administration import disable
from ddr.store.patients.journeys import LONGEST_MS
from tests.patient_pages.browser import Browser
from tests.support.clock import Clock
from tests.support.openid import PASSWORD, OpenIdProvider
from tests.support.patients import list_diga, push_request


class Traveller:
    """A browser that visits the recorder and the provider."""

    def __init__(self, core: Core, openid: OpenIdProvider) -> None:
        self.provider, self.here = openid, Browser(core)
        self.there = httpx.AsyncClient(transport=httpx.ASGITransport(openid.app()), base_url=openid.issuer)

    async def ask(self, path: str = "/login") -> str:
        """The address at the provider that `path` leads to."""
        response = await self.here.get(path)
        assert response.status_code == 303
        return str(response.headers["location"])

    async def prove(self, address: str, user: str = "anna") -> str:
        """Log in at the provider if it asks; the address of the callback."""
        response = await self.there.get(address)
        if response.status_code == 200:
            response = await self.there.post(address, data={"user": user, "secret": PASSWORD})
        return str(response.headers["location"])

    async def login(self, path: str = "/login", user: str = "anna") -> httpx.Response:
        """The whole way; the answer to the callback."""
        return await self.here.get(await self.prove(await self.ask(path), user))


@pytest.fixture
def traveller(oidc_core: Core, openid: OpenIdProvider) -> Traveller:
    """A patient's browser."""
    return Traveller(oidc_core, openid)


def parameters(address: str) -> dict[str, str]:
    """The query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def button(html: str) -> str:
    """Where the button of the page leads."""
    (found,) = re.findall(r'class="button main" href="([^"]+)"', html)
    return unescape(str(found))


async def test_the_way_out(traveller: Traveller) -> None:
    asked = parameters(await traveller.ask())
    assert asked.keys() == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
        "code_challenge_method", "ui_locales",
    }  # fmt: skip
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "https://recorder.example/login/callback"
    assert all(len(asked[name]) >= 43 for name in ("state", "nonce", "code_challenge"))


async def test_logs_in_and_out(traveller: Traveller) -> None:
    response = await traveller.login()
    assert (response.status_code, response.headers["location"]) == (303, "/me")
    page = await traveller.here.get("/me")
    assert "Angemeldet als anna" in page.text
    assert page.headers["content-security-policy"].endswith("form-action 'self' https://konto.example")
    bye = await traveller.here.post("/logout", page)
    assert parameters(bye.headers["location"]) == {
        "client_id": "ddr",
        "post_logout_redirect_uri": "https://recorder.example/login?bye=1",
    }
    back = (await traveller.there.get(bye.headers["location"])).headers["location"]
    assert "Sie sind abgemeldet" in (await traveller.here.get(back)).text
    assert (await traveller.here.get("/me")).status_code == 303
    assert (await traveller.there.get(await traveller.ask())).status_code == 200  # the provider asks again
    await traveller.login()
    assert "Sie sind abgemeldet" not in (await traveller.here.get(back)).text, "by the back button, after a new login"


async def test_another_account_goes_on_with_the_request(oidc_core: Core, traveller: Traveller) -> None:
    """From the consent page: who is not meant signs out, there and here, and the DiGA still waits."""
    request_uri = await push_request(oidc_core, list_diga(oidc_core))
    consent = f"/consent?{urlencode({'request_uri': request_uri})}"
    await traveller.login(user="anna")
    bye = await traveller.here.post("/logout", await traveller.here.get(consent), request_uri=request_uri)
    page = await traveller.here.get((await traveller.there.get(bye.headers["location"])).headers["location"])
    assert "Sie sind abgemeldet" in page.text
    assert (await traveller.login(button(page.text), user="berta")).headers["location"] == consent
    assert "Angemeldet als berta" in (await traveller.here.get(consent)).text


@pytest.mark.parametrize("waits", [False, True])
async def test_a_provider_without_logout_is_told_to_ask(
    oidc_core: Core, openid: OpenIdProvider, traveller: Traveller, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """It remembers who was logged in, and would bring back that account again and again."""
    monkeypatch.setattr("ddr.patient_pages.logout.way_to_logout", AsyncMock(return_value=None))
    request_uri = await push_request(oidc_core, list_diga(oidc_core))
    consent = f"/consent?{urlencode({'request_uri': request_uri})}"
    await traveller.login(user="anna")
    fields = {"request_uri": request_uri} if waits else {}
    bye = await traveller.here.post("/logout", await traveller.here.get(consent), **fields)
    page = await traveller.here.get(bye.headers["location"])
    assert page.status_code == 200, "no form may lead to the provider's origin, where that is not its issuer's"
    again = button(page.text)
    address = await traveller.ask(again)
    assert (await traveller.there.get(address)).status_code == 200, "the form"
    assert (await traveller.login(again, user="berta")).headers["location"] == (consent if waits else "/me")
    assert "Angemeldet als berta" in (await traveller.here.get("/me")).text


async def test_whose_account_is_disabled_may_try_another_one(
    oidc_core: Core, openid: OpenIdProvider, traveller: Traveller, clock: Clock
) -> None:
    """The provider remembers the one that is of no use here."""
    await traveller.login(user="emil")
    emil = await identities.find(oidc_core.pool, openid.issuer, openid.claims("emil")["sub"])
    assert emil is not None and await disable(oidc_core.pool, emil, clock())
    refused = await traveller.login()
    assert refused.status_code == 400
    assert (await traveller.login(button(refused.text), user="berta")).headers["location"] == "/me"


async def test_a_patient_who_comes_again_is_the_same(oidc_core: Core, openid: OpenIdProvider) -> None:
    for user in ("berta", "berta", "carla"):
        await Traveller(oidc_core, openid).login(user=user)
    berta, carla = [
        await identities.find(oidc_core.pool, openid.issuer, openid.claims(user)["sub"]) for user in ("berta", "carla")
    ]
    assert None not in (berta, carla)
    assert berta != carla


async def test_no_name_is_linked(oidc_core: Core, traveller: Traveller) -> None:
    await traveller.login(user="dora-with-a-name")
    rows = await oidc_core.pool.fetch("SELECT * FROM login_identity")
    assert "dora" not in str([dict(row) for row in rows])


async def test_leads_on_to_the_consent_page(oidc_core: Core, traveller: Traveller) -> None:
    request_uri = await push_request(oidc_core, list_diga(oidc_core))
    to_login = (await traveller.here.consent_page(request_uri)).headers["location"]
    response = await traveller.login(to_login)
    assert response.headers["location"].startswith("/consent?request_uri=urn%3A")
    assert "GlucoPilot" in (await traveller.here.get(response.headers["location"])).text


@pytest.mark.parametrize("text", ["%00", "%0a", "%ff%00", "a" * 5000])
async def test_a_request_that_cannot_be_one_is_not_kept(traveller: Traveller, text: str) -> None:
    assert (await traveller.login(f"/login?request_uri={text}")).headers["location"] == "/me"


async def test_the_built_in_form_is_not_served(oidc_core: Core) -> None:
    browser = Browser(replace(oidc_core, settings=replace(oidc_core.settings, allow_builtin_accounts=True)))
    assert (await browser.get("/login")).status_code == 303
    assert (await browser.http.post("/login")).status_code == 405


async def test_a_new_cookie_at_login(traveller: Traveller) -> None:
    callback = await traveller.prove(await traveller.ask())
    before = traveller.here.http.cookies["__Host-ddr"]
    await traveller.here.get(callback)
    assert traveller.here.http.cookies["__Host-ddr"] != before


async def test_a_callback_counts_once(traveller: Traveller) -> None:
    callback = await traveller.prove(await traveller.ask())
    assert (await traveller.here.get(callback)).status_code == 303
    assert (await traveller.here.get(callback)).status_code == 400


async def test_nothing_is_stored_until_somebody_has_logged_in(oidc_core: Core, traveller: Traveller) -> None:
    """A stranger asks for the login as often as it likes, and comes back with what the provider never gave."""
    await oidc_core.pool.execute("DELETE FROM login_journey")
    rows = "SELECT count(*) FROM login_journey"
    for _ in range(3):
        state = parameters(await traveller.ask())["state"]
        answer = {"code": "guessed", "state": state, "iss": traveller.provider.issuer}
        assert (await traveller.here.get(f"/login/callback?{urlencode(answer)}")).status_code == 400
    assert await oidc_core.pool.fetchval(rows) == 0
    assert (await traveller.login()).status_code == 303
    assert await oidc_core.pool.fetchval(rows) == 1


async def test_a_callback_counts_once_although_the_provider_takes_its_code_twice(
    traveller: Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await traveller.ask()
    callback, cookies = await traveller.prove(address), dict(traveller.here.http.cookies)
    given: list[str] = []

    async def once(*args: Any) -> str:
        given.append(given[0] if given else await redeem(*args))
        return given[0]

    redeem = journey._redeem
    monkeypatch.setattr(journey, "_redeem", once)
    assert (await traveller.here.get(callback)).status_code == 303
    traveller.here.http.cookies = httpx.Cookies(cookies)
    assert (await traveller.here.get(callback)).status_code == 400
    assert len(given) == 1
    with monkeypatch.context() as at_once:  # both had looked before one of them was done
        at_once.setattr(journeys, "is_used", AsyncMock(return_value=False))
        assert (await traveller.here.get(callback)).status_code == 400
    assert len(given) == 2


async def test_a_state_that_was_touched_is_none(traveller: Traveller) -> None:
    callback = await traveller.prove(await traveller.ask())
    state = parameters(callback)["state"]
    for touched in (state[:-1], state + "A", state[::-1], "A" + state[1:], state[:20], state + "="):
        if touched != state:
            assert (await traveller.here.get(callback.replace(state, touched))).status_code == 400
    assert (await traveller.here.get(callback)).status_code == 303


async def test_the_callback_of_another_browser_leads_nowhere(oidc_core: Core, openid: OpenIdProvider) -> None:
    """Login CSRF: an attacker's callback in the victim's browser."""
    attacker, victim = Traveller(oidc_core, openid), Traveller(oidc_core, openid)
    callback = await attacker.prove(await attacker.ask(), "mallory")
    await victim.ask()
    response = await victim.here.get(callback)
    assert response.status_code == 400
    assert "gilt nicht mehr" in response.text
    assert (await victim.here.get("/me")).status_code == 303


async def test_a_browser_without_cookies_is_told_so(traveller: Traveller) -> None:
    callback = await traveller.prove(await traveller.ask())
    traveller.here.http.cookies.clear()
    response = await traveller.here.get(callback)
    assert response.status_code == 400 and "erlauben Sie im Browser Cookies" in response.text


async def test_a_code_of_another_journey_is_refused(traveller: Traveller, caplog: pytest.LogCaptureFixture) -> None:
    """Code injection: PKCE binds the code to the journey."""
    stolen = parameters(await traveller.prove(await traveller.ask(), "victim"))
    fresh = parameters(await traveller.ask())
    with caplog.at_level(logging.WARNING):
        answer = f"code={stolen['code']}&state={fresh['state']}&iss={stolen['iss']}"
        response = await traveller.here.get(f"/login/callback?{answer}")
    assert response.status_code == 400
    assert "hat nicht geklappt" in response.text
    assert stolen["code"] not in caplog.text


@pytest.mark.parametrize("iss", ["", "&iss=https://other.example"])
async def test_mix_up_is_noticed(traveller: Traveller, iss: str) -> None:
    answer = parameters(await traveller.prove(await traveller.ask()))
    response = await traveller.here.get(f"/login/callback?code={answer['code']}&state={answer['state']}{iss}")
    assert response.status_code == 400


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?error=access_denied", "?state=%00"])
async def test_a_callback_without_journey_is_explained(traveller: Traveller, query: str) -> None:
    response = await traveller.here.get(f"/login/callback{query}")
    assert response.status_code == 400
    assert 'href="/login"' in response.text


async def test_giving_up_at_the_provider_is_explained(oidc_core: Core, traveller: Traveller) -> None:
    request_uri = await push_request(oidc_core, list_diga(oidc_core))
    asked = parameters(await traveller.ask((await traveller.here.consent_page(request_uri)).headers["location"]))
    answer = f"error=access_denied&state={asked['state']}&iss=https://konto.example"
    response = await traveller.here.get(f"/login/callback?{answer}")
    assert response.status_code == 400
    assert 'href="/login?request_uri=urn%3A' in response.text


async def test_two_tabs_each_lead_on_to_their_request(oidc_core: Core, traveller: Traveller) -> None:
    """Who has logged in in one tab comes back in the other under another cookie; no DiGA is forgotten over that."""
    diga = list_diga(oidc_core)
    requests = [await push_request(oidc_core, diga) for _ in range(2)]
    tabs = [await traveller.ask(f"/login?{urlencode({'request_uri': request})}") for request in requests]
    assert (await traveller.here.get(await traveller.prove(tabs[0]))).status_code == 303
    lost = await traveller.here.get(await traveller.prove(tabs[1]))
    assert lost.status_code == 400
    assert (await traveller.login(button(lost.text))).headers[
        "location"
    ] == f"/consent?{urlencode({'request_uri': requests[1]})}"


async def test_a_return_whose_answer_was_lost_still_leads_on(oidc_core: Core, traveller: Traveller) -> None:
    """A button clicked twice, a reload, a switch of the language: the return is used up, and the DiGA still waits."""
    consent = {"request_uri": await push_request(oidc_core, list_diga(oidc_core))}
    callback = await traveller.prove(await traveller.ask(f"/login?{urlencode(consent)}"))
    before = dict(traveller.here.http.cookies)
    await traveller.here.get(callback)
    traveller.here.http.cookies = httpx.Cookies(before)  # the answer with the new one never came
    again = await traveller.here.get(callback)
    assert again.status_code == 400
    location = (await traveller.login(button(again.text))).headers["location"]
    assert location == f"/consent?{urlencode(consent)}"


async def test_a_provider_that_goes_away_meanwhile_loses_no_request(
    oidc_core: Core, traveller: Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the return has served its turn, so the page has to lead on."""
    request_uri = await push_request(oidc_core, list_diga(oidc_core))
    callback = await traveller.prove(await traveller.ask(f"/login?{urlencode({'request_uri': request_uri})}"))
    with monkeypatch.context() as away:
        away.setattr(oidc_core.identity, "json_of", AsyncMock(side_effect=ProviderUnavailable))
        response = await traveller.here.get(callback)
    assert (response.status_code, "gerade nicht möglich" in response.text) == (503, True)
    assert response.headers["retry-after"] == "300"
    assert (await traveller.login(button(response.text))).headers["location"].startswith("/consent?request_uri=urn%3A")


async def test_a_provider_that_does_not_take_our_secret_any_more_is_told(
    oidc_core: Core, traveller: Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can log in until the operator knows why."""
    callback = await traveller.prove(await traveller.ask())
    assert oidc_core.identity is not None
    oidc_core.identity.client_secret = "of last year"
    with caplog.at_level(logging.WARNING):
        assert (await traveller.here.get(callback)).status_code == 503
    told = [(one.message, vars(one).get("fault")) for one in caplog.records]
    assert told == [("login.provider_away", "token endpoint: status 401")]


@pytest.mark.parametrize(
    ("error", "check"), [("unauthorized_client", "no ID token: unauthorized_client"), ("of anna", "no ID token")]
)
async def test_why_a_provider_gives_no_token_is_told_in_the_words_of_the_rfc(
    oidc_core: Core,
    traveller: Traveller,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    check: str,
) -> None:
    callback = await traveller.prove(await traveller.ask())
    monkeypatch.setattr(oidc_core.identity, "json_of", AsyncMock(return_value={"error": error}))
    with caplog.at_level(logging.WARNING):
        assert (await traveller.here.get(callback)).status_code == 400
    assert [(one.message, vars(one).get("check")) for one in caplog.records] == [("login.refused", check)]


async def test_a_journey_ends_after_a_while(traveller: Traveller, clock: Clock) -> None:
    address = await traveller.ask()
    clock.advance(LONGEST_MS / 1000)
    assert (await traveller.here.get(await traveller.prove(address))).status_code == 400


@pytest.mark.parametrize(("back_seconds", "status"), [(1, 303), (86_400, 400)])
async def test_a_journey_does_not_last_by_a_clock_that_was_set_back(
    traveller: Traveller, clock: Clock, back_seconds: int, status: int
) -> None:
    address = await traveller.ask()
    clock.advance(-back_seconds)
    assert (await traveller.here.get(await traveller.prove(address))).status_code == status


async def test_a_replayed_id_token_is_refused(traveller: Traveller, openid: OpenIdProvider) -> None:
    openid.change = lambda claims: claims.update(nonce="of another login")
    assert (await traveller.login()).status_code == 400


async def test_while_the_provider_is_down_patients_are_told(traveller: Traveller, openid: OpenIdProvider) -> None:
    openid.down = True
    response = await traveller.here.get("/login")
    assert response.status_code == 503
    assert "gerade nicht möglich" in response.text


async def test_confirming_asks_again_although_the_provider_remembers(traveller: Traveller, clock: Clock) -> None:
    await traveller.login()
    address = await traveller.ask("/login/confirm")
    assert (parameters(address)["prompt"], parameters(address)["max_age"]) == ("login", "0")
    clock.advance(5)
    response = await traveller.here.get(await traveller.prove(address))
    assert (response.status_code, response.headers["location"]) == (303, "/me/delete")


async def test_a_remembered_login_does_not_confirm(traveller: Traveller, openid: OpenIdProvider, clock: Clock) -> None:
    """A provider, or somebody at the browser, that leaves out the question is found out by auth_time."""
    await traveller.login()
    clock.advance(60)
    address = (await traveller.ask("/login/confirm")).replace("prompt=login", "prompt=")
    assert (await traveller.here.get(await traveller.prove(address))).status_code == 400


async def test_another_user_does_not_confirm(traveller: Traveller) -> None:
    await traveller.login(user="anna")
    response = await traveller.login("/login/confirm", user="mallory")
    assert response.status_code == 400
    assert "Angemeldet als anna" in (await traveller.here.get("/me")).text


async def test_only_who_is_logged_in_confirms(traveller: Traveller) -> None:
    assert (await traveller.here.get("/login/confirm")).headers["location"] == "/login"
