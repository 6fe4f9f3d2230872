"""Deleting everything: what goes, what stays, and that nobody else can do it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from ddr.http.core import Core
from ddr.store.audit.trail import Event
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients.accounts import create_patient
from ddr.store.patients.erasure import TABLES, delete_patient
from ddr.store.patients.login_attempts import ACCOUNT_LIMIT, ASKED_LIMIT
from tests.patient_pages.browser import Browser
from tests.patient_pages.test_consent import CGM, logged_in, scope
from tests.patient_pages.test_pages import paired
from tests.patient_pages.test_provider_login import Traveller
from tests.support.citus import not_over_servers
from tests.support.clock import Clock
from tests.support.openid import OpenIdProvider
from tests.support.patients import PASSWORD, add_device, list_diga, push_request

TABLES_OF_PATIENTS = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE a.attname = 'patient_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relnamespace = 'public'::regnamespace"""


async def rows(pool: asyncpg.Pool, patient_id: UUID) -> dict[str, int]:
    """How many rows each table of patient data has of this patient."""
    tables = await pool.fetch(TABLES_OF_PATIENTS)
    counts = {name: await pool.fetchval(f"SELECT count(*) FROM {name} WHERE patient_id = $1", patient_id)
              for (name,) in tables}  # fmt: skip
    return {name: count for name, count in counts.items() if count}


@not_over_servers
async def test_every_table_of_patient_data_is_thought_of(pool: asyncpg.Pool) -> None:
    """A new table has to be added to TABLES."""
    named = await pool.fetch(TABLES_OF_PATIENTS)
    assert {row["relname"] for row in named} == {*TABLES, "audit", "audit_packed", "erased"}


async def test_everything_goes_but_the_trail(core: Core) -> None:
    patient, browser = await paired(core, list_diga(core, "00001"), list_diga(core, "00002"))
    await add_device(core, patient, "GlukoSense 7", CGM, "SN-1")
    await gateway_tokens.create(core.pool, patient.patient_id, core.clock())
    assert {"pairing", "device", "sensor", "gateway_token", "account"} <= (
        await rows(core.pool, patient.patient_id)
    ).keys()
    response = await browser.post("/me/delete", await browser.get("/me/delete"), password=PASSWORD)
    assert (response.status_code, response.headers["location"]) == (303, "/deleted")
    assert (await rows(core.pool, patient.patient_id)).keys() == {"audit", "erased"}
    trail = await core.pool.fetch(
        "SELECT event, detail FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient.patient_id
    )
    assert [row["event"] for row in trail][-3:] == [Event.PAIRING_ENDED_BY_PATIENT] * 2 + [Event.DATA_DELETED]
    assert patient.username not in str([dict(row) for row in trail])
    assert "Ihre Daten sind gelöscht" in (await browser.get("/deleted")).text
    assert (await browser.get("/me")).headers["location"] == "/login"
    assert (await browser.login(patient)).status_code == 422


async def test_the_page_says_what_stays(core: Core) -> None:
    _, browser = await logged_in(core)
    stays = (await browser.get("/me/delete")).text.partition("Das bleibt")[2]
    for words in ("Was Apps schon gelesen haben", "Das Protokoll der Zugriffe", "Was der Betreiber gesichert hat"):
        assert words in stays


async def test_all_sessions_of_the_patient_end(core: Core) -> None:
    patient, browser = await logged_in(core)
    other = Browser(core)
    await other.login(patient)
    await browser.post("/me/delete", await browser.get("/me/delete"), password=PASSWORD)
    assert (await other.get("/me")).status_code == 303


async def test_others_keep_everything(core: Core) -> None:
    other, _ = await paired(core, list_diga(core))
    before = await rows(core.pool, other.patient_id)
    _, browser = await paired(core, list_diga(core))
    await browser.post("/me/delete", await browser.get("/me/delete"), password=PASSWORD)
    assert await rows(core.pool, other.patient_id) == before


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "x" * 300])
async def test_without_the_password_nothing_is_deleted(core: Core, password: str) -> None:
    patient, browser = await logged_in(core)
    response = await browser.post("/me/delete", await browser.get("/me/delete"), password=password)
    assert response.status_code == 422
    assert "Es wurde nichts gelöscht" in response.text
    assert "account" in await rows(core.pool, patient.patient_id)


async def test_the_password_of_another_account_does_not_help(core: Core) -> None:
    _, browser = await logged_in(core)
    await create_patient(core.pool, "mallory", "mallory's password", core.clock())
    page = await browser.get("/me/delete")
    assert (
        await browser.post("/me/delete", page, username="mallory", password="mallory's password")
    ).status_code == 422


