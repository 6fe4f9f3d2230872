"""The login form: sessions, protection of forms, throttling, and no information about accounts."""

from __future__ import annotations

import secrets
import time
import unicodedata
import uuid
from dataclasses import replace
from urllib.parse import urlencode

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.store.database.clock import present_ms
from ddr.store.patients import login_attempts, sessions
from ddr.store.patients.accounts import _HASHER, NOBODYS_HASH
from ddr.store.patients.login_attempts import ACCOUNT_LIMIT, ASKED_LIMIT, WINDOW_MS
from ddr.store.patients.sessions import LONGEST_MS
from tests.patient_pages.browser import FORM, Browser, form_token, inputs
from tests.support.citus import one_server_only
from tests.support.clock import Clock
from tests.support.disk import waits_for_the_disk
from tests.support.patients import PASSWORD, Patient, list_diga, new_patient, push_request


async def test_logs_in_and_out(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    response = await browser.login(patient)
    assert (response.status_code, response.headers["location"]) == (303, "/me")
    page = await browser.get("/me")
    assert page.status_code == 200
    assert patient.username in page.text
    bye = await browser.post("/logout", page)
    assert (bye.status_code, bye.headers["location"]) == (303, "/login?bye=1")
    assert "Sie sind abgemeldet" in (await browser.get("/login?bye=1")).text
    assert (await browser.get("/me")).headers["location"] == "/login"


async def test_whoever_is_logged_in_is_not_said_to_be_logged_out_or_deleted(core: Core) -> None:
    """By the back button after another login, or a link of a stranger's."""
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    page = (await browser.get("/login?bye=1")).text
    assert patient.username in page and "Sie sind abgemeldet" not in page
    assert (await browser.get("/deleted")).headers.get("location") == "/me"


@one_server_only
async def test_no_click_waits_for_the_disk(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    assert not await waits_for_the_disk(core.pool, lambda: browser.get("/me"))
    assert (await browser.get("/me")).status_code == 200


async def test_logging_out_twice_is_logging_out(core: Core) -> None:
    """Two clicks, or two tabs: the second form is of a session and a cookie that are gone."""
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    page = await browser.get("/me")
    places = [(await browser.post("/logout", page)).headers.get("location") for _ in range(2)]
    assert places == ["/login?bye=1"] * 2
    await browser.login(patient)
    assert (await browser.post("/logout", page)).status_code == 403, "a form of another session ends none"
    assert (await browser.get("/me")).status_code == 200


async def test_a_form_that_ends_no_session_takes_no_cookie_away(core: Core) -> None:
    """Browsers without Sec-Fetch-Site send none with a form of a foreign site, but would drop theirs as it says."""
    foreign = await Browser(core).http.post("/logout", content=b"", headers={"content-type": FORM})
    assert (foreign.status_code, "set-cookie" in foreign.headers) == (303, False)
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    page = await browser.get("/me")
    await browser.post("/logout", page)
    login = await browser.get("/login")
    await browser.post("/logout", page)  # in another tab
    fields = {"username": patient.username, "password": PASSWORD}
    assert (await browser.post("/login", login, **fields)).status_code == 303


async def test_form_fields(core: Core) -> None:
    fields = {field.get("name"): field for field in inputs((await Browser(core).get("/login")).text)}
    assert fields["username"]["autocomplete"] == "username"
    assert fields["password"]["type"] == "password"


async def test_cookie_is_strict_and_new_at_login(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    before = await browser.get("/login")
    planted = browser.http.cookies["__Host-ddr"]
    response = await browser.post("/login", before, username=patient.username, password=PASSWORD)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-ddr=")
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    assert browser.http.cookies["__Host-ddr"] != planted


async def test_logging_in_again_ends_the_former_session(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    former = browser.http.cookies["__Host-ddr"]
    await browser.login(patient)
    browser.http.cookies.clear()
    browser.http.cookies.set("__Host-ddr", former, domain="recorder.example")
    assert (await browser.get("/me")).status_code == 303


async def test_only_the_hash_of_a_cookie_is_stored(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    rows = await core.pool.fetch("SELECT * FROM browser_session WHERE patient_id = $1", patient.patient_id)
    assert len(rows) == 1
    assert browser.http.cookies["__Host-ddr"].encode() not in bytes(rows[0]["cookie_sha256"])


async def test_unknown_name_and_wrong_password_look_the_same(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    wrong = await browser.login(patient, "not the password")
    unknown = await browser.login(Patient(patient.patient_id, patient.username + "x"), "not the password")
    assert wrong.status_code == unknown.status_code == 422
    assert wrong.text == unknown.text
    assert "Benutzername oder Passwort stimmt nicht" in wrong.text
    assert patient.username not in wrong.text


async def test_unknown_name_takes_as_long(core: Core) -> None:
    patient = await new_patient(core)
    durations: dict[str, list[float]] = {patient.username: [], "nobody-at-all": []}
    for turn in range(8):
        for username, seconds in durations.items():
            browser = Browser(core, address=f"198.51.100.{turn}")
            start = time.perf_counter()
            await browser.login(Patient(patient.patient_id, username), "not the password")
            seconds.append(time.perf_counter() - start)
    known, unknown = (min(seconds) for seconds in durations.values())  # others on the machine only add to them
    assert 0.5 < known / unknown < 2


def test_the_hash_for_unknown_names_costs_the_same() -> None:
    assert not _HASHER.check_needs_rehash(NOBODYS_HASH)


@pytest.mark.parametrize("username", ["", "\x00", "a" * 1000, "' OR 1=1 --", "<script>", "ä\u0308\u202e"])
async def test_strange_names_are_just_wrong(core: Core, username: str) -> None:
    browser = Browser(core)
    response = await browser.login(Patient((await new_patient(core)).patient_id, username))
    assert response.status_code == 422
    assert "<script>" not in response.text


def elsewhere(core: Core) -> Browser:
    """A new browser at an address of its own."""
    return Browser(core, address=f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1")


async def test_too_many_attempts_wait_for_known_and_unknown_alike(core: Core, clock: Clock) -> None:
    patient = await new_patient(core)
    for who in (patient, Patient(patient.patient_id, patient.username + "x")):
        browser = elsewhere(core)
        for _ in range(ACCOUNT_LIMIT):
            assert (await browser.login(who, "not the password")).status_code == 422
        refused = await browser.login(who, "not the password")
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= WINDOW_MS // 1000
        assert "Zu viele Versuche" in refused.text
    clock.advance((WINDOW_MS - core.clock() % WINDOW_MS) / 1000 - 30)
    assert "warten Sie eine Minute und" in (await browser.login(who, "not the password")).text
    clock.advance(WINDOW_MS / 1000)
    assert (await elsewhere(core).login(patient, "not the password")).status_code == 422


async def test_the_owner_gets_in_however_often_a_stranger_was_wrong(core: Core) -> None:
    """A browser that was never here, up to the limit of guessing; one that logged in before, always."""
    patient, known, stranger = await new_patient(core), elsewhere(core), elsewhere(core)
    assert (await known.login(patient)).status_code == 303
    wrong = [(await stranger.login(patient, "not the password")).status_code for _ in range(ASKED_LIMIT - 1)]
    assert wrong == [422] * ACCOUNT_LIMIT + [429] * (ASKED_LIMIT - 1 - ACCOUNT_LIMIT)
    assert (await elsewhere(core).login(patient)).status_code == 303
    for _ in range(ASKED_LIMIT):
        await stranger.login(patient, "not the password")
    assert (await elsewhere(core).login(patient)).status_code == 429  # guessing has an end
    assert (await known.login(patient)).status_code == 303


async def test_a_stranger_does_not_see_the_owner_log_in(core: Core) -> None:
    """Nor so that there is an owner: whoever has to wait goes on waiting, and the guesses that are left stay as few."""
    patient, stranger = await new_patient(core), elsewhere(core)
    for _ in range(ACCOUNT_LIMIT):
        await stranger.login(patient, "not the password")
    assert (await elsewhere(core).login(patient)).status_code == 303
    assert (await stranger.login(patient, "not the password")).status_code == 429
    for _ in range(ASKED_LIMIT - ACCOUNT_LIMIT - 1):
        await stranger.login(patient, "not the password")
    assert (await stranger.login(patient)).status_code == 429


async def test_a_known_browser_is_limited_too(core: Core) -> None:
    patient, browser = await new_patient(core), elsewhere(core)
    await browser.login(patient)
    tried = [(await browser.login(patient, "not the password")).status_code for _ in range(ACCOUNT_LIMIT + 1)]
    assert tried == [422] * ACCOUNT_LIMIT + [429]
    assert (await elsewhere(core).login(patient, "not the password")).status_code == 422  # strangers count apart


async def test_what_a_browser_keeps_names_nobody_and_serves_one_account(core: Core) -> None:
    patient, other, browser = await new_patient(core), await new_patient(core), elsewhere(core)
    await browser.login(patient)
    cookie = browser.http.cookies["__Host-ddr-known"]
    assert patient.username not in cookie and str(patient.patient_id) not in cookie
    stranger = elsewhere(core)
    for _ in range(ASKED_LIMIT):
        await stranger.login(other, "not the password")
    assert (await browser.login(other)).status_code == 429
    assert (await browser.login(patient)).status_code == 303


async def test_a_browser_of_a_family_knows_several_accounts(core: Core) -> None:
    family, browser = [await new_patient(core) for _ in range(3)], elsewhere(core)
    for patient in family:
        await browser.login(patient)
    stranger = elsewhere(core)
    for _ in range(ASKED_LIMIT):
        await stranger.login(family[0], "not the password")
    assert (await browser.login(family[0])).status_code == 303


@pytest.mark.parametrize("cookie", ["x", "A" * 65, "A" * 10_000, "ä" * 65])
async def test_a_made_up_cookie_knows_nothing(core: Core, cookie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.store.patients.login_attempts.ASKED_LIMIT", 1)
    patient, browser = await new_patient(core), elsewhere(core)
    await browser.login(patient, "not the password")
    page = await browser.get("/login")
    body = urlencode({"form_token": form_token(page.text), "username": patient.username, "password": PASSWORD})
    own = browser.http.cookies["__Host-ddr"]
    headers = [
        (b"content-type", FORM.encode()),
        (b"cookie", f"__Host-ddr={own}; __Host-ddr-known={cookie}".encode("latin-1")),
    ]
    browser.http.cookies.clear()
    assert (await browser.http.post("/login", content=body, headers=headers)).status_code == 422


async def test_spellings_of_one_name_are_one_counter(core: Core) -> None:
    """As an account is found by them all: composed, decomposed, mixed, with blanks around."""
    name = f"jörg-müller-{secrets.token_hex(4)}"
    spellings = (name, unicodedata.normalize("NFD", name), name.replace("ö", "o\u0308"), f"  {name} ")
    statuses = [
        (await elsewhere(core).login(Patient(uuid.uuid4(), spelling), "wrong")).status_code
        for spelling in spellings * (ACCOUNT_LIMIT // len(spellings) + 1)
    ]
    assert statuses == [422] * ACCOUNT_LIMIT + [429] * (len(statuses) - ACCOUNT_LIMIT)


async def test_success_starts_the_count_of_its_browser_anew(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    for _ in range(3):
        for _ in range(ACCOUNT_LIMIT - 1):
            await browser.login(patient, "not the password")
        assert (await browser.login(patient)).status_code == 303


async def test_one_address_is_throttled_over_all_names(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.store.patients.login_attempts.ADDRESS_LIMIT", 3)
    statuses = [
        (await Browser(core, address=f"2001:db8:7:7::{n}").login(await new_patient(core), "wrong")).status_code
        for n in range(4)
    ]
    assert statuses == [422, 422, 422, 429]
    # who knows the password is not hit by what others at the address do
    assert (await Browser(core, address="2001:db8:7:7::9").login(await new_patient(core))).status_code == 303
    assert (await Browser(core, address="2001:db8:7:8::1").login(await new_patient(core))).status_code == 303


async def test_addresses_and_names_are_not_kept(core: Core, clock: Clock, pool: asyncpg.Pool) -> None:
    patient = await new_patient(core)
    await Browser(core, address="192.0.2.77").login(patient, "wrong")
    clock.advance(2 * WINDOW_MS / 1000)
    await login_attempts.sweep(pool, clock())
    window = clock() // WINDOW_MS
    assert await pool.fetchval("SELECT count(*) FROM login_window WHERE window_no < $1", window - 1) == 0
    assert await pool.fetchval("SELECT count(*) FROM login_attempt WHERE window_no < $1", window - 1) == 0


async def test_idle_sessions_end(core: Core, clock: Clock) -> None:
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    clock.advance(core.settings.session_seconds - 1)
    assert (await browser.get("/me")).status_code == 200
    clock.advance(core.settings.session_seconds)
    assert (await browser.get("/me")).status_code == 303


async def test_busy_sessions_end_too(core: Core, clock: Clock, pool: asyncpg.Pool) -> None:
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    await pool.execute(
        "UPDATE browser_session SET created_ms = $2 WHERE patient_id = $1", patient.patient_id, clock() - LONGEST_MS
    )
    assert (await browser.get("/me")).status_code == 303


@pytest.mark.parametrize(("back_seconds", "status"), [(1, 200), (86_400, 303)])
async def test_a_session_does_not_last_by_a_clock_that_was_set_back(
    core: Core, clock: Clock, back_seconds: int, status: int
) -> None:
    """A browser that somebody left open would stay so for as long as the clock was ahead."""
    patient, browser = await new_patient(core), Browser(core)
    await browser.login(patient)
    clock.advance(-back_seconds)
    assert (await browser.get("/me")).status_code == status


@pytest.mark.parametrize(("back_seconds", "late_seconds", "status"), [(1, 0, 200), (1, 86_400, 200), (86_400, 0, 303)])
async def test_a_session_that_a_clock_ended_stays_ended_when_the_clock_has_caught_up(
    core: Core, own_pool: asyncpg.Pool, clock: Clock, back_seconds: int, late_seconds: int, status: int
) -> None:
    """A worker that was paused, and is late itself, ends none."""
    core = replace(core, pool=own_pool)
    patient, browser = await new_patient(core), Browser(core)
    now_ms = await present_ms(own_pool)
    clock.ms = now_ms + back_seconds * 1000
    await browser.login(patient)
    await sessions.sweep(own_pool, now_ms - late_seconds * 1000, core.settings.session_seconds * 1000)
    assert (await browser.get("/me")).status_code == status


async def test_login_leads_on_to_the_consent_page(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    request_uri = await push_request(core, list_diga(core))
    to_login = await browser.consent_page(request_uri)
    assert to_login.headers["location"].startswith("/login?request_uri=urn%3Aietf")
    assert "<bdi>GlucoPilot</bdi> möchte Daten" in (await browser.get(to_login.headers["location"])).text
    response = await browser.login(patient, request_uri=request_uri)
    assert response.headers["location"].startswith("/consent?request_uri=urn%3Aietf")


async def test_changing_the_account_keeps_the_request(core: Core) -> None:
    patient, browser = await new_patient(core), Browser(core)
    request_uri = await push_request(core, list_diga(core))
    await browser.login(patient)
    page = await browser.consent_page(request_uri)
    response = await browser.post("/logout", page, request_uri=request_uri)
    assert response.headers["location"].startswith("/login?request_uri=urn%3Aietf")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("username=a&password=b", {}),
        ("username=a&password=b&form_token=0", {}),
        ("username=a&password=b&form_token={token}", {"sec-fetch-site": "cross-site"}),
        ("username=a&password=b&form_token={token}", {"sec-fetch-site": "same-site"}),
        ("username=a&password=b&form_token={token}", {"content-type": "text/plain"}),
        ("username=a&password=b&form_token={token}&form_token={token}", {}),
        ("username=a&username=b&password=b&form_token={token}", {}),
        ("username=a&password=b&form_token={token}" + "&x=y" * 100, {}),
        ("username=a&password=b&form_token={token}&x=" + "y" * 20_000, {}),
        ("username=ä&password=b&form_token={token}", {}),
    ],
)
async def test_forms_of_others_and_broken_ones_are_refused(core: Core, body: str, headers: dict[str, str]) -> None:
    browser = Browser(core)
    token = form_token((await browser.get("/login")).text)
    content = body.replace("{token}", token).encode()
    response = await browser.http.post("/login", content=content, headers={"content-type": FORM} | headers)
    assert response.status_code == 403
    assert "Bitte noch einmal" in response.text


async def test_a_browser_without_cookies_is_told_so(core: Core) -> None:
    """It was told for ever that its page was open for too long."""
    patient, browser = await new_patient(core), Browser(core)
    page = await browser.get("/login")
    browser.http.cookies.clear()
    response = await browser.post("/login", page, username=patient.username, password=PASSWORD)
    assert response.status_code == 403 and "erlauben Sie im Browser Cookies" in response.text
    assert "set-cookie" not in response.headers, "another site may have sent the form"


async def test_the_token_of_another_browser_does_not_fit(core: Core) -> None:
    patient, mine, other = await new_patient(core), Browser(core), Browser(core)
    await mine.get("/login")
    page = await other.get("/login")
    assert (await mine.post("/login", page, username=patient.username, password=PASSWORD)).status_code == 403
