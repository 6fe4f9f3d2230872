"""Attacks on the patient at the browser, and through the browser (OWASP ASVS chapters 3, 4 and 14)."""

from __future__ import annotations

import re
from dataclasses import replace
from time import perf_counter

import httpx
import pytest

from ddr.patient_pages.visitor import COOKIE
from ddr.store.patients.accounts import create_patient
from tests.spec.backend import Backend
from tests.spec.patient_pages import ENGLISH, PatientPages, form_of, pages_of
from tests.spec.world import CGM
from tests.support.recorder import PASSWORD, Patient, Recorder

PAGES = ("/login", "/me", "/me/access", "/me/devices", "/consent?request_uri=x", "/nowhere")


async def consent_form(honest: Backend, pages: PatientPages) -> tuple[str, dict[str, str]]:
    """An open request and the hidden fields of its consent form."""
    request_uri = await honest.request_uri(CGM)
    page = await pages.get(honest.authorize_url(request_uri))
    return request_uri, dict(form_of(page, "decision").hidden)


async def decided(honest: Backend, patient: Patient) -> int:
    """How many pairings the patient has."""
    count: int = await honest.ddr.core.pool.fetchval(
        "SELECT count(*) FROM pairing WHERE patient_id = $1", patient.patient_id
    )
    return count


async def test_consent_by_csrf(honest: Backend, patient: Patient) -> None:
    """Another site posts the form with the patient's cookie: without the token, with one of its own, cross-site."""
    pages = await pages_of(honest.ddr, patient)
    _, fields = await consent_form(honest, pages)
    form = {**fields, "scope": honest.ddr.scopes(CGM)[0], "decision": "approve"}
    strange = await pages_of(honest.ddr, await honest.ddr.patient())
    _, theirs = await consent_form(honest, strange)
    without = {name: value for name, value in form.items() if name != "form_token"}
    for attempt in (without, {**form, "form_token": ""}, {**form, "form_token": theirs["form_token"]}):
        assert (await pages.http.post("/consent", data=attempt)).status_code == 403
    for site in ("cross-site", "same-site"):
        response = await pages.http.post("/consent", data=form, headers={"sec-fetch-site": site})
        assert response.status_code == 403
    assert (await pages.http.post("/consent", json=form)).status_code == 403
    assert (await pages.http.get("/consent", params=form)).status_code == 200  # a page, no decision
    assert await decided(honest, patient) == 0
    landed = await pages.http.post("/consent", data=form, follow_redirects=False)
    assert landed.headers["location"].startswith(honest.diga.entry.redirect_uri)


async def test_withdrawal_and_logout_by_csrf(honest: Backend, patient: Patient) -> None:
    tokens, pages = await honest.pair(patient, CGM), await pages_of(honest.ddr, patient)
    assert (await pages.http.post("/me/withdraw", data={"kind": "all"})).status_code == 403
    assert (await pages.http.post("/logout", data={})).status_code == 403
    assert (await honest.fhir(tokens)).status_code == 200
    assert (await pages.get("/me")).url.path == "/me"


async def test_login_by_csrf(ddr: Recorder, patient: Patient) -> None:
    """A site logs the victim in under the attacker's name: the form needs the visitor's own token."""
    http = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH)
    credentials = {"username": patient.username, "password": PASSWORD}
    assert (await http.post("/login", data=credentials)).status_code == 403


async def test_clickjacking(ddr: Recorder, honest: Backend, patient: Patient) -> None:
    """No page may be framed, run a script, or load anything from elsewhere; also error pages."""
    pages = await pages_of(ddr, patient)
    consent = honest.authorize_url(await honest.request_uri(CGM))
    for path in (*PAGES, consent, "/oauth/authorize", "/docs/client-registration"):
        response = await pages.get(path)
        policy = response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
        assert "script-src" not in policy and "unsafe" not in policy
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "<script" not in response.text


