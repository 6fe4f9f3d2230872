"""Consent and pairing, black box (area CON)."""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from ddr.demo.browser_user import BrowserUser, Form, Page
from ddr.fhir.instants import date_time
from ddr.operations import housekeeping
from tests.spec.backend import Backend, claims, granted, refused, unauthorized
from tests.spec.conftest import received
from tests.spec.patient_pages import pages_of
from tests.spec.world import BG, BP, CGM, DAY, HOUR, LF, Home, later
from tests.support.recorder import PASSWORD, Patient, Recorder, recorder


@pytest.fixture(scope="module")
async def backend(ddr: Recorder) -> Backend:
    """A DiGA for three MIVs."""
    return Backend(ddr, await ddr.diga(CGM, BP, BG))


async def consents(ddr: Recorder, patient: Patient) -> dict[str, int]:
    """The consents in force: name of the MIV and when it ends."""
    rows = await ddr.core.pool.fetch(
        "SELECT miv_url, until_ms FROM consent WHERE patient_id = $1 AND withdrawn_ms IS NULL AND until_ms > $2",
        patient.patient_id,
        ddr.clock(),
    )
    found = {row["miv_url"]: row["until_ms"] for row in rows}
    return {miv.name: found[miv.valueset] for miv in ddr.core.catalog.mivs if miv.valueset in found}


@pytest.mark.requirement("CON-001", "CON-002", "CON-004")
async def test_each_kind_of_data_is_decided_alone(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM, BP, BG, approve=[BP])
    assert tokens["scope"] == " ".join(backend.ddr.scopes(BP))
    assert (await consents(backend.ddr, patient)).keys() == {BP}
    assert (await backend.fhir(tokens, "Observation?code=http://loinc.org|99504-3")).json().get("entry", [])[0][
        "search"
    ]["mode"] == "outcome"


async def test_the_page_names_what_is_passed_on_of_a_device_and_how_far_back(ddr: Recorder) -> None:
    """The DiGA receives Device and DeviceMetric, and the whole chunk in which the history begins."""
    backend, home = Backend(ddr, await ddr.diga(CGM)), Home(ddr, await ddr.patient())
    start_ms = ddr.clock() - 33 * DAY + HOUR
    more = {"modelNumber": "7", "type": "700585005", "expirationDate": "2027-03-01"}
    await home.device("cgm", startedAt=date_time(start_ms), **more)
    await home.cgm("cgm", start_ms)
    for number in range(6):
        await home.readings("cgm", start_ms + number * DAY, [100] * 12)
    pages = await pages_of(ddr, home.patient)
    page = (await pages.get(backend.authorize_url(await backend.request_uri(CGM)))).text
    tokens = await backend.pair(home.patient, CGM)
    (device, *_), (metric, *_) = [
        [entry["resource"] for entry in (await backend.fhir(tokens, kind)).json()["entry"]]
        for kind in ("Device", "DeviceMetric")
    ]
    words = {"type": "kind", "deviceName": "name", "modelNumber": "model", "serialNumber": "serial number"}
    words |= {"manufacturer": "manufacturer", "expirationDate": "expiry date", "status": "whether data is still sent"}
    assert device.keys() - {"resourceType", "id", "meta"} == words.keys() and "calibration" in metric
    (told,) = re.findall(r"<bdi>Device cgm</bdi>, (.*)</dd>", page)
    assert [word for word in (*words.values(), "calibration") if word not in told] == []
    (since,) = re.findall(r"Readings since (\d+ \w+ \d+)", page)
    chunks = (await backend.fhir(tokens, "Observation?_sort=date&_count=1")).json()
    oldest = chunks["entry"][0]["resource"]["effectivePeriod"]["start"][:10]
    assert datetime.strptime(since, "%d %B %Y").date().isoformat() <= oldest


async def test_the_page_says_that_what_others_refer_to_is_passed_on_however_old(
    ddr: Recorder, patient: Patient
) -> None:
    """LF-028: a reference value in force, and the values that a relative value was calculated from."""
    backend, pages = Backend(ddr, await ddr.diga(LF, BP)), await pages_of(ddr, patient)
    page = (await pages.get(backend.authorize_url(await backend.request_uri(LF, BP)))).text
    periods = re.findall(r"<dd>(Readings since .*)</dd>", page)
    assert [("reference value and older readings" in one) for one in periods] == [True, False]


