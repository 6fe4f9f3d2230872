"""The consent page and the decision (CON-001 to CON-007, AS-016, AS-017)."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.patient_pages.dates import day
from ddr.scopes.parse import granted
from tests.diga_api.world import Body
from tests.patient_pages.browser import Browser, answer, choices, inputs
from tests.support.clock import Clock
from tests.support.patients import CALLBACK, Patient, add_device, list_diga, new_patient, push_request
from tests.support.trust import FakeTrust

CGM, PRESSURE = "continuous-glucose-measurement", "blood-pressure-value"


def scope(core: Core, name: str) -> str:
    """The scope of the MIV with this package name."""
    miv = core.catalog.by_name(name)
    assert miv is not None
    return miv.scope


async def logged_in(core: Core, lang: str = "de") -> tuple[Patient, Browser]:
    """A patient at a browser."""
    patient, browser = await new_patient(core), Browser(core, lang)
    await browser.login(patient)
    return patient, browser


async def consents(core: Core, patient: Patient) -> dict[str, Any]:
    """The consents in force, by ValueSet, with pairing id and end."""
    rows = await core.pool.fetch(
        "SELECT miv_url, until_ms, pairing_id FROM consent JOIN pairing USING (patient_id, pairing_no) "
        "WHERE patient_id = $1 AND withdrawn_ms IS NULL",
        patient.patient_id,
    )
    return {row["miv_url"]: row for row in rows}


async def test_each_kind_is_one_unticked_choice(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await browser.consent_page(await push_request(core, list_diga(core), CGM, PRESSURE))
    boxes = choices(page.text)
    assert {box["name"] for box in boxes} == {"scope"}
    assert [box["value"] for box in boxes] == [miv.scope for miv in core.catalog.mivs if miv.name in (CGM, PRESSURE)]
    assert not any("checked" in box for box in boxes)


async def test_refusing_is_as_easy_as_allowing(core: Core) -> None:
    _, browser = await logged_in(core)
    page = await browser.consent_page(await push_request(core, list_diga(core)))
    buttons = [field for field in inputs(page.text) if field.get("name") == "decision"]
    assert [button["value"] for button in buttons] == ["approve", "deny"]
    assert buttons[0]["class"] == buttons[1]["class"]


async def test_the_page_informs(core: Core) -> None:
    patient, browser = await logged_in(core)
    await add_device(core, patient, "GlukoSense 7", CGM, "SN-1234-77")
    page = (await browser.consent_page(await push_request(core, list_diga(core), CGM, PRESSURE))).text
    for fact in (
        "GlucoPilot",
        "Beispiel Health GmbH",
        "Gewebezucker-Verlauf",
        "GlukoSense 7",
        "Noch keines verbunden",  # for blood pressure
        "Seriennummer",
        "22. November 2027",
        "widerrufen",
        "Pseudonym",
    ):
        assert fact in page
    assert "SN-1234-77" not in page


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_the_page_says_how_long_there_is_to_decide(core: Core, clock: Clock, lang: str) -> None:
    """A slow reader decided after the request had ended, and met a page that did not know it any more."""
    _, browser = await logged_in(core, lang)
    request_uri = await push_request(core, list_diga(core))  # at 11:00, for ten minutes
    page = await browser.consent_page(request_uri)
    assert {"de": "bis 11:10 Uhr (deutsche Zeit)", "en": "until 11:10 (German time)"}[lang] in page.text
    clock.advance(599)
    assert (await browser.consent_page(request_uri)).status_code == 200
    clock.advance(1)
    late = await browser.post("/consent", page, request_uri=request_uri, decision="deny")
    assert late.status_code == 400 and {"de": "zurück in die App", "en": "back to the app"}[lang] in late.text


async def test_english_by_preference(core: Core) -> None:
    _, browser = await logged_in(core, "en-GB,en;q=0.9,de;q=0.5")
    page = (await browser.consent_page(await push_request(core, list_diga(core)))).text
    assert '<html lang="en">' in page
    assert "May GlucoPilot read your data?" in page
    assert "22 November 2027" in page


async def test_names_from_the_registry_are_escaped(core: Core) -> None:
    _, browser = await logged_in(core)
    diga = list_diga(core, "00666", name="<script>alert(1)</script>", manufacturer='"><img src=x>')
    page = (await browser.consent_page(await push_request(core, diga))).text
    assert "<script" not in page
    assert "<img" not in page


async def test_partial_consent(core: Core) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM, PRESSURE, state="a b&c")
    response = await browser.decide(request_uri, "approve", scope(core, CGM))
    assert response.status_code == 303
    assert response.headers["location"].startswith(f"{CALLBACK}?code=")
    assert {name: value for name, value in answer(response).items() if name != "code"} == {
        "state": "a b&c",
        "iss": core.settings.public_base_url,
    }
    given = await consents(core, patient)
    assert list(given) == [scope(core, CGM).partition("=")[2]]
    assert next(iter(given.values()))["until_ms"] <= core.clock() + 365 * 86_400_000
    stored = await core.pool.fetchval("SELECT scope FROM token_grant WHERE patient_id = $1", patient.patient_id)
    assert granted(stored).valuesets == tuple(given)


async def test_refusal(core: Core) -> None:
    patient, browser = await logged_in(core)
    response = await browser.decide(await push_request(core, list_diga(core)), "deny", scope(core, CGM))
    assert answer(response) == {"error": "access_denied", "state": "st-1", "iss": core.settings.public_base_url}
    assert await consents(core, patient) == {}
    assert await core.pool.fetchval("SELECT count(*) FROM token_grant WHERE patient_id = $1", patient.patient_id) == 0


async def test_allowing_nothing_is_a_question_back(core: Core) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    response = await browser.decide(request_uri, "approve")
    assert response.status_code == 422
    assert "Sie haben nichts ausgewählt" in response.text
    assert "<title>Fehler:" in response.text
    assert await consents(core, patient) == {}
    assert (await browser.decide(request_uri, "approve", scope(core, CGM))).status_code == 303


async def test_reload_works_and_the_decision_is_final(core: Core, clock: Clock) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    for _ in range(3):
        page = await browser.consent_page(request_uri)
        assert page.status_code == 200
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    assert (await browser.post("/consent", page, **form)).status_code == 303
    clock.advance(core.settings.code_seconds)
    again = await browser.post("/consent", page, **form)
    assert (again.status_code, "location" in again.headers) == (400, False)
    assert "Sie haben schon entschieden" in again.text and "keine Daten" not in again.text


async def test_of_many_decisions_at_once_a_refusal_counts(core: Core) -> None:
    """A browser shows the last answer only, and who has pressed "refuse" anywhere must find that nobody was let in."""
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    page = await browser.consent_page(request_uri)
    form = {"request_uri": request_uri, "scope": scope(core, CGM)}
    decisions = ["approve", "deny"] * 4
    responses = await asyncio.gather(*(browser.post("/consent", page, **form, decision=d) for d in decisions))
    told = [answer(response) for response in responses]
    assert all(one.get("error") == "access_denied" for one in told[1::2])
    assert len({one["code"] for one in told if "code" in one}) <= 1, "an agreement that was answered before"
    grants = "SELECT count(*) FROM token_grant WHERE patient_id = $1 AND revoked_ms IS NULL"
    codes = "SELECT count(*) FROM authorization_code WHERE patient_id = $1"
    assert [await core.pool.fetchval(sql, patient.patient_id) for sql in (grants, codes)] == [0, 0]
    assert await consents(core, patient) == {}
    assert answer(await browser.post("/consent", page, **form, decision="approve"))["error"] == "access_denied"


async def test_a_refusal_after_the_end_of_what_was_agreed_to_is_one(core: Core, clock: Clock) -> None:
    """In the old tab, before the DiGA has redeemed its code: it is told, and what has ended keeps its end."""
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    page = await browser.consent_page(request_uri)
    form = {"request_uri": request_uri, "scope": scope(core, CGM)}
    assert "code" in answer(await browser.post("/consent", page, **form, decision="approve"))
    await browser.post("/me/withdraw", await browser.get("/me"), kind="all")
    revoked = "SELECT revoked_ms FROM token_grant WHERE patient_id = $1"
    assert await core.pool.fetchval(revoked, patient.patient_id) == (ended_ms := clock())
    clock.advance(1)
    assert answer(await browser.post("/consent", page, **form, decision="deny"))["error"] == "access_denied"
    assert await core.pool.fetchval(revoked, patient.patient_id) == ended_ms


@pytest.mark.parametrize(
    "fields",
    [
        {"decision": "approve", "scope": "patient/Observation.rs?code:in=https://example.org/other"},
        {"decision": "approve", "scope": "patient/Device.rs"},
        {"decision": "approve", "scope": "patient/*.rs"},
        {"decision": "maybe"},
        {},
    ],
)
async def test_what_was_not_asked_cannot_be_agreed_to(core: Core, fields: dict[str, str]) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    page = await browser.consent_page(request_uri)
    response = await browser.post("/consent", page, request_uri=request_uri, **fields)
    assert response.status_code == 400
    assert await consents(core, patient) == {}


async def test_a_kind_outside_the_request_cannot_be_added(core: Core) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    response = await browser.decide(request_uri, "approve", scope(core, CGM), scope(core, PRESSURE))
    assert response.status_code == 400


async def test_a_kind_that_the_registry_took_back_is_not_offered(core: Core) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core, "00005"), CGM, PRESSURE)
    list_diga(core, "00005", valuesets=frozenset({scope(core, CGM).partition("=")[2]}))
    boxes = choices((await browser.consent_page(request_uri)).text)
    assert [box["value"] for box in boxes] == [scope(core, CGM)]


@pytest.mark.parametrize(("lang", "number"), [("de", "00021"), ("en", "00022")])
async def test_a_request_of_which_nothing_is_left_leads_back_to_the_diga(core: Core, lang: str, number: str) -> None:
    """RFC 6749 section 4.1.2.1, for what the DiGA-VZ changes between the authorization endpoint and the decision."""
    patient, browser = await logged_in(core, lang)
    diga = list_diga(core, number)
    request_uri = await push_request(core, diga, CGM, state="a&b")
    before = await browser.consent_page(request_uri)
    list_diga(core, number, valuesets=frozenset({scope(core, PRESSURE).partition("=")[2]}))
    form = {"request_uri": request_uri, "scope": scope(core, CGM), "days": "90"}
    clicked = await browser.post("/consent", before, decision="approve", **form)
    stranger = await Browser(core, lang).consent_page(request_uri)  # nobody needs to log in for this
    for page in (clicked, await browser.consent_page(request_uri), stranger):
        assert (page.status_code, "location" in page.headers) == (400, False)
        assert choices(page.text) == [] and 'name="decision"' not in page.text
        assert {"de": "darf diese Daten nicht mehr lesen", "en": "may no longer read this data"}[lang] in page.text
        (back,) = re.findall(rf'href="({re.escape(CALLBACK)}[^"]*)"', page.text)
        told = dict(parse_qsl(urlsplit(unescape(back)).query))
        assert told == {"error": "invalid_scope", "state": "a&b", "iss": core.settings.public_base_url}
    recorded = await core.pool.fetch("SELECT detail FROM audit WHERE client_id = $1", diga.client_id)
    assert [row["detail"] for row in recorded] == [{"endpoint": "/consent", "error": "invalid_scope"}]  # once
    assert await consents(core, patient) == {}
    denied = await browser.post("/consent", before, decision="deny", **form)
    assert "error=access_denied" in denied.headers["location"]


async def test_a_kind_that_was_given_back_can_be_agreed_to(core: Core) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core, "00005"), CGM)
    list_diga(core, "00005", valuesets=frozenset())
    assert (await browser.consent_page(request_uri)).status_code == 400
    list_diga(core, "00005")
    assert "code=" in (await browser.decide(request_uri, "approve", scope(core, CGM))).headers["location"]
    assert len(await consents(core, patient)) == 1


async def test_a_second_pairing_shows_what_is_granted_and_keeps_it(core: Core, clock: Clock) -> None:
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
    first = await consents(core, patient)
    clock.advance(86_400)
    await browser.login(patient)
    request_uri = await push_request(core, diga, CGM, PRESSURE)
    page = await browser.consent_page(request_uri)
    assert page.text.count("Schon erlaubt bis 22. November 2027") == 1
    assert not any("checked" in box for box in choices(page.text))
    await browser.decide(request_uri, "approve", scope(core, PRESSURE))
    both = await consents(core, patient)
    assert len(both) == 2
    assert {row["pairing_id"] for row in both.values()} == {row["pairing_id"] for row in first.values()}
    assert all(both[url] == row for url, row in first.items())


async def test_agreeing_again_extends(core: Core, clock: Clock) -> None:
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    ends = []
    for _ in range(2):
        await browser.login(patient)
        await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
        ends.append(next(iter((await consents(core, patient)).values()))["until_ms"])
        clock.advance(30 * 86_400)
    assert ends[1] - ends[0] == 30 * 86_400_000


async def test_nothing_is_shortened_silently(core: Core, clock: Clock) -> None:
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
    clock.advance(86_400)
    for lang, texts in (
        ("de", ["90 Tage (bis 21. Februar 2027 statt 22. November 2027)", "(bis 23. November 2027 statt 22. November"]),
        (
            "en",
            ["90 days (until 21 February 2027 instead of 22 November 2027)", "30 days (until 23 December 2026 instead"],
        ),
    ):
        reader = Browser(core, lang)
        await reader.login(patient)
        page = await reader.consent_page(await push_request(core, diga, CGM))
        assert all(text in page.text for text in texts), page.text
        assert "bleibt erlaubt, bis Sie es widerrufen" not in page.text
    await browser.login(patient)
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM), days="")  # nobody was asked
    ends = [row["until_ms"] for row in (await consents(core, patient)).values()]
    assert max(ends) == clock() + 365 * 86_400_000
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM), days="30")  # chosen
    assert {row["until_ms"] for row in (await consents(core, patient)).values()} == {clock() + 30 * 86_400_000}


async def test_a_consent_that_ran_out_is_not_shown_as_granted(core: Core, clock: Clock) -> None:
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    await browser.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
    clock.advance(365 * 86_400)
    await browser.login(patient)
    assert "Schon erlaubt" not in (await browser.consent_page(await push_request(core, diga, CGM))).text
    assert "Zurzeit darf keine App" in (await browser.get("/me")).text


async def test_another_patients_consent_is_not_shown(core: Core) -> None:
    _, first = await logged_in(core)
    diga = list_diga(core)
    await first.decide(await push_request(core, diga, CGM), "approve", scope(core, CGM))
    _, second = await logged_in(core)
    assert "Schon erlaubt" not in (await second.consent_page(await push_request(core, diga, CGM))).text


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_without_login_nothing_is_decided(core: Core, decision: str) -> None:
    browser = Browser(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    page = await browser.get("/login")
    form = {"request_uri": request_uri, "decision": decision, "scope": scope(core, CGM)}
    response = await browser.post("/consent", page, **form)
    assert response.headers["location"].startswith("/login?request_uri=")
    await browser.login(await new_patient(core))
    assert (await browser.consent_page(request_uri)).status_code == 200


@pytest.mark.parametrize(("kind", "type_code"), [(PRESSURE, "70665002"), ("lung-function-testing", "334990001")])
async def test_a_device_without_sensors_is_named_for_what_it_measures(core: Core, kind: str, type_code: str) -> None:
    """By its type before the first measurement, by its measurements after that."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await body.device("Messgerät 3", type_code=type_code)
    page = (await browser.consent_page(await push_request(core, list_diga(core), kind))).text
    assert "Messgerät 3" in page and "Noch keines verbunden" not in page
    device_no = await body.device("Altes Gerät", type_code=None)
    await body.pressure(core.clock() - 60_000, 120, 80, device_no=device_no)
    page = (await browser.consent_page(await push_request(core, list_diga(core), PRESSURE))).text
    assert "Altes Gerät" in page
    assert "Blutdruck" in (await browser.get("/me/devices")).text


