"""The patient's apps on the page "My devices": a code connects one, a button disconnects it."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from ddr.gateway.app import create_gateway
from ddr.http.core import Core
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens
from ddr.store.patients import administration, identities
from tests.patient_pages.browser import Browser, inputs
from tests.patient_pages.test_consent import logged_in
from tests.patient_pages.test_provider_login import Traveller
from tests.support.clock import Clock
from tests.support.openid import AUDIENCE, CLIENT_ID, OpenIdProvider
from tests.support.patients import new_patient
from tests.support.waiting import waiting


def gateway(core: Core, token: str | None = None) -> httpx.AsyncClient:
    """An app on a phone."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    transport = httpx.ASGITransport(create_gateway(core))
    return httpx.AsyncClient(transport=transport, base_url="https://gateway/gateway/v1", headers=headers)


async def connected(core: Core, browser: Browser, name: str = "GlucoSensor <Phone>") -> str:
    """Make a code on the page and type it into an app; gives the app's token."""
    shown = await browser.post("/me/devices/connect", await browser.get("/me/devices"))
    assert shown.status_code == 200 and shown.headers["cache-control"] == "no-store"
    match = re.search(r"<code>([0-9A-Z-]+)</code>", shown.text)
    assert match is not None
    async with gateway(core) as app:
        answer = await app.post("/token", json={"code": match[1], "name": name})
    token: str = answer.json()["token"]
    return token


async def works(core: Core, token: str) -> bool:
    async with gateway(core, token) as app:
        return (await app.get("/devices")).status_code == 200


async def test_connect_see_and_disconnect(core: Core) -> None:
    patient, browser = await logged_in(core)
    assert "Mit einem Code verbundene Apps gibt es zurzeit nicht." in (await browser.get("/me/devices")).text
    token = await connected(core, browser)
    other = await connected(core, browser, "Tablet")
    assert await works(core, token)
    page = await browser.get("/me/devices")
    assert "GlucoSensor &lt;Phone&gt;" in page.text and "Tablet" in page.text
    assert "Alle Zeiten in deutscher Zeit." in page.text, "also of apps without a device"
    shown = [str(field["value"]) for field in inputs(page.text) if field.get("name") == "app"]
    wanted = sha256(token).hex()[: tokens.SHOWN]
    assert sorted(shown) == sorted([wanted, sha256(other).hex()[: tokens.SHOWN]])
    answer = await browser.post("/me/devices/disconnect", page, app=wanted)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me/devices?disconnected")
    assert "Die App ist getrennt" in (await browser.get("/me/devices?disconnected")).text
    assert [await works(core, one) for one in (token, other)] == [False, True]
    trail = (await browser.get("/me/access")).text
    assert "Sie haben eine App verbunden" in trail and "Sie haben eine App getrennt" in trail
    assert patient.username not in token


async def test_apps_of_one_name_are_told_apart_by_when_they_were_connected(core: Core, clock: Clock) -> None:
    """The phone that was lost, and the new one of the same day."""
    _, browser = await logged_in(core)
    for _ in range(2):
        await connected(core, browser, "GlucoSensor")
        clock.advance(120)
    page = (await browser.get("/me/devices")).text
    assert re.findall(r"22\. November 2026, (11:0\d) Uhr", page) == ["11:00", "11:02"]


@pytest.mark.parametrize("overlap_ms", [60_000, 0])
async def test_an_app_that_is_being_renewed_is_disconnected_with_its_new_token(core: Core, overlap_ms: int) -> None:
    """A phone that was lost renews at the same moment: whoever has it would go on sending for a year."""
    patient, browser = await logged_in(core)
    token = await connected(core, browser)
    page = await browser.get("/me/devices")
    async with core.pool.acquire() as conn:
        renewal = conn.transaction()
        await renewal.start()
        renewed = await tokens.renew(conn, sha256(token), 365, overlap_ms, core.clock())
        sending = asyncio.create_task(
            browser.post("/me/devices/disconnect", page, app=sha256(token).hex()[: tokens.SHOWN])
        )
        async with asyncio.timeout(60):
            while not await waiting(core.pool):  # noqa: ASYNC110 - nothing tells that a lock is waited for
                await asyncio.sleep(0.01)
        await renewal.commit()
    assert (await sending).headers["location"] == "/me/devices?disconnected"
    assert renewed is not None and [await works(core, one) for one in (token, renewed.token)] == [False, False]
    assert await tokens.apps(core.pool, patient.patient_id, core.clock()) == []