async def test_the_page_promises_no_end_that_the_recorder_does_not_know(backend: Backend, patient: Patient) -> None:
    pages = await pages_of(backend.ddr, patient)
    page = (await pages.get(backend.authorize_url(await backend.request_uri(CGM)))).text
    (line,) = re.findall(r"<li>(If the prescription [^<]*(?:<bdi>[^<]*</bdi>)?[^<]*)</li>", page)
    assert "has to end the connection" in line


@pytest.mark.requirement("CON-003")
async def test_consent_is_recorded_before_anybody_hears_of_it(backend: Backend, patient: Patient) -> None:
    ddr = backend.ddr
    code = await backend.code(patient, CGM)  # the browser was redirected, nothing was redeemed yet
    assert (await consents(ddr, patient)).keys() == {CGM}
    rows = await ddr.core.pool.fetch(
        "SELECT event, pairing_id FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient.patient_id
    )
    assert [row["event"] for row in rows] == ["patient:pairing:granted"]
    tokens = granted(await backend.exchange(code))
    assert rows[0]["pairing_id"] == tokens["sub"]


@pytest.mark.requirement("CON-005")
async def test_the_patient_withdraws_on_the_web(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM, BP)
    assert (await backend.fhir(tokens)).status_code == 200
    pages = await pages_of(backend.ddr, patient)
    await pages.withdraw(backend.diga.entry.client_id)
    unauthorized(await backend.fhir(tokens))
    refused(await backend.refresh(tokens), 400, "invalid_grant")
    assert await consents(backend.ddr, patient) == {}


@pytest.mark.requirement("CON-005", "CON-004", "AS-020")
async def test_one_kind_of_data_is_withdrawn_alone(backend: Backend, patient: Patient) -> None:
    ddr, tokens = backend.ddr, await backend.pair(patient, CGM, BP)
    miv = ddr.core.catalog.by_name(CGM)
    assert miv is not None
    await (await pages_of(ddr, patient)).withdraw(backend.diga.entry.client_id, miv.valueset)
    assert (await consents(ddr, patient)).keys() == {BP}
    renewed = granted(await backend.refresh(tokens))
    assert renewed["scope"] == " ".join(ddr.scopes(BP))
    only = {"http://loinc.org|85354-9": 0, "http://loinc.org|99504-3": 1}
    for code, notices in only.items():
        response = await backend.fhir(tokens, f"Observation?code={code}")
        assert len(response.json().get("entry", ())) == notices