async def test_the_page_says_how_far_back_a_chunk_of_an_earlier_setting_reaches(core: Core) -> None:
    """A chunk in which the history begins is shown whole."""
    patient, browser = await logged_in(core)
    body = Body(core, patient.patient_id)
    await body.sensor(await body.device(), CGM, span_ms=7 * DAY_MS)
    page = await browser.consent_page(await push_request(core, list_diga(core), CGM))
    floor_ms = core.catalog.floor_ms(body.miv(CGM).valueset, core.clock())
    assert f"seit dem {day('de', floor_ms - 7 * DAY_MS)}" in page.text


async def test_consent_by_another_site_is_refused(core: Core) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    attacker = Browser(core)
    page = await attacker.get("/login")
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    assert (await browser.post("/consent", page, **form)).status_code == 403
    assert await consents(core, patient) == {}


@pytest.mark.parametrize("path", ["/consent", "/consent?request_uri=", "/consent?request_uri=urn:x"])
async def test_unknown_requests_are_explained_and_never_redirected(core: Core, path: str) -> None:
    _, browser = await logged_in(core)
    response = await browser.get(path)
    assert (response.status_code, "location" in response.headers) == (400, False)
    assert '<html lang="de">' in response.text


async def test_expired_requests_are_explained(core: Core, clock: Clock) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    clock.advance(601)
    response = await browser.consent_page(request_uri)
    assert response.status_code == 400
    assert "Diese Anfrage gilt nicht mehr" in response.text and "keine Daten" not in response.text


