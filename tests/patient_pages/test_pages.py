"""The patient's own pages: connections, withdrawal, audit trail, devices; and what all pages have in common."""

from __future__ import annotations

import secrets
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from ddr import failures
from ddr.fhir.instants import parse_date_time
from ddr.http.core import Core
from ddr.http.guard import guarded
from ddr.http.pages import PROBLEMS
from ddr.patient_pages.app import PAGES, create_consent
from ddr.patient_pages.texts.reasons import refusal
from ddr.scopes.decision import Reason
from ddr.scopes.diga import Diga
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.unpairing import lose, unpair_client, unpair_expired
from ddr.store.patients import views as patient_view
from tests.patient_pages.browser import Browser
from tests.patient_pages.test_consent import CGM, PRESSURE, consents, logged_in, scope
from tests.support.clock import Clock
from tests.support.patients import Patient, add_device, list_diga, new_patient, push_request, record_read
from tests.support.touched import touched
from tests.support.trust import FakeTrust


async def paired(core: Core, *digas: Diga, lang: str = "de") -> tuple[Patient, Browser]:
    """A patient at a browser who allowed each of `digas` two kinds of data."""
    patient, browser = await logged_in(core, lang)
    for diga in digas:
        request_uri = await push_request(core, diga, CGM, PRESSURE)
        await browser.decide(request_uri, "approve", scope(core, CGM), scope(core, PRESSURE))
    return patient, browser


async def test_connections_show_who_reads_what(core: Core, clock: Clock) -> None:
    diga = list_diga(core)
    patient, browser = await paired(core, diga)
    page = (await browser.get("/me")).text
    for fact in ("GlucoPilot", "Beispiel Health GmbH", "Blutdruck", "bis 22. November 2027", "noch nie"):
        assert fact in page
    pairing_id = next(iter((await consents(core, patient)).values()))["pairing_id"]
    clock.advance(60)
    await record_read(core, patient, diga, CGM, pairing_id)
    assert "22. November 2026, 11:01 Uhr" in (await browser.get("/me")).text


async def test_no_connection(core: Core) -> None:
    _, browser = await logged_in(core)
    assert "Zurzeit darf keine App" in (await browser.get("/me")).text


async def test_withdraw_everything_of_one(core: Core) -> None:
    one, other = list_diga(core, "00001"), list_diga(core, "00002", name="PressureMate")
    patient, browser = await paired(core, one, other)
    response = await browser.post("/me/withdraw", await browser.get("/me"), client_id=one.client_id, kind="all")
    assert response.headers["location"] == "/me?withdrawn"
    page = (await browser.get("/me?withdrawn")).text
    assert "Ihre Zustimmung ist widerrufen" in page
    assert "Beendete Verbindungen" in page
    assert "Sie haben Ihre Zustimmung widerrufen." in page
    alive = "SELECT client_id FROM pairing WHERE patient_id = $1 AND ended_ms IS NULL"
    assert [row["client_id"] for row in await core.pool.fetch(alive, patient.patient_id)] == [other.client_id]
    open_grants = "SELECT count(*) FROM token_grant WHERE patient_id = $1 AND revoked_ms IS NULL"
    assert await core.pool.fetchval(open_grants, patient.patient_id) == 1


async def test_withdraw_one_kind(core: Core) -> None:
    diga = list_diga(core)
    patient, browser = await paired(core, diga)
    kind = scope(core, CGM).partition("=")[2]
    await browser.post("/me/withdraw", await browser.get("/me"), client_id=diga.client_id, kind=kind)
    assert list(await consents(core, patient)) == [scope(core, PRESSURE).partition("=")[2]]
    page = (await browser.get("/me?withdrawn")).text
    assert "widerrufen, wie Sie es gewählt haben" in page
    assert "keine Daten mehr" not in page


async def test_withdraw_all(core: Core) -> None:
    patient, browser = await paired(core, list_diga(core, "00001"), list_diga(core, "00002"))
    await browser.post("/me/withdraw", await browser.get("/me"), kind="all")
    assert await consents(core, patient) == {}
    assert "Es werden keine Daten mehr weitergegeben" in (await browser.get("/me?withdrawn")).text