@pytest.mark.requirement("CON-005", "CON-017")
async def test_the_diga_ends_consent_when_the_prescription_ends(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    assert (await backend.revoke(tokens["refresh_token"])).status_code == 200
    assert await consents(backend.ddr, patient) == {}
    unauthorized(await backend.fhir(tokens))
    refused(await backend.refresh(tokens), 400, "invalid_grant")


@pytest.mark.requirement("CON-007", "CON-017")
async def test_consent_ends_after_a_year_at_most(backend: Backend, patient: Patient) -> None:
    await backend.pair(patient, CGM)
    assert await consents(backend.ddr, patient) == {CGM: backend.ddr.clock() + 365 * DAY}


class Ahead(BrowserUser):
    """A browser whose form claims that the page was shown a day from now."""

    async def _submit(self, page: Page, form: Form, stop: str, values: list[tuple[str, str]]) -> Page | str:
        assert page.form("decision") is None or "shown" in dict(form.hidden)
        form.hidden = [(name, str(int(text) + DAY) if name == "shown" else text) for name, text in form.hidden]
        return await super()._submit(page, form, stop, values)


@pytest.mark.requirement("CON-017")
async def test_no_form_makes_a_consent_longer(backend: Backend, patient: Patient) -> None:
    ddr, request_uri = backend.ddr, await backend.request_uri(CGM)
    browser = Ahead(await ddr.client(), patient.username, PASSWORD)
    scopes, stop = ddr.scopes(CGM), backend.diga.entry.redirect_uri
    await browser.decide(backend.authorize_url(request_uri), stop, scopes, ddr.settings.consent_days)
    assert await consents(ddr, patient) == {CGM: ddr.clock() + 365 * DAY}


@pytest.mark.requirement("CON-008")
async def test_consent_runs_out_and_is_renewed(alone: Recorder) -> None:
    backend, patient = Backend(alone, await alone.diga(CGM)), await alone.patient()
    tokens = await backend.pair(patient, CGM)
    with later(alone, 300 * DAY):
        assert (await backend.pair(patient, CGM))["sub"] == tokens["sub"]
        assert await consents(alone, patient) == {CGM: alone.clock() + 365 * DAY}
    with later(alone, 666 * DAY):
        await housekeeping.one_round(alone.core)
        assert await alone.core.pool.fetchval("SELECT end_reason FROM pairing") == "consent-ended"
        again = await backend.pair(patient, CGM)
        assert again["sub"] != tokens["sub"]


@pytest.mark.requirement("CON-009")
async def test_the_pairing_id_is_the_servers_alone(backend: Backend, patient: Patient) -> None:
    """Nothing that a DiGA sends influences it, and there is none before the patient has agreed."""
    wanted, pool = "ab" * 32, backend.ddr.core.pool
    extra = dict.fromkeys(("sub", "pairing_id", "login_hint", "state", "nonce"), wanted)
    request_uri = await backend.request_uri(CGM, **extra)
    known = "SELECT count(*) FROM pairing WHERE patient_id = $1"
    assert await pool.fetchval(known, patient.patient_id) == 0
    code = (await backend.decide(patient, request_uri, [CGM]))["code"]
    tokens = granted(await backend.exchange(code, **extra))
    assert tokens["sub"] != wanted
    assert await pool.fetchval(known, patient.patient_id) == 1


@pytest.mark.requirement("CON-010", "PRIV-006")
async def test_pairing_ids_differ_by_patient_and_by_diga(ddr: Recorder, backend: Backend) -> None:
    second = Backend(ddr, await ddr.diga(CGM))
    anna, bernd = await ddr.patient(), await ddr.patient()
    found = {(await each.pair(person, CGM))["sub"] for each in (backend, second) for person in (anna, bernd)}
    assert len(found) == 4


@pytest.mark.requirement("CON-011", "CON-013")
async def test_pairing_ids_tell_nothing(ddr: Recorder, backend: Backend) -> None:
    """256 bits of a keyed hash: each has 64 hex digits, and samples differ in about half of their bits."""
    samples, secret, client = [], ddr.core.secrets["pairing-ids"], backend.diga.entry.client_id.encode()
    for _ in range(6):
        patient = await ddr.patient()
        tokens = await backend.pair(patient, CGM)
        samples.append(int(tokens["sub"], 16))
        assert len(tokens["sub"]) == 64
        assert patient.patient_id.hex not in tokens["sub"]
        salt = await ddr.core.pool.fetchval("SELECT salt FROM pairing WHERE patient_id = $1", patient.patient_id)
        attributes = b"\0".join((client, patient.patient_id.bytes, salt))
        assert tokens["sub"] == hmac.digest(secret, attributes, "sha256").hex()
    distances = [(a ^ b).bit_count() for number, a in enumerate(samples) for b in samples[:number]]
    assert all(80 < distance < 176 for distance in distances)
    salts = await ddr.core.pool.fetch("SELECT salt FROM pairing WHERE client_id = $1", backend.diga.entry.client_id)
    assert len({row["salt"] for row in salts}) == len(salts) and all(len(row["salt"]) >= 16 for row in salts)
    assert len(secret) >= 32


@pytest.mark.requirement("CON-011", "CON-010")
async def test_pairing_ids_have_no_part_in_common(ddr: Recorder, backend: Backend, patient: Patient) -> None:
    """Nor does one contain the patient's number: a common prefix would show that two DiGA have the same patient."""
    others = [Backend(ddr, await ddr.diga(CGM)) for _ in range(2)]
    ids = [(await each.pair(patient, CGM))["sub"] for each in (backend, *others)]
    parts = [{text[at : at + 8] for at in range(len(text) - 7)} for text in (*ids, patient.patient_id.hex)]
    assert not any(one & other for number, one in enumerate(parts) for other in parts[:number])


@pytest.mark.requirement("CON-012", "CON-019")
async def test_a_further_kind_of_data_joins_the_pairing(backend: Backend, patient: Patient) -> None:
    """The Pairing ID stays the same; the first tokens stay valid and limited to their scopes."""
    ddr, first = backend.ddr, await backend.pair(patient, CGM)
    second = await backend.pair(patient, BP)
    both = await backend.pair(patient, BP, CGM)
    assert first["sub"] == second["sub"] == claims(second["access_token"])["sub"]
    assert both["sub"] == granted(await backend.refresh(both))["sub"] == first["sub"]
    assert (await consents(ddr, patient)).keys() == {CGM, BP}
    assert granted(await backend.refresh(first))["scope"] == " ".join(ddr.scopes(CGM))
    with later(ddr, 20 * DAY):
        renewed = granted(await backend.refresh(second))
        assert (renewed["sub"], renewed["scope"]) == (first["sub"], " ".join(ddr.scopes(BP)))


@pytest.mark.requirement("CON-018")
@pytest.mark.parametrize("ended_by", ["diga", "patient", "time"])
async def test_a_new_pairing_has_a_new_id(backend: Backend, patient: Patient, ended_by: str) -> None:
    first = await backend.pair(patient, CGM)
    if ended_by == "diga":
        await backend.revoke(first["refresh_token"])
    elif ended_by == "patient":
        await (await pages_of(backend.ddr, patient)).withdraw(backend.diga.entry.client_id)
    with later(backend.ddr, 366 * DAY if ended_by == "time" else 0):
        second = await backend.pair(patient, CGM)
        assert second["sub"] != first["sub"]
        unauthorized(await backend.fhir(first))
        assert (await backend.fhir(second)).status_code == 200


@pytest.mark.requirement("CON-015", "CON-016", "CON-020")
async def test_a_recorder_that_left_the_registry(alone: Recorder, tmp_path: Path) -> None:
    """All pairings end, and every endpoint says that HDDT is no longer supported; patients can still read why."""
    backend, patient = Backend(alone, await alone.diga(CGM)), await alone.patient()
    tokens = await backend.pair(patient, CGM)
    retired = replace(alone.settings, retired=True)
    async with recorder(alone.core.pool, retired, tmp_path, received, {}) as gone:
        diga = await gone.diga(CGM)
        await housekeeping.one_round(gone.core)
        for response in await _every_endpoint(gone, diga.http):
            assert response.status_code == 410, response.request.url.path
            assert "no longer supports the HDDT API" in response.text
        outcome = (await diga.http.get("Observation")).json()
        assert outcome["resourceType"] == "OperationOutcome"
        page = await (await pages_of(gone, patient)).get("/me")
        assert "no longer passes data on" in page.text
    unauthorized(await backend.fhir(tokens))
    refused(await backend.refresh(tokens), 400, "invalid_grant")


async def test_a_recorder_that_left_says_so_in_xml_and_in_its_status(alone: Recorder, tmp_path: Path) -> None:
    """Before, the response was JSON whatever was requested, and the feed called the recorder operational."""
    retired = replace(alone.settings, retired=True)
    async with recorder(alone.core.pool, retired, tmp_path, received, {}) as gone:
        diga = await gone.diga(CGM)
        for path, accept in (
            ("Observation", "application/fhir+xml"),
            ("metadata?_format=xml", "application/fhir+json"),
        ):
            response = await diga.http.get(path, headers={"accept": accept})
            assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (
                410,
                "application/fhir+xml",
            )
            assert 'value="This Device Data Recorder no longer supports the HDDT API"' in response.text
        feed = (await gone.public.get("/status")).json()
    assert feed["status"] == "unavailable"
    assert feed["events"][0]["cause"] == "This Device Data Recorder no longer supports the HDDT API"
    state = {one["function"].partition(":")[0]: one["status"] for one in feed["functions"]}
    assert state == {
        **dict.fromkeys(("pairing", "token", "data", "summary"), "unavailable"),
        "ingestion": "operational",
    }


async def _every_endpoint(ddr: Recorder, http: httpx.AsyncClient) -> list[httpx.Response]:
    base, public = ddr.settings.diga_base_url, ddr.settings.public_base_url
    gets = [f"{base}/fhir/{path}" for path in ("metadata", "Observation", "Device/a", "DeviceMetric/a/_history/1")]
    gets += [f"{public}/{path}" for path in (".well-known/oauth-authorization-server", "oauth/authorize", "oauth/jwks")]
    posts = [f"{base}/oauth/{path}" for path in ("par", "token", "revoke")] + [f"{base}/fhir/Observation/_search"]
    return [*[await http.get(url) for url in gets], *[await http.post(url, data={"client_id": "a"}) for url in posts]]