async def test_session_fixation(ddr: Recorder, patient: Patient) -> None:
    """A cookie that was there before the login is worth nothing after it, whoever set it."""
    planted = "A" * 43
    http = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH)
    http.cookies.set(COOKIE, planted, domain="localhost.local", path="/")
    pages = PatientPages(http)
    http.follow_redirects = True
    login = await pages.get("/login")
    landed = await pages.submit(login, "username", username=patient.username, password=PASSWORD)
    assert landed.url.path == "/me"
    assert http.cookies[COOKIE] != planted
    attacker = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH)
    response = await attacker.get("/me", headers={"cookie": f"{COOKIE}={planted}"})
    assert (response.status_code, response.headers["location"]) == (303, "/login")


@pytest.mark.parametrize("planted", [f"\xa0{COOKIE}", f"\x85{COOKIE}", f"{COOKIE}\xa0", COOKIE])
async def test_a_cookie_that_another_host_planted(ddr: Recorder, patient: Patient, planted: str) -> None:
    """A host beside ours logs the victim in as somebody else: by a name in which the browser sees no `__Host-`."""
    victim, attacker = await pages_of(ddr, patient), await pages_of(ddr, await ddr.patient())
    cookies = f"{COOKIE}={victim.http.cookies[COOKIE]}; {planted}={attacker.http.cookies[COOKIE]}"
    strange = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH)
    page = await strange.get("/me", headers={b"cookie": cookies.encode("latin-1")})
    if planted == COOKIE:  # two of one name: neither counts
        assert (page.status_code, page.headers["location"]) == (303, "/login")
    else:
        assert page.status_code == 200 and patient.username in page.text


async def test_session_cookie_out_of_reach(ddr: Recorder, patient: Patient) -> None:
    """Not for scripts, not over plain HTTP, not for other hosts, not on requests of other sites."""
    http = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH)
    pages = PatientPages(http)
    response = await pages.submit(await pages.get("/login"), "username", username=patient.username, password=PASSWORD)
    cookie = response.headers["set-cookie"].lower()
    assert cookie.startswith("__host-")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie


async def test_session_after_logout(ddr: Recorder, patient: Patient) -> None:
    """A copied cookie ends with the session on the server."""
    pages = await pages_of(ddr, patient)
    copied = pages.http.cookies[COOKIE]
    page = await pages.get("/me")
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page.text)
    assert token is not None
    await pages.http.post("/logout", data={"form_token": token[1]})
    thief = await ddr.client(base_url=ddr.settings.public_base_url)
    assert (await thief.get("/me", headers={"cookie": f"{COOKIE}={copied}"})).status_code == 303


async def log_in(ddr: Recorder, username: str, password: str) -> httpx.Response:
    """One attempt in a browser of its own."""
    pages = PatientPages(await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH))
    return await pages.submit(await pages.get("/login"), "username", username=username, password=password)


async def test_enumeration_of_patients(ddr: Recorder, patient: Patient) -> None:
    """An unknown name and a wrong password get the same page, and are throttled alike."""

    def shape(response: httpx.Response) -> tuple[int, str]:
        return response.status_code, re.sub(r'value="[0-9a-f]{64}"', "", response.text)

    unknown = f"nobody-{ddr.number()}"
    for _ in range(10):
        wrong, missing = await log_in(ddr, patient.username, "wrong"), await log_in(ddr, unknown, "wrong")
        assert shape(wrong) == shape(missing)
    assert wrong.status_code == 422
    wrong, missing = await log_in(ddr, patient.username, "wrong"), await log_in(ddr, unknown, "wrong")
    assert shape(wrong) == shape(missing) and wrong.status_code == 429
    assert wrong.headers["retry-after"] == missing.headers["retry-after"]
    assert (await log_in(ddr, patient.username, PASSWORD)).status_code == 303  # a stranger locks nobody out