@pytest.mark.parametrize("fields", [{}, {"kind": "https://example.org/x"}, {"client_id": "urn:diga:bfarm:00001"}])
async def test_withdrawal_must_say_what(core: Core, fields: dict[str, str]) -> None:
    patient, browser = await paired(core, list_diga(core))
    assert (await browser.post("/me/withdraw", await browser.get("/me"), **fields)).status_code == 403
    assert len(await consents(core, patient)) == 2


@pytest.mark.parametrize("kind", ["https://example.org/x", "\x00", "everything"])
async def test_what_was_not_granted_cannot_be_withdrawn(core: Core, kind: str) -> None:
    diga = list_diga(core)
    patient, browser = await paired(core, diga)
    response = await browser.post("/me/withdraw", await browser.get("/me"), client_id=diga.client_id, kind=kind)
    assert response.status_code == 303
    assert len(await consents(core, patient)) == 2


async def test_withdrawal_needs_our_own_form(core: Core) -> None:
    patient, browser = await paired(core, list_diga(core))
    other_page = await Browser(core).get("/login")
    assert (await browser.post("/me/withdraw", other_page, kind="all")).status_code == 403
    assert len(await consents(core, patient)) == 2


async def test_one_patient_cannot_withdraw_for_another(core: Core) -> None:
    diga = list_diga(core)
    patient, _ = await paired(core, diga)
    _, stranger = await logged_in(core)
    await stranger.post("/me/withdraw", await stranger.get("/me"), client_id=diga.client_id, kind="all")
    assert len(await consents(core, patient)) == 2


async def test_patients_learn_that_a_diga_was_deregistered(core: Core) -> None:
    diga = list_diga(core, "00013", name="AltApp")
    _, browser = await paired(core, diga)
    await unpair_client(core.pool, diga.client_id, "diga-unlisted", core.clock())
    page = (await browser.get("/me")).text
    assert "AltApp" in page
    assert "nicht mehr im Verzeichnis" in page
    assert isinstance(core.registry, FakeTrust)
    del core.registry.digas[diga.client_id]  # its last certificate has ended, too
    for path in ("/me", "/me/access", "/me/accesses.csv", "/me/consents.csv"):
        assert "AltApp" in (await browser.get(path)).text, path
    assert diga.client_id not in (await browser.get("/me/access")).text


async def test_the_trail_in_plain_words(core: Core, clock: Clock) -> None:
    diga = list_diga(core)
    patient, browser = await paired(core, diga)
    for _ in range(3):
        clock.advance(300)
        await record_read(core, patient, diga, CGM, "0" * 64)
    page = (await browser.get("/me/access")).text
    for fact in (
        "22. November 2026",
        "Sie haben <bdi>GlucoPilot</bdi> erlaubt, Daten zu lesen: Blutdruck und Gewebezucker-Verlauf.",
        "<bdi>GlucoPilot</bdi> hat gelesen: Gewebezucker-Verlauf.",
        "3-mal, zuletzt um 11:15 Uhr",
        "11:15, 11:10, 11:05",
    ):
        assert fact in page
    assert "0" * 64 not in page


async def test_kinds_of_data_are_told_as_in_a_sentence_and_never_as_an_address(core: Core) -> None:
    """A kind that is no longer served has no name any more; what patients read was the address of its ValueSet."""
    patient, browser = await logged_in(core)
    served = [miv.valueset for miv in core.catalog.mivs]
    former = [f"https://example.org/ValueSet/{name}" for name in ("former", "another")]
    for valuesets in (served[:3], [*former, served[0]], []):
        detail = {"type": "Observation", "valuesets": valuesets}
        await record(core.pool, Event.DATA_READ, core.clock(), patient_id=patient.patient_id, detail=detail)
    first, second, third = (core.catalog.mivs[at].title_de for at in range(3))
    page = (await browser.get("/me/access")).text
    assert f"hat gelesen: {first}, {second} und {third}." in page
    assert f"hat gelesen: Frühere Art von Daten und {first}." in page
    assert "ValueSet" not in page


