"""Authorization server, black box: from the pushed request to the patient's decision (area AS)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from ddr.demo import certs
from ddr.demo.browser_user import BrowserUser, Page
from tests.spec.backend import Backend, answer, granted, refused
from tests.spec.world import BG, BP, CGM, later
from tests.support.recorder import PASSWORD, Recorder

HTML = {"accept": "text/html", "accept-language": "en"}
INVALID_CLIENT = "The authenticated client is not registered or not active in the DiGA directory"
EXCESSIVE = "The requested scope exceeds the scope granted to the client"


@pytest.fixture(scope="module")
async def backend(ddr: Recorder) -> Backend:
    """A DiGA for two MIVs."""
    return Backend(ddr, await ddr.diga(CGM, BP))


@pytest.fixture(scope="module")
async def other(ddr: Recorder) -> Backend:
    """Another DiGA."""
    return Backend(ddr, await ddr.diga(CGM, BP))


@pytest.mark.requirement("AS-011", "AS-033", "AS-038", "TLS-005")
async def test_the_certificate_must_be_that_of_the_client(ddr: Recorder, backend: Backend, other: Backend) -> None:
    refused(await backend.push(CGM, http=other.diga.http), 401, "invalid_client", INVALID_CLIENT)
    refused(await backend.push(CGM, client_id=other.diga.entry.client_id), 401, "invalid_client", INVALID_CLIENT)
    refused(await backend.push(CGM, client_id="urn:diga:bfarm:99999"), 401, "invalid_client", INVALID_CLIENT)
    inactive = Backend(ddr, await ddr.diga(CGM, active=False))
    for endpoint in ("par", "token", "revoke"):
        refused(await inactive.post(endpoint), 401, "invalid_client", INVALID_CLIENT)


@pytest.mark.requirement("AS-011", "AS-034", "AS-038")
async def test_scopes_beyond_the_registry_entry(backend: Backend) -> None:
    """`error_description` begins with the words of the specification, and names the scope."""
    beyond, nowhere = backend.ddr.scopes(BG)[0], f"{backend.ddr.scopes(CGM)[0]}-of-nobody"
    for scope, asked in ((beyond, beyond), (beyond, " ".join(backend.ddr.scopes(CGM, BG))), (nowhere, nowhere)):
        told = f"{EXCESSIVE}: {scope} is not listed for the client in the DiGA directory"
        refused(await backend.push(CGM, scope=asked), 400, "invalid_scope", told)


@pytest.mark.requirement("AS-014")
@pytest.mark.parametrize(
    "scope",
    [
        "patient/{}  patient/Device.rs",
        " patient/{}",
        "patient/{}\tpatient/Device.rs",
        "patient/{}\n",
        "patient/{} ä",
        "x" * 5000,
        "patient/Device.rs",
    ],
)
async def test_malformed_scopes(backend: Backend, scope: str) -> None:
    (good, *_) = backend.ddr.scopes(CGM)
    refused(await backend.push(scope=scope.format(good.removeprefix("patient/"))), 400, "invalid_scope")


@pytest.mark.requirement("AS-013", "AS-040")
async def test_plain_requests_to_authorize_fail(backend: Backend) -> None:
    """On a page of the recorder: nobody is redirected to an address that was not checked."""
    entry = backend.diga.entry
    plain = {
        "response_type": "code",
        "client_id": entry.client_id,
        "redirect_uri": entry.redirect_uri,
        "scope": " ".join(backend.ddr.scopes(CGM)),
        "state": "a",
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }
    random = "urn:ietf:params:oauth:request_uri:" + "a" * 43
    for query in (plain, {**plain, "request_uri": random}, {"client_id": entry.client_id, "request_uri": random}):
        response = await backend.ddr.public.get("/oauth/authorize", params=query, headers=HTML)
        assert response.status_code == 400
        assert "text/html" in response.headers["content-type"]
        refused_as_json = await backend.ddr.public.get("/oauth/authorize", params=query)
        assert refused_as_json.json()["error"] in {"invalid_request", "invalid_request_uri"}


@pytest.mark.requirement("AS-018", "AS-013")
async def test_a_request_ends_with_what_it_was_checked_against(ddr: Recorder) -> None:
    """The redirect_uri now in the registry decides, and a request is valid only for minutes."""
    backend = Backend(ddr, await ddr.diga(CGM))
    request_uri = await backend.request_uri(CGM)
    with later(ddr, 601_000):
        assert (await ddr.public.get(backend.authorize_url(request_uri), headers=HTML)).status_code == 400
    ddr.trust.digas[backend.diga.entry.client_id] = replace(backend.diga.entry, redirect_uri="https://new.example/")
    assert (await ddr.public.get(backend.authorize_url(request_uri), headers=HTML)).status_code == 400


@pytest.mark.requirement("AS-016", "CON-002", "CON-001")
async def test_the_patient_logs_in_and_reads_what_is_asked(backend: Backend) -> None:
    """Each kind of data has its own name and box, and none is ticked."""
    ddr, patient = backend.ddr, await backend.ddr.patient()
    browser = await ddr.client(base_url=ddr.settings.public_base_url, follow_redirects=True, headers=HTML)
    login = await browser.get(backend.authorize_url(await backend.request_uri(CGM, BP)))
    assert "password" in login.text
    assert CGM not in login.text and BP not in login.text
    page = await _log_in(browser, login, patient.username)
    for name in (CGM, BP):
        miv = ddr.core.catalog.by_name(name)
        assert miv is not None
        assert miv.title in page.text
        assert miv.description.split(".")[0] in page.text
        assert page.text.count(f'value="{miv.scope}"') == 1
    assert backend.diga.entry.name in page.text
    assert backend.diga.entry.manufacturer in page.text
    assert "checked" not in page.text


async def _log_in(browser: httpx.AsyncClient, login: httpx.Response, username: str) -> httpx.Response:
    form = Page(str(login.url), login.text).form("username")
    assert form is not None
    fields = dict(form.hidden) | {"username": username, "password": PASSWORD}
    return await browser.post(form.action or str(login.url), data=fields)


@pytest.mark.requirement("AS-017", "AS-009")
async def test_approval_brings_code_state_and_issuer(backend: Backend) -> None:
    patient = await backend.ddr.patient()
    state = "a state, &code=x#+%20"
    request_uri = await backend.request_uri(CGM, state=state)
    found = await backend.decide(patient, request_uri, [CGM])
    assert found.keys() == {"code", "state", "iss"}
    assert (found["state"], found["iss"]) == (state, backend.ddr.settings.public_base_url)


@pytest.mark.requirement("AS-017")
@pytest.mark.parametrize("approve", [[CGM], None])
async def test_an_answer_keeps_the_query_of_the_registered_redirect_uri(
    backend: Backend, approve: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(backend.diga.entry, redirect_uri="https://diga.example/back?tenant=1")
    monkeypatch.setitem(backend.ddr.trust.digas, entry.client_id, entry)
    backend = replace(backend, diga=replace(backend.diga, entry=entry))
    patient = await backend.ddr.patient()
    found = await backend.decide(patient, await backend.request_uri(CGM, state="s"), approve)
    assert found.keys() == {"tenant", "error" if approve is None else "code", "state", "iss"}
    assert (found["tenant"], found["state"]) == ("1", "s")


@pytest.mark.requirement("AS-017", "AS-040")
async def test_refusal_brings_no_code(backend: Backend) -> None:
    patient = await backend.ddr.patient()
    found = await backend.decide(patient, await backend.request_uri(CGM, state="s"), None)
    assert found == {"error": "access_denied", "state": "s", "iss": backend.ddr.settings.public_base_url}
    pool = backend.ddr.core.pool
    assert await pool.fetchval("SELECT count(*) FROM pairing WHERE patient_id = $1", patient.patient_id) == 0
    assert await pool.fetchval("SELECT count(*) FROM token_grant WHERE patient_id = $1", patient.patient_id) == 0


@pytest.mark.requirement("AS-009")
async def test_a_request_survives_a_reload_and_is_decided_once(backend: Backend) -> None:
    patient, request_uri = await backend.ddr.patient(), await backend.request_uri(CGM)
    for _ in range(3):
        response = await backend.ddr.public.get(backend.authorize_url(request_uri), headers=HTML)
        assert response.status_code == 303
    assert "code" in await backend.decide(patient, request_uri, [CGM])
    again = await backend.ddr.public.get(backend.authorize_url(request_uri), headers=HTML)
    assert again.status_code == 400


@pytest.mark.requirement("AS-009", "AS-017")
async def test_two_windows_decide_one_request(backend: Backend) -> None:
    """Two simultaneous submissions of one form get the same code: a double-click does no harm."""
    ddr, patient = backend.ddr, await backend.ddr.patient()
    request_uri = await backend.request_uri(CGM)
    browser = BrowserUser(await ddr.client(), patient.username, PASSWORD)
    url, stop = backend.authorize_url(request_uri), backend.diga.entry.redirect_uri
    both = await asyncio.gather(*(browser.decide(url, stop, ddr.scopes(CGM)) for _ in range(2)), return_exceptions=True)
    codes = {answer(landed)["code"] for landed in both if isinstance(landed, str)}
    assert len(codes) == 1
    granted(await backend.exchange(codes.pop()))


@pytest.mark.requirement("AS-036")
async def test_a_pairing_that_cannot_be_made(ddr: Recorder) -> None:
    """The database refuses the row: the DiGA receives the prescribed error, and nothing is issued."""
    backend, patient = Backend(ddr, await ddr.diga(CGM)), await ddr.patient()
    request_uri, pool = await backend.request_uri(CGM, state="s"), ddr.core.pool
    check = f"CHECK (client_id <> '{backend.diga.entry.client_id}') NOT VALID"
    await pool.execute(f"ALTER TABLE pairing ADD CONSTRAINT fault {check}")
    try:
        found = await backend.decide(patient, request_uri, [CGM])
    finally:
        await pool.execute("ALTER TABLE pairing DROP CONSTRAINT fault")
    assert (found["error"], found["state"]) == ("server_error", "s")
    assert found["error_description"] == "Failed to generate pairing identifier"
    assert "code" not in found


@pytest.mark.requirement("AS-032", "AS-009")
async def test_malformed_requests_are_answered_as_json(backend: Backend) -> None:
    http, base = backend.diga.http, backend.ddr.settings.diga_base_url
    form = {"content-type": "application/x-www-form-urlencoded"}
    for endpoint in ("par", "token", "revoke"):
        url = f"{base}/oauth/{endpoint}"
        refused(await http.post(url, json={"client_id": "a"}), 400, "invalid_request")
        refused(await http.post(url, content=b"client_id=a&client_id=a", headers=form), 400, "invalid_request")
        refused(await http.post(url, content=b"client_id=\xff", headers=form), 400, "invalid_request")
        refused(await http.get(url), 405, "invalid_request")
    refused(await http.post(f"{base}/oauth/unknown"), 404, "invalid_request")


@pytest.mark.requirement("AS-033", "TLS-006")
async def test_two_certificates_during_renewal(ddr: Recorder) -> None:
    """Two self-signed ones are both valid; the one that is removed is refused."""
    backend = Backend(ddr, await ddr.diga(CGM))
    renewed = ddr.spare()
    ddr.trust.add(backend.diga.entry, renewed.der)
    second = await ddr.client(renewed)
    for http in (backend.diga.http, second):
        assert (await backend.push(CGM, http=http)).status_code == 201
    _only(ddr, backend, renewed)
    refused(await backend.push(CGM), 401, "invalid_client", INVALID_CLIENT)
    assert (await backend.push(CGM, http=second)).status_code == 201


def _only(ddr: Recorder, backend: Backend, pair: certs.Pair) -> None:
    ddr.trust.add(replace(backend.diga.entry, certificates=frozenset()), pair.der)