async def test_timing_of_login(ddr: Recorder) -> None:
    """The hash is computed for unknown names, too: leaving it out would be faster by far more than this."""
    account = f"timed-{ddr.number()}"
    await create_patient(ddr.core.pool, account, PASSWORD, ddr.clock())  # with the hash of real accounts
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for _ in range(7):
        for kind, name in (("known", account), ("unknown", f"nobody-{ddr.number()}")):
            began = perf_counter()
            assert (await log_in(ddr, name, "wrong")).status_code == 422
            times[kind].append(perf_counter() - began)
    known, unknown = min(times["known"]), min(times["unknown"])  # others on the machine only add to them
    assert 0.6 < known / unknown < 1.7


async def test_enumeration_of_clients(ddr: Recorder, honest: Backend, hostile: Backend) -> None:
    """A listed DiGA learns nothing about others: unknown, inactive and foreign clients get the same answer."""
    inactive = await ddr.diga(CGM, active=False)
    names = ("urn:diga:bfarm:99999", inactive.entry.client_id, honest.diga.entry.client_id)
    for endpoint in ("par", "token", "revoke"):
        answers = [await hostile.post(endpoint, client_id=name) for name in names]
        assert {response.status_code for response in answers} == {401}
        told = [{**response.json(), "request_id": response.headers["x-request-id"]} for response in answers]
        assert told == [response.json() for response in answers]
        assert all({**answer, "request_id": ""} == {**told[0], "request_id": ""} for answer in told)


@pytest.mark.parametrize("name", ["host", "x-forwarded-host", "forwarded", "x-original-url", "x-forwarded-proto"])
async def test_host_header_tricks(ddr: Recorder, honest: Backend, patient: Patient, name: str) -> None:
    """Every address that we give comes from the settings."""
    tokens, evil = await honest.pair(patient, CGM), {name: "evil.example"}
    responses = [
        await ddr.public.get("/.well-known/oauth-authorization-server", headers=evil),
        await ddr.public.get("/fhir/metadata", headers=evil),
        await ddr.public.get("/me", headers=evil),
        await ddr.public.get("/me/", headers=evil),
        await honest.diga.http.post(f"{ddr.settings.diga_base_url}/oauth/par/", headers=evil),
        await ddr.public.get("/oauth/authorize", headers={**evil, **ENGLISH}),
        await honest.diga.http.get(
            "Observation", headers={**evil, "authorization": f"Bearer {tokens['access_token']}"}
        ),
    ]
    for response in responses:
        assert "evil.example" not in response.text + str(response.headers)
    assert responses[0].json()["issuer"] == ddr.settings.public_base_url
    assert responses[-1].json()["link"][0]["url"].startswith(ddr.settings.fhir_base)


async def test_markup_in_what_others_wrote(ddr: Recorder, patient: Patient) -> None:
    """The DiGA's name comes from a registry, a device's name from a gateway: both are shown as text."""
    diga = await ddr.diga(CGM)
    ddr.trust.digas[diga.entry.client_id] = replace(
        ddr.trust.digas[diga.entry.client_id], name="<script>alert(1)</script>", manufacturer='"><img src=x>'
    )
    backend, pages = Backend(ddr, diga), await pages_of(ddr, patient)
    body = {
        "serialNumber": "<b>1</b>",
        "name": "<i>GlucoCheck</i>",
        "manufacturer": "x",
        "startedAt": "2026-01-01T00:00:00Z",
    }
    assert (await patient.gateway.put("devices/evil", json=body)).status_code in {200, 201}
    texts = [(await pages.get(backend.authorize_url(await backend.request_uri(CGM)))).text]
    await backend.pair(patient, CGM)
    texts += [(await pages.get(path)).text for path in ("/me", "/me/access", "/me/devices")]
    for text in texts:
        assert not re.search(r"<script|<img src=x|<b>1|<i>Gluco", text)
    assert "&lt;script&gt;" in texts[0] and "&lt;i&gt;GlucoCheck" in texts[3]
