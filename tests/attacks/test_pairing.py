"""Attacks on the way from the pushed request to the tokens (RFC 9700 section 4, RFC 9126 section 7)."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ddr.oauth.pkce import challenge_of
from tests.spec.backend import VERIFIER, Backend, granted, refused
from tests.spec.patient_pages import ENGLISH
from tests.spec.world import BG, CGM, Home, later
from tests.support.recorder import Patient

OTHER_VERIFIER = "M25iVXpKU3puUjFaYWg3T1NDTDQtcW1ROUY5YXlwalNoc0hhakxifmZHag"
EVIL = "https://evil.example/callback"


async def test_code_injection(honest: Backend, patient: Patient) -> None:
    """A stolen code is put into the attacker's own session at the honest DiGA: its verifier does not fit."""
    stolen = await honest.code(patient, CGM)
    await honest.request_uri(CGM, code_challenge=challenge_of(OTHER_VERIFIER))
    refused(await honest.exchange(stolen, code_verifier=OTHER_VERIFIER), 400, "invalid_grant")
    granted(await honest.exchange(stolen))  # and the owner still gets in


async def test_code_substitution(honest: Backend, hostile: Backend, patient: Patient) -> None:
    """A code that was issued to another DiGA, even with the right verifier."""
    stolen = await honest.code(patient, CGM)
    refused(await hostile.exchange(stolen), 400, "invalid_grant")
    refused(await hostile.exchange(stolen, redirect_uri=honest.diga.entry.redirect_uri), 400, "invalid_grant")
    refused(await hostile.exchange(stolen, client_id=honest.diga.entry.client_id), 401, "invalid_client")
    granted(await honest.exchange(stolen))


async def test_code_replay(honest: Backend, patient: Patient) -> None:
    """A code that was seen on its way is tried after its owner: both lose, so that the theft shows."""
    code = await honest.code(patient, CGM)
    tokens = granted(await honest.exchange(code))
    with later(honest.ddr, 1_000):
        refused(await honest.exchange(code), 400, "invalid_grant")
        assert (await honest.fhir(tokens)).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": None},
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge": "a"},
    ],
)
async def test_pkce_downgrade(honest: Backend, change: dict[str, str | None]) -> None:
    refused(await honest.push(CGM, **change), 400, "invalid_request")


async def test_pkce_left_out_at_the_exchange(honest: Backend, patient: Patient) -> None:
    code = await honest.code(patient, CGM)
    for verifier in (None, "", challenge_of(VERIFIER)):
        response = await honest.exchange(code, code_verifier=verifier)
        assert response.status_code == 400
    granted(await honest.exchange(code))