@pytest.mark.parametrize("change", [{"active": False}, {"redirect_uri": "https://diga.example/other"}])
async def test_a_diga_that_changed_meanwhile_gets_nothing(core: Core, change: dict[str, Any]) -> None:
    patient, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core, "00009"), CGM)
    page = await browser.consent_page(request_uri)
    list_diga(core, "00009", **change)
    form = {"request_uri": request_uri, "decision": "approve", "scope": scope(core, CGM)}
    response = await browser.post("/consent", page, **form)
    assert (response.status_code, "location" in response.headers) == (400, False)
    assert await consents(core, patient) == {}


async def test_a_stale_registry_is_no_ground_for_consent(core: Core, trust: FakeTrust) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core))
    trust.is_stale = True
    response = await browser.consent_page(request_uri)
    assert (response.status_code, response.headers["retry-after"]) == (503, "300")


async def test_the_form_may_lead_to_the_diga(core: Core) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core, "00007", redirect_uri="org.example.diga:/callback"))
    policy = (await browser.consent_page(request_uri)).headers["content-security-policy"]
    assert policy.endswith("form-action 'self' https: org.example.diga:")
    assert (await browser.get("/me")).headers["content-security-policy"].endswith("form-action 'self'")


async def test_a_query_of_the_redirect_uri_is_kept(core: Core) -> None:
    _, browser = await logged_in(core)
    diga = list_diga(core, "00008", redirect_uri=f"{CALLBACK}?app=1")
    response = await browser.decide(await push_request(core, diga, CGM), "deny")
    assert response.headers["location"].startswith(f"{CALLBACK}?app=1&error=access_denied&")