async def test_guessing_the_password_is_throttled(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await browser.get("/me/delete")
    for attempt in range(ASKED_LIMIT):
        response = await browser.post("/me/delete", page, password="wrong")
        assert ("Zu viele Versuche" in response.text) == (attempt >= ACCOUNT_LIMIT)
    response = await browser.post("/me/delete", page, password=PASSWORD)
    assert response.status_code == 422
    assert "Zu viele Versuche" in response.text


async def test_another_site_cannot_delete(core: Core) -> None:
    patient, browser = await logged_in(core)
    page = await Browser(core).get("/login")
    assert (await browser.post("/me/delete", page, password=PASSWORD)).status_code == 403
    assert "account" in await rows(core.pool, patient.patient_id)


async def test_a_decision_at_the_same_time_leaves_nothing(core: Core) -> None:
    """Another window allows a DiGA while this one deletes: whichever is first, nothing is left."""
    patient, browser = await logged_in(core)
    requests = [await push_request(core, list_diga(core, f"1000{n}"), CGM) for n in range(6)]
    page = await browser.consent_page(requests[0])
    forms = [{"request_uri": uri, "decision": "approve", "scope": scope(core, CGM)} for uri in requests]
    posts = [browser.post("/consent", page, **form) for form in forms]
    await asyncio.gather(*posts[:3], delete_patient(core.pool, patient.patient_id, core.clock()), *posts[3:])
    assert (await rows(core.pool, patient.patient_id)).keys() == {"audit", "erased"}


async def test_deleting_twice_does_no_harm(core: Core) -> None:
    patient, _ = await logged_in(core)
    assert await delete_patient(core.pool, patient.patient_id, core.clock())
    assert not await delete_patient(core.pool, patient.patient_id, core.clock())


async def test_a_database_that_goes_away_as_it_is_done(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit was made and its end not heard: who tries again is nobody any more, and would never know."""
    done = False

    async def lost(pool: asyncpg.Pool, *of: Any) -> bool:
        if done:
            await delete_patient(pool, *of)
        raise ConnectionError

    _, browser = await logged_in(core)
    monkeypatch.setattr("ddr.patient_pages.deletion.delete_patient", lost)
    with pytest.raises(ConnectionError):  # 503, around the pages
        await browser.post("/me/delete", await browser.get("/me/delete"), password=PASSWORD)
    assert (await browser.get("/me")).status_code == 200
    done = True
    response = await browser.post("/me/delete", await browser.get("/me/delete"), password=PASSWORD)
    assert (response.status_code, response.headers["location"]) == (303, "/deleted")


async def test_at_the_provider_a_new_login_is_needed(oidc_core: Core, openid: OpenIdProvider, clock: Clock) -> None:
    traveller = Traveller(oidc_core, openid)
    await traveller.login(user="erna")
    page = await traveller.here.get("/me/delete")
    assert 'href="/login/confirm"' in page.text
    assert "Endgültig löschen" not in page.text
    assert (await traveller.here.post("/me/delete", page)).status_code == 422
    await traveller.login("/login/confirm", user="erna")
    page = await traveller.here.get("/me/delete")
    assert "Endgültig löschen" in page.text
    assert (await traveller.here.post("/me/delete", page)).headers["location"] == "/deleted"
    subject = openid.claims("erna")["sub"]
    assert await oidc_core.pool.fetchval("SELECT count(*) FROM login_identity WHERE subject = $1", subject) == 0


async def test_a_new_login_counts_for_minutes(oidc_core: Core, openid: OpenIdProvider, clock: Clock) -> None:
    traveller = Traveller(oidc_core, openid)
    await traveller.login(user="frida")
    await traveller.login("/login/confirm", user="frida")
    clock.advance(300)
    page = await traveller.here.get("/me/delete")
    assert (await traveller.here.post("/me/delete", page)).status_code == 422


async def test_pressing_twice_makes_no_new_patient(oidc_core: Core, openid: OpenIdProvider) -> None:
    """The provider remembers who it is: a way to the login would make the patient known again at once."""
    traveller = Traveller(oidc_core, openid)
    await traveller.login(user="greta")
    await traveller.login("/login/confirm", user="greta")
    page, cookies = await traveller.here.get("/me/delete"), dict(traveller.here.http.cookies)
    assert (await traveller.here.post("/me/delete", page)).headers["location"] == "/deleted"
    traveller.here.http.cookies = httpx.Cookies(cookies)  # the second form was sent before the answer came
    again = await traveller.here.post("/me/delete", page)
    assert (again.status_code, "location" in again.headers) == (403, False)
    assert "kann schon das erste Mal gezählt haben" in again.text
    subject = openid.claims("greta")["sub"]
    assert await oidc_core.pool.fetchval("SELECT count(*) FROM login_identity WHERE subject = $1", subject) == 0