async def test_mix_up(honest: Backend, patient: Patient) -> None:
    """The answer names its issuer (RFC 9207), which the metadata promises, also when it is an error."""
    ddr = honest.ddr
    metadata = (await ddr.public.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["authorization_response_iss_parameter_supported"] is True
    for approve in ([CGM], None):
        found = await honest.decide(patient, await honest.request_uri(CGM), approve)
        assert found["iss"] == metadata["issuer"] == ddr.settings.public_base_url


async def test_redirect_manipulation(honest: Backend, patient: Patient) -> None:
    """Neither a pushed nor an added address counts, nor one in the consent form; the registered one does."""
    ddr, registered = honest.ddr, honest.diga.entry.redirect_uri
    for evil in (EVIL, f"{registered}.evil.example", f"{registered}/../x", f"https://evil.example/?{registered}"):
        refused(await honest.push(CGM, redirect_uri=evil), 400, "invalid_request")
    url = f"{honest.authorize_url(await honest.request_uri(CGM))}&{urlencode({'redirect_uri': EVIL, 'state': 'evil'})}"
    response = await ddr.public.get(url, headers=ENGLISH)
    assert "evil" not in response.headers["location"]
    random = {"client_id": honest.diga.entry.client_id, "redirect_uri": EVIL, "request_uri": "urn:x"}
    for parameters in (random, {**random, "client_id": "urn:diga:bfarm:99999"}, {"redirect_uri": EVIL}):
        answer = await ddr.public.get("/oauth/authorize", params=parameters, headers=ENGLISH)
        assert answer.status_code == 400 and "location" not in answer.headers
        assert "evil.example" not in answer.text


async def test_request_uri_of_another_client(honest: Backend, hostile: Backend) -> None:
    """The hostile DiGA sends a patient to its own name with the honest one's request, and the other way round."""
    for mine, theirs in ((honest, hostile), (hostile, honest)):
        url = mine.authorize_url(await mine.request_uri(CGM), theirs.diga.entry.client_id)
        response = await mine.ddr.public.get(url, headers=ENGLISH)
        assert response.status_code == 400 and "location" not in response.headers


async def test_request_uri_guessing_and_reuse(honest: Backend, patient: Patient) -> None:
    """256 random bits, good for one decision within minutes."""
    handles = {await honest.request_uri(CGM) for _ in range(3)}
    assert len(handles) == 3 and all(len(handle.rpartition(":")[2]) >= 43 for handle in handles)
    used = handles.pop()
    assert "code" in await honest.decide(patient, used, [CGM])
    expired = handles.pop()
    assert (await honest.ddr.public.get(honest.authorize_url(used), headers=ENGLISH)).status_code == 400
    with later(honest.ddr, 601_000):
        assert (await honest.ddr.public.get(honest.authorize_url(expired), headers=ENGLISH)).status_code == 400


async def test_parameters_added_at_the_browser(honest: Backend, patient: Patient) -> None:
    """What was pushed cannot be changed from the browser: no wider scope, no other challenge."""
    request_uri = await honest.request_uri(CGM)
    extra = {"scope": " ".join(honest.ddr.scopes(CGM, BG)), "code_challenge": challenge_of(OTHER_VERIFIER)}
    url = f"{honest.authorize_url(request_uri)}&{urlencode(extra)}"
    response = await honest.ddr.public.get(url, headers=ENGLISH)
    assert parse_qs(urlsplit(response.headers["location"]).query).keys() == {"request_uri"}
    code = (await honest.decide(patient, request_uri, [CGM]))["code"]
    refused(await honest.exchange(code, code_verifier=OTHER_VERIFIER), 400, "invalid_grant")
    assert granted(await honest.exchange(code))["scope"] == " ".join(honest.ddr.scopes(CGM))


async def test_registry_that_changes_during_a_pairing(honest: Backend, patient: Patient) -> None:
    """What the DiGA may read is asked again when the patient decides, when tokens are issued, and at each access."""
    ddr = honest.ddr
    diga = Backend(ddr, await ddr.diga(CGM, BG))
    home = Home(ddr, patient)
    await home.furnish()
    single = f"Observation/{home.ids['bg-new']}"
    entry = ddr.trust.digas[diga.diga.entry.client_id]
    cgm = ddr.core.catalog.by_name(CGM)
    assert cgm is not None
    narrowed = replace(entry, valuesets=frozenset([cgm.valueset]))

    request_uri = await diga.request_uri(CGM, BG)
    ddr.trust.digas[entry.client_id] = narrowed
    code = (await diga.decide(patient, request_uri, [CGM, BG]))["code"]
    assert granted(await diga.exchange(code))["scope"] == " ".join(ddr.scopes(CGM))

    ddr.trust.digas[entry.client_id] = entry
    code = await diga.code(patient, CGM, BG)
    ddr.trust.digas[entry.client_id] = narrowed
    assert granted(await diga.exchange(code))["scope"] == " ".join(ddr.scopes(CGM))

    ddr.trust.digas[entry.client_id] = entry
    tokens = await diga.pair(patient, CGM, BG)
    assert (await diga.fhir(tokens, single)).status_code == 200
    ddr.trust.digas[entry.client_id] = narrowed
    assert (await diga.fhir(tokens, single)).status_code == 404
    refused(await diga.push(BG), 400, "invalid_scope")
