"""Authorization server, black box: codes, access tokens, refresh tokens, revocation (area AS)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import httpx
import pytest

from tests.spec.backend import Backend, Json, claims, granted, header_of, refused, unauthorized
from tests.spec.world import BG, BP, CGM, DAY, later
from tests.support.recorder import Patient, Recorder


@pytest.fixture(scope="module")
async def backend(ddr: Recorder) -> Backend:
    """A DiGA for two MIVs."""
    return Backend(ddr, await ddr.diga(CGM, BP))


@pytest.fixture(scope="module")
async def other(ddr: Recorder) -> Backend:
    """Another DiGA."""
    return Backend(ddr, await ddr.diga(CGM, BP))


async def good(backend: Backend, tokens: Json) -> bool:
    """Whether the resource server accepts the access token; without data the response is 200 with an empty Bundle."""
    return (await backend.fhir(tokens)).status_code == 200


@pytest.mark.requirement("AS-019", "AS-020", "AS-009")
async def test_a_code_is_exchanged(backend: Backend, patient: Patient) -> None:
    response = await backend.exchange(await backend.code(patient, CGM, BP, approve=[CGM]))
    tokens = granted(response)
    assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "scope", "sub"}
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", " ".join(backend.ddr.scopes(CGM)))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    assert await good(backend, tokens)


@pytest.mark.requirement("AS-019", "AS-032")
async def test_every_parameter_is_needed(backend: Backend, patient: Patient) -> None:
    """And a failed attempt does not use up the code."""
    code = await backend.code(patient, CGM)
    for name in ("grant_type", "code", "code_verifier", "redirect_uri", "client_id"):
        refused(await backend.exchange(code, **{name: None}), 400, "invalid_request", f"Parameter {name} is missing")
    granted(await backend.exchange(code))


@pytest.mark.requirement("AS-015", "AS-039", "AS-009")
async def test_a_code_that_does_not_fit(backend: Backend, other: Backend, patient: Patient) -> None:
    code = await backend.code(patient, CGM)
    for wrong in ("a" * 43, "short", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl"):
        refused(await backend.exchange(code, code_verifier=wrong), 400, "invalid_grant")
    refused(await backend.exchange(code, redirect_uri="https://evil.example/"), 400, "invalid_grant")
    refused(await backend.exchange(secrets.token_urlsafe(32)), 400, "invalid_grant")
    refused(await other.exchange(code), 400, "invalid_grant")
    refused(await backend.exchange(code, http=other.diga.http), 401, "invalid_client")
    with later(backend.ddr, 61_000):
        refused(await backend.exchange(code), 400, "invalid_grant")


@pytest.mark.requirement("AS-009")
async def test_of_many_exchanges_at_once_one_succeeds(backend: Backend, patient: Patient) -> None:
    code = await backend.code(patient, CGM)
    answers = await asyncio.gather(*(backend.exchange(code) for _ in range(8)))
    assert sorted(response.status_code for response in answers) == [200] + [400] * 7


@pytest.mark.requirement("AS-009")
async def test_a_code_that_comes_again_ends_what_the_first_use_got(backend: Backend, patient: Patient) -> None:
    code = await backend.code(patient, CGM)
    tokens = granted(await backend.exchange(code))
    with later(backend.ddr, 1_000):
        refused(await backend.exchange(code), 400, "invalid_grant")
        refused(await backend.refresh(tokens), 400, "invalid_grant")
        unauthorized(await backend.fhir(tokens))


@pytest.mark.requirement("AS-021", "AS-045")
async def test_every_altered_byte_is_noticed(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    for name in ("access_token", "refresh_token"):
        token = tokens[name]
        for place in range(0, len(token), 7):
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            forged = {**tokens, name: changed}
            if name == "access_token":
                unauthorized(await backend.fhir(forged))
            else:
                refused(await backend.refresh(forged), 400, "invalid_grant")
                assert (await backend.revoke(changed)).status_code == 200
    assert await good(backend, tokens)


@pytest.mark.requirement("AS-022", "AS-024", "AS-025")
async def test_the_access_token_is_a_plain_signed_jwt(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    token, settings = tokens["access_token"], backend.ddr.settings
    later_token = granted(await backend.refresh(tokens))["access_token"]
    assert token.count(".") == later_token.count(".") == 2
    assert header_of(later_token) == header_of(token) and claims(later_token).keys() == claims(token).keys()
    assert {name: header_of(token)[name] for name in ("alg", "typ")} == {"alg": "ES256", "typ": "at+jwt"}
    found = claims(token)
    assert found.keys() == {"iss", "aud", "sub", "client_id", "scope", "gid", "jti", "iat", "nbf", "exp"}
    assert (found["iss"], found["aud"]) == (settings.public_base_url, settings.fhir_base)
    assert (found["sub"], found["scope"]) == (tokens["sub"], tokens["scope"])
    assert found["exp"] - found["iat"] == tokens["expires_in"] == settings.access_token_seconds
    assert patient.patient_id.hex not in str(found).replace("-", "")
    assert patient.username not in str(found)


@pytest.mark.requirement("AS-046")
async def test_an_expired_access_token(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    with later(backend.ddr, (tokens["expires_in"] + 1) * 1000):
        unauthorized(await backend.fhir(tokens))


@pytest.mark.requirement("AS-023", "TLS-006")
async def test_tokens_outlive_a_certificate(ddr: Recorder, patient: Patient) -> None:
    backend = Backend(ddr, await ddr.diga(CGM))
    tokens = await backend.pair(patient, CGM)
    assert "cnf" not in claims(tokens["access_token"])
    renewed = ddr.spare()
    ddr.trust.add(replace(backend.diga.entry, certificates=frozenset()), renewed.der)
    http = await ddr.client(renewed)
    assert (await backend.fhir(tokens, http=http)).status_code == 200
    assert (await backend.fhir(tokens)).status_code == 401
    granted(await backend.refresh(tokens, http=http))


@pytest.mark.requirement("AS-026", "AS-043")
async def test_a_refresh_token_lives_for_thirty_days(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    with later(backend.ddr, 29 * DAY):
        renewed = granted(await backend.refresh(tokens))
        assert renewed.keys() == tokens.keys()
        with later(backend.ddr, 29 * DAY):
            renewed = granted(await backend.refresh(renewed))
            with later(backend.ddr, 30 * DAY):
                refused(await backend.refresh(renewed), 400, "invalid_grant")


@pytest.mark.requirement("AS-043", "AS-032")
async def test_a_refresh_needs_token_and_client(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    for name in ("refresh_token", "client_id", "grant_type"):
        refused(await backend.refresh(tokens, **{name: None}), 400, "invalid_request")
    granted(await backend.refresh(tokens))


@pytest.mark.requirement("AS-027")
@pytest.mark.parametrize("narrowed", [False, True])
async def test_rotation_retires_the_former_token(backend: Backend, patient: Patient, narrowed: bool) -> None:
    """A repetition within seconds gets the same successor; a later one ends this grant and nothing else."""
    tokens, unharmed = await backend.pair(patient, CGM), await backend.pair(patient, BP)
    first = granted(await backend.refresh(tokens, scope=backend.ddr.scopes(CGM)[0] if narrowed else None))
    assert first["refresh_token"] != tokens["refresh_token"]
    assert first["access_token"] != tokens["access_token"]
    if not narrowed:  # otherwise this would rotate instead
        assert granted(await backend.refresh(tokens))["refresh_token"] == first["refresh_token"]
    with later(backend.ddr, 11_000):
        refused(await backend.refresh(tokens), 400, "invalid_grant")
        refused(await backend.refresh(first), 400, "invalid_grant")
        unauthorized(await backend.fhir(first))
        granted(await backend.refresh(unharmed))


@pytest.mark.requirement("AS-027", "AS-009")
async def test_refreshes_at_once_get_one_successor(backend: Backend, patient: Patient) -> None:
    tokens = await backend.pair(patient, CGM)
    answers = await asyncio.gather(*(backend.refresh(tokens) for _ in range(8)))
    assert len({granted(response)["refresh_token"] for response in answers}) == 1


@pytest.mark.requirement("AS-028", "AS-033", "AS-037")
async def test_the_registry_is_asked_at_every_exchange(ddr: Recorder, patient: Patient) -> None:
    backend = Backend(ddr, await ddr.diga(CGM))
    code, tokens = await backend.code(patient, CGM), await backend.pair(patient, CGM)
    entry = ddr.trust.digas[backend.diga.entry.client_id]
    ddr.trust.digas[entry.client_id] = replace(entry, active=False)
    for response in (await backend.exchange(code), await backend.refresh(tokens)):
        refused(response, 401, "invalid_client")
    unauthorized(await backend.fhir(tokens))
    del ddr.trust.digas[entry.client_id]
    refused(await backend.refresh(tokens), 401, "invalid_client")
    unauthorized(await backend.fhir(tokens))
    ddr.trust.digas[entry.client_id] = entry
    granted(await backend.exchange(code))


@pytest.mark.requirement("AS-029")
async def test_revocation_needs_client_certificate_and_token(
    backend: Backend, other: Backend, patient: Patient
) -> None:
    tokens = await backend.pair(patient, CGM)
    token = tokens["refresh_token"]
    refused(await backend.revoke(None), 400, "invalid_request")
    refused(await backend.revoke(token, client_id=None), 400, "invalid_request")
    refused(await backend.revoke(token, http=other.diga.http), 401, "invalid_client")
    assert await good(backend, tokens)
    response = await backend.revoke(token)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.requirement("AS-030", "AS-037")
@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_revocation_ends_all_of_the_pairing(backend: Backend, patient: Patient, kind: str) -> None:
    first, second = await backend.pair(patient, CGM), await backend.pair(patient, BP)
    code = await backend.code(patient, CGM)
    assert await good(backend, first) and await good(backend, second)
    assert (await backend.revoke(first[kind], token_type_hint=kind)).status_code == 200
    for tokens in (first, second):
        unauthorized(await backend.fhir(tokens))
        refused(await backend.refresh(tokens), 400, "invalid_grant")
    refused(await backend.exchange(code), 400, "invalid_grant")
    pool = backend.ddr.core.pool
    left = "SELECT count(*) FROM consent WHERE patient_id = $1 AND withdrawn_ms IS NULL"
    assert await pool.fetchval(left, patient.patient_id) == 0


@pytest.mark.requirement("AS-031", "AS-049")
async def test_revocation_always_answers_200(backend: Backend, other: Backend, patient: Patient) -> None:
    tokens, foreign = await backend.pair(patient, CGM), await other.pair(patient, CGM)
    assert (await backend.revoke(foreign["refresh_token"])).content == b""
    assert await good(other, foreign)
    for token in ("random", foreign["refresh_token"], "a.b.c", tokens["refresh_token"], tokens["refresh_token"]):
        for hint in ("refresh_token", "access_token", None):
            response = await backend.revoke(token, token_type_hint=hint)
            assert (response.status_code, response.content) == (200, b"")
    granted(await other.refresh(foreign))


@pytest.mark.requirement("AS-031", "AS-032", "AS-039")
@pytest.mark.parametrize("odd", ["ä", "a\n", "\x00", "x" * 5000])
async def test_what_can_be_no_token_is_an_unknown_one(backend: Backend, patient: Patient, odd: str) -> None:
    response = await backend.revoke(odd)
    assert (response.status_code, response.content) == (200, b"")
    refused(await backend.refresh({"refresh_token": odd}), 400, "invalid_grant")
    refused(await backend.exchange(odd), 400, "invalid_grant")
    code = await backend.code(patient, CGM)
    refused(await backend.exchange(code, code_verifier=odd), 400, "invalid_grant")
    granted(await backend.exchange(code))


@pytest.mark.requirement("AS-029", "AS-031")
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "something"])
async def test_an_access_token_can_be_revoked_too(backend: Backend, patient: Patient, hint: str) -> None:
    """A wrong hint only makes the search longer (RFC 7009 section 2.1)."""
    tokens = await backend.pair(patient, CGM)
    response = await backend.revoke(tokens["access_token"], token_type_hint=hint)
    assert (response.status_code, response.content) == (200, b"")
    unauthorized(await backend.fhir(tokens))


@pytest.mark.requirement("AS-048", "CON-007", "CON-008")
async def test_rotation_ends_with_consent(backend: Backend, patient: Patient) -> None:
    """One year after the consent no refresh succeeds any more, however many did before."""
    tokens, clock = await backend.pair(patient, CGM), backend.ddr.clock
    begin = clock()
    try:
        for day in range(29, 365, 29):
            clock.ms = begin + day * DAY
            tokens = granted(await backend.refresh(tokens))
        clock.ms = begin + 365 * DAY - 60_000
        tokens = granted(await backend.refresh(tokens))
        assert tokens["expires_in"] <= 60
        clock.ms = begin + 365 * DAY
        unauthorized(await backend.fhir(tokens))
        refused(await backend.refresh(tokens), 400, "invalid_grant")
    finally:
        clock.ms = begin


@pytest.mark.requirement("AS-032", "AS-033", "REG-008")
async def test_stale_registry_data_is_not_trusted(backend: Backend, patient: Patient) -> None:
    tokens, address = await backend.pair(patient, CGM), backend.authorize_url(await backend.request_uri(CGM))
    backend.ddr.trust.is_stale = True
    try:
        responses: list[httpx.Response] = [await backend.push(CGM), await backend.refresh(tokens)]
        responses.append(await backend.ddr.public.get(address))
    finally:
        backend.ddr.trust.is_stale = False
    for response in responses:
        refused(response, 503, "temporarily_unavailable")
        assert int(response.headers["retry-after"]) > 0
    assert await good(backend, tokens)


@pytest.mark.requirement("CON-004")
async def test_a_refresh_brings_no_type_that_was_not_asked_for(backend: Backend, patient: Patient) -> None:
    only, *types = backend.ddr.scopes(CGM)
    decided = await backend.decide(patient, await backend.request_uri(CGM, scope=only), [CGM])
    tokens = granted(await backend.exchange(decided["code"]))
    for wider in types:
        refused(await backend.refresh(tokens, scope=f"{only} {wider}"), 400, "invalid_scope")
    again = granted(await backend.refresh(tokens))
    assert again["scope"] == tokens["scope"] == only
    for kind in ("Device", "DeviceMetric"):
        assert (await backend.fhir(again, kind)).status_code == 404


@pytest.mark.requirement("CON-004", "AS-034", "SCO-007")
async def test_a_refresh_may_narrow_but_not_widen(backend: Backend, patient: Patient) -> None:
    tokens, ddr = await backend.pair(patient, CGM, BP, approve=[CGM]), backend.ddr
    for wider in (ddr.scopes(CGM, BP), ddr.scopes(BP), ddr.scopes(BG)):
        refused(await backend.refresh(tokens, scope=" ".join(wider)), 400, "invalid_scope")
    narrow = granted(await backend.refresh(tokens, scope=ddr.scopes(CGM)[0]))
    assert narrow["scope"] == ddr.scopes(CGM)[0]
    assert (await backend.fhir(narrow)).status_code == 200
    assert (await backend.fhir(narrow, "Device")).status_code == 404