async def test_nobody_disconnects_the_app_of_another(core: Core) -> None:
    mine, browser = await logged_in(core)
    other = await new_patient(core)
    token = await tokens.create(core.pool, other.patient_id, core.clock())
    (app,) = await tokens.apps(core.pool, other.patient_id, core.clock())
    page = await browser.get("/me/devices")
    await browser.post("/me/devices/disconnect", page, app=app["app"])
    assert await works(core, token)
    assert mine.patient_id != other.patient_id


async def test_only_the_page_itself_makes_codes(core: Core) -> None:
    patient, browser = await logged_in(core)
    foreign = await Browser(core).get("/login")
    for path in ("/me/devices/connect", "/me/devices/disconnect"):
        assert (await browser.post(path, foreign, app="x")).status_code == 403
        assert (await browser.get(path)).headers["location"] == "/me/devices"
    found = "SELECT count(*) FROM gateway_code WHERE patient_id = $1"
    assert await core.pool.fetchval(found, patient.patient_id) == 0


async def test_without_login_there_is_no_code(core: Core) -> None:
    visitor = Browser(core)
    answer = await visitor.post("/me/devices/connect", await visitor.get("/login"))
    assert answer.status_code == 403 and "Sie sind nicht mehr angemeldet" in answer.text


async def test_an_app_that_is_missing_or_strange(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await browser.get("/me/devices")
    assert (await browser.post("/me/devices/disconnect", page)).status_code == 403
    assert (await browser.post("/me/devices/disconnect", page, app="\x00")).status_code == 403
    assert (await browser.post("/me/devices/disconnect", page, app="' OR 1=1")).status_code == 303


async def test_both_ways_of_production(oidc_core: Core, openid: OpenIdProvider) -> None:
    """The provider's access token, and the recorder's own by pairing code: one patient, whichever app sends."""
    traveller = Traveller(oidc_core, openid)
    await traveller.login(user="zoe")
    browser = traveller.here
    shown = (await browser.get("/me/devices")).text
    assert "mit Ihrem Konto beim Hersteller" in shown
    token = await connected(oidc_core, browser)
    meter = {"serialNumber": "Z1", "name": "Meter", "manufacturer": "M", "type": "337414009"}
    for number, bearer in enumerate((token, openid.access_token("zoe"))):
        async with gateway(oidc_core, bearer) as app:
            sent = meter | {"serialNumber": f"Z{number}", "startedAt": "2026-10-01T00:00:00Z"}
            assert (await app.put(f"/devices/meter-{number}", json=sent)).status_code == 201
            assert len((await app.get("/devices")).json()["devices"]) == number + 1
    page = await browser.get("/me/devices")
    assert "Z0" in page.text and "Z1" in page.text


async def test_an_account_of_the_provider_that_the_operator_disabled(oidc_core: Core, openid: OpenIdProvider) -> None:
    """Both tokens, the page and a new login are refused at once; another user is not."""
    traveller = Traveller(oidc_core, openid)
    await traveller.login(user="yuri")
    token = await connected(oidc_core, traveller.here)
    both = (token, openid.access_token("yuri"))
    assert [await works(oidc_core, one) for one in both] == [True, True]
    patient_id = await identities.find(oidc_core.pool, openid.issuer, openid.claims("yuri")["sub"])
    assert patient_id is not None
    assert await administration.disable(oidc_core.pool, patient_id, oidc_core.clock())
    assert [await works(oidc_core, one) for one in both] == [False, False]
    assert (await traveller.here.get("/me")).status_code == 303
    refused = await Traveller(oidc_core, openid).login(user="yuri")
    assert refused.status_code == 400 and "hat nicht geklappt" in refused.text
    assert (await Traveller(oidc_core, openid).login(user="xenia")).status_code == 303
    await administration.enable(oidc_core.pool, patient_id)
    assert [await works(oidc_core, one) for one in both] == [True, True]


async def test_an_id_token_is_refused_at_the_door(oidc_core: Core, openid: OpenIdProvider) -> None:
    claims = {**openid.claims("will"), "aud": [CLIENT_ID, AUDIENCE], "azp": CLIENT_ID, "nonce": "n"}
    assert not await works(oidc_core, openid.sign(claims))
    assert not await works(oidc_core, openid.sign(claims, typ="JWT"))
    assert await works(oidc_core, openid.access_token("will"))