async def test_the_trail_says_why_an_app_was_turned_away(core: Core) -> None:
    """An app that asked too early is everyday, one with another app's key is not."""
    diga = list_diga(core)
    patient, browser = await logged_in(core)
    for reason in (*Reason, "grace-period", "not-permitted"):
        assert refusal("de", reason) and refusal("en", reason), reason
    for reason in ("grace-period", Reason.TOKEN_FOREIGN, "new-in-a-later-version"):
        detail = {"reason": str(reason)}
        await record(
            core.pool,
            Event.DATA_REFUSED,
            core.clock(),
            patient_id=patient.patient_id,
            client_id=diga.client_id,
            detail=detail,
        )
    page = (await browser.get("/me/access")).text
    assert "das wurde abgewiesen. Die App hatte kurz vorher schon gefragt" in page
    assert "das wurde abgewiesen. Die App hat den Zugangsschlüssel einer anderen App benutzt." in page
    assert "das wurde abgewiesen.</p>" in page


async def test_the_trail_is_the_patients_own(core: Core) -> None:
    await paired(core, list_diga(core))
    _, stranger = await logged_in(core)
    assert "Bisher hat niemand" in (await stranger.get("/me/access")).text


async def test_every_event_has_words(core: Core) -> None:
    patient, browser = await logged_in(core, "en")
    for event in Event:
        await record(core.pool, event, core.clock(), patient_id=patient.patient_id, client_id="urn:diga:bfarm:99999")
    page = (await browser.get("/me/access")).text
    assert page.count("Event about") == 1  # the rotation of signing keys, which has no patient
    assert "urn:diga:bfarm:99999" in page  # no longer listed: its identifier is all there is


async def test_long_trails_have_pages(core: Core, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.patient_pages.access.PAGE", 2)
    patient, browser = await logged_in(core)
    for _ in range(3):
        clock.advance(60)
        await record(core.pool, Event.DATA_READ, clock(), patient_id=patient.patient_id)
    first = (await browser.get("/me/access")).text
    assert "11:03" in first
    assert "11:01" not in first
    link = first.partition('href="/me/access?before=')[2].partition('"')[0]
    second = (await browser.get(f"/me/access?before={link}")).text
    assert "11:01" in second
    assert "Ältere Einträge" not in second
    assert "Zu den neuesten" in second


@pytest.mark.parametrize("before", ["", "7", "f" * 32])
async def test_places_in_the_trail_cannot_be_guessed(core: Core, before: str) -> None:
    _, browser = await logged_in(core)
    assert (await browser.get(f"/me/access?before={before}")).status_code == 404


async def test_devices_with_serial_numbers(core: Core) -> None:
    patient, browser = await logged_in(core)
    assert "noch kein Gerät" in (await browser.get("/me/devices")).text
    await add_device(core, patient, "GlukoSense 7", CGM, "SN-77")
    await add_device(core, patient, "GlukoSense 6", CGM, "SN-66")
    ended = "UPDATE device SET ended_ms = $2 WHERE patient_id = $1 AND serial_number = 'SN-66'"
    await core.pool.execute(ended, patient.patient_id, core.clock())
    page = (await browser.get("/me/devices")).text
    for fact in ("GlukoSense 7", "SN-77", "Muster Medizintechnik AG", "M-7", "Gewebezucker-Verlauf", "In Benutzung"):
        assert fact in page
    assert page.index("GlukoSense 7") < page.index("Benutzt bis 22. November 2026")
    _, stranger = await logged_in(core)
    assert "SN-77" not in (await stranger.get("/me/devices")).text


async def test_a_device_that_has_expired_is_not_in_use(core: Core, clock: Clock) -> None:
    """No app has to say that it ended: to a DiGA it is inactive from that day on. A date is the same day everywhere."""
    patient, browser = await logged_in(core)
    for serial in ("old", "new"):
        await add_device(core, patient, f"Sensor {serial}", CGM, serial)
    last = parse_date_time("2026-11-24")[1]
    await core.pool.execute(
        "UPDATE device SET expiration_date = '2026-11-24', expiration_ms = $2, started_ms = started_ms + 1"
        " WHERE patient_id = $1 AND serial_number = 'old'",
        patient.patient_id,
        last,
    )
    page = (await browser.get("/me/devices")).text
    assert page.count("In Benutzung") == 2 and page.index("Sensor old") < page.index("Sensor new")
    assert "<dd>24. November 2026</dd>" in page
    clock.advance((last - clock()) / 1000 + 1)
    page = (await (await browser.logged_in(patient)).get("/me/devices")).text
    assert page.count("In Benutzung") == 1 and "Abgelaufen" in page
    assert page.index("Sensor new") < page.index("Sensor old")


@pytest.mark.parametrize("path", ["/login", "/consent", "/me", "/me/access", "/me/devices", "/me/none", "/login/x"])
async def test_headers_of_every_page(core: Core, path: str) -> None:
    for browser in (Browser(core), (await logged_in(core))[1]):
        headers = (await browser.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy


async def test_pages_hold_no_script_and_no_inline_style(core: Core) -> None:
    patient, browser = await paired(core, list_diga(core), list_diga(core, "00002"))
    await add_device(core, patient, "GlukoSense 7", CGM, "SN-77")
    consent = f"/consent?request_uri={await push_request(core, list_diga(core))}"
    for path in ("/login", "/me", "/me/access", "/me/devices", consent):
        text = (await browser.get(path)).text
        for forbidden in ("<script", "<style", " style=", " onclick=", "javascript:", 'src="http', "<iframe"):
            assert forbidden not in text


@pytest.mark.parametrize("path", ["/me", "/me/access", "/me/devices"])
async def test_pages_need_a_login(core: Core, path: str) -> None:
    response = await Browser(core).get(path)
    assert (response.status_code, response.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("lang", ["de", "en"])
async def test_who_sends_a_form_after_the_session_has_ended_is_told(core: Core, clock: Clock, lang: str) -> None:
    """A provider that remembers the patient would lead to the pages at once, as if it had been done."""
    patient = await new_patient(core)
    browser = await Browser(core, lang).logged_in(patient)
    page = await browser.get("/me")
    clock.advance(core.settings.session_seconds)
    answer = await browser.post("/me/withdraw", page, kind="all")
    assert answer.status_code == 403
    assert {"de": "Sie sind nicht mehr angemeldet", "en": "You are signed out"}[lang] in answer.text
    assert 'href="/me"' in answer.text


async def test_every_page_below_me_is_guarded() -> None:
    guarded = {route.path for route in PAGES if "guarded" in route.name}
    assert guarded == {route.path for route in PAGES if route.path.startswith("/me")}


async def test_static_files(core: Core) -> None:
    browser = Browser(core)
    style = await browser.get("/static/style.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "max-age" in style.headers["cache-control"]
    assert (await browser.get("/static/app.py")).status_code == 404
    assert (await browser.get("/static/..%2fapp.py")).status_code == 404


async def test_wrong_methods(core: Core) -> None:
    for path, methods in (
        ("/login", "GET, HEAD, POST"),
        ("/consent", "GET, HEAD, POST"),
        ("/favicon.ico", "GET, HEAD"),
    ):
        response = await Browser(core).http.delete(path)
        assert (response.status_code, response.headers["allow"]) == (405, methods)
    assert "allow" not in (await Browser(core).get("/me/nothing")).headers


async def test_the_address_of_a_form_leads_to_its_page(core: Core, clock: Clock) -> None:
    """A page that was sent, or an error, is opened again by a reload, by a phone that had dropped the tab, by Enter."""
    _, browser = await logged_in(core)
    pages = {
        "/me/withdraw": "/me",
        "/logout": "/me",
        **{f"/me/devices/{name}": "/me/devices" for name in ("connect", "disconnect", "file", "file/back")},
        "/me/devices/file/take": "/me/devices/file",
    }
    assert {path: (await browser.get(path)).headers.get("location") for path in pages} == pages
    assert (await browser.get("/me")).status_code == 200
    clock.advance(core.settings.session_seconds)
    asked = [(await browser.get(path)).headers["location"] for path in pages if path != "/logout"]
    assert set(asked) == {"/login"}
    posts = {route.path for route in PAGES if route.methods == {"POST"}}
    assert posts <= {route.path for route in PAGES if route.methods and "GET" in route.methods}


async def test_a_fault_of_ours_has_a_page_without_details(core: Core) -> None:
    pages = guarded(create_consent(replace(core, pool=None)), *failures.PAGE)
    transport = httpx.ASGITransport(pages, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://recorder.example") as http:
        response = await http.get("/consent?request_uri=x")
    assert response.status_code == 500
    assert PROBLEMS["failed"].title.de in response.text
    assert response.headers["content-security-policy"]


async def test_without_builtin_accounts_there_is_no_login_form(core: Core) -> None:
    settings = replace(core.settings, allow_builtin_accounts=False)
    browser = Browser(replace(core, settings=settings))
    assert (await browser.get("/login")).status_code == 404
    assert callable(create_consent(core))


async def test_reads_touch_only_the_own_rows(core: Core) -> None:
    patient = await new_patient(core)
    assert await patient_view.devices(core.pool, patient.patient_id) == []
    assert await patient_view.last_read(core.pool, patient.patient_id, 0) is None


@pytest.mark.requirement("REG-011")
async def test_a_kind_of_data_that_an_app_lost_is_told_and_asked_anew(core: Core) -> None:
    diga = list_diga(core)
    _, browser = await paired(core, diga)
    miv = core.catalog.by_name(PRESSURE)
    assert miv is not None and await lose(core.pool, diga.client_id, miv.valueset, core.clock()) >= 1
    page = (await browser.get("/me")).text
    assert "<h3><bdi>GlucoPilot</bdi>: Blutdruck</h3>" in page
    assert "nicht mehr zugelassen. Ist sie es wieder, muss sie Sie neu fragen." in page
    access = (await browser.get("/me/access")).text
    assert "<bdi>GlucoPilot</bdi> darf nicht mehr lesen: Blutdruck." in access
    request_uri = await push_request(core, diga, PRESSURE)
    assert "Schon erlaubt" not in (await browser.consent_page(request_uri)).text
    await browser.decide(request_uri, "approve", scope(core, PRESSURE))
    assert "nicht mehr zugelassen" not in (await browser.get("/me")).text


async def test_a_kind_of_data_that_ended_twice_is_told_with_its_last_reason(core: Core, clock: Clock) -> None:
    """The app lost its permission, got it again, was allowed to read for a month more, and that is over."""
    diga = list_diga(core)
    patient, browser = await paired(core, diga)
    miv = core.catalog.by_name(PRESSURE)
    assert miv is not None and await lose(core.pool, diga.client_id, miv.valueset, core.clock()) >= 1
    await browser.decide(await push_request(core, diga, PRESSURE), "approve", scope(core, PRESSURE), days="30")
    clock.advance(31 * 86_400)
    await unpair_expired(core.pool, core.clock())
    page = (await (await browser.logged_in(patient)).get("/me")).text
    assert "<h3><bdi>GlucoPilot</bdi>: Blutdruck</h3>" in page
    assert "Beendet am 23. Dezember 2026. Ihre Zustimmung ist abgelaufen." in page
    assert "nicht mehr zugelassen" not in page


async def test_the_last_access_is_found_without_the_trail(core: Core) -> None:
    """A year of polling: 35,000 entries of the trail, and the page reads one row."""
    patient_id, pairing_id, now_ms = uuid4(), secrets.token_hex(32), core.clock()
    number = await core.pool.fetchval(
        "INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, 'c', '', 0)"
        " RETURNING pairing_no",
        patient_id,
        pairing_id,
    )
    await core.pool.execute("INSERT INTO pairing_directory VALUES ($1, $2, $3)", pairing_id, patient_id, number)
    await core.pool.execute(
        "INSERT INTO audit (patient_id, at_ms, event, client_id, pairing_id)"
        " SELECT $1, $3::bigint - n * 900000::bigint, 'diga:data:read', 'c', $2 FROM generate_series(1, 35040) AS n",
        patient_id,
        pairing_id,
        now_ms,
    )
    await core.pool.execute(
        "INSERT INTO grace (patient_id, pairing_no, answered, read_ms) VALUES ($1, $2, '{}', $3)",
        patient_id,
        number,
        now_ms,
    )
    async with touched(core.pool) as work:
        assert await patient_view.last_read(core.pool, patient_id, number) == now_ms
    assert work.blocks <= 10
