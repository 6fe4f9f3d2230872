"""mTLS client authentication and the form of every backend endpoint."""

from __future__ import annotations

import secrets
from dataclasses import replace
from uuid import UUID

import pytest

from ddr.http.core import Core
from tests.oauth.backend import DigaBackend, events
from tests.support.trust import FakeTrust

ENDPOINTS = ["/oauth/par", "/oauth/token", "/oauth/revoke"]
UNKNOWN = {
    "error": "invalid_client",
    "error_description": "The authenticated client is not registered or not active in the DiGA directory",
}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_every_reason_gives_the_same_answer(
    core: Core, diga: DigaBackend, other: DigaBackend, trust: FakeTrust, path: str
) -> None:
    inactive = DigaBackend(core, trust.add(replace(diga.diga, active=False)), diga.certificate)
    answers = [
        await DigaBackend(core, other.diga, None).post(path),
        await DigaBackend(core, other.diga, secrets.token_bytes(40)).post(path),
        await DigaBackend(core, other.diga, diga.certificate).post(path),
        await other.post(path, client_id="urn:diga:bfarm:99999"),
        await inactive.post(path),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert [answer.json() for answer in answers] == [UNKNOWN] * len(answers)


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_data_that_is_too_old_is_not_decided_on(diga: DigaBackend, trust: FakeTrust, path: str) -> None:
    trust.is_stale = True
    response = await diga.post(path)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_client_id_is_required(diga: DigaBackend, path: str) -> None:
    response = await diga.post(path, client_id=None)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.requirement("AS-009")
@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("authorization", "more"),
    [
        ("Basic eDp5", {}),
        ("basic", {}),
        ("Digest x", {}),
        (None, {"client_secret": "x"}),
        (None, {"client_assertion": "x"}),
        (None, {"client_assertion_type": "x"}),
    ],
)
async def test_a_second_way_to_authenticate_is_refused(
    core: Core, diga: DigaBackend, path: str, authorization: str | None, more: dict[str, str]
) -> None:
    """RFC 6749 sections 2.3 and 5.2: a DiGA authenticates by its certificate and nothing else."""
    headers = {"authorization": authorization} if authorization else {}
    response = await diga.client.post(path, data={"client_id": diga.diga.client_id, **more}, headers=headers)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert "by the client certificate only" in response.json()["error_description"]
    assert len(await events(core, diga.diga)) == 1


async def test_what_is_no_second_way_is_passed_over(diga: DigaBackend, patient_id: UUID) -> None:
    content = await diga.pair(patient_id)
    form = {"client_id": diga.diga.client_id, "grant_type": "refresh_token", "client_secret": ""}
    form["refresh_token"] = content["refresh_token"]
    response = await diga.client.post("/oauth/token", data=form, headers={"authorization": "Bearer x"})
    assert response.status_code == 200, "an empty parameter is none, and a bearer token names no client"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"client_id=a&client_id=a", "application/x-www-form-urlencoded", 400),
        (b"client_id=a&x=&x=", "application/x-www-form-urlencoded", 400),
        (b"client_id=%FF", "application/x-www-form-urlencoded", 400),
        (b"client_id=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"p%d=1" % i for i in range(60)), "application/x-www-form-urlencoded", 400),
        (b"client_id=" + b"x" * 5000, "application/x-www-form-urlencoded", 400),
        (b"client_id=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b'{"client_id": "a"}', "application/json", 400),
        (b"", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_malformed_bodies(diga: DigaBackend, path: str, body: bytes, content_type: str, status: int) -> None:
    response = await diga.client.post(path, content=body, headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["error"]) == (status, "invalid_request")


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_parameters_in_the_query_do_not_count(diga: DigaBackend, path: str) -> None:
    response = await diga.client.post(f"{path}?client_id={diga.diga.client_id}", data={"a": "b"})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_other_methods_are_refused_as_json(diga: DigaBackend, path: str) -> None:
    response = await diga.client.get(path)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["error"] == "invalid_request"


async def test_both_certificates_of_a_renewal_work_and_a_removed_one_does_not(
    core: Core, diga: DigaBackend, trust: FakeTrust, patient_id: UUID
) -> None:
    next_certificate = secrets.token_bytes(40)
    renewed = DigaBackend(core, trust.add(diga.diga, next_certificate), next_certificate)
    content = await diga.pair(patient_id)
    content = (await renewed.refresh(content["refresh_token"])).json()
    trust.add(replace(diga.diga, certificates=frozenset()), next_certificate)
    assert (await diga.refresh(content["refresh_token"])).status_code == 401
    assert (await renewed.refresh(content["refresh_token"])).status_code == 200


async def test_a_deactivated_diga_gets_no_tokens(diga: DigaBackend, trust: FakeTrust, patient_id: UUID) -> None:
    content, code = await diga.pair(patient_id), await diga.code(patient_id)
    trust.add(replace(diga.diga, active=False))
    assert (await diga.exchange(code)).json() == UNKNOWN
    assert (await diga.refresh(content["refresh_token"])).json() == UNKNOWN


async def test_the_trail_names_the_owner_of_the_certificate(core: Core, diga: DigaBackend, other: DigaBackend) -> None:
    await DigaBackend(core, other.diga, diga.certificate).push()
    assert await events(core, diga.diga) == ["diga:pairing:refused"]
    assert await events(core, other.diga) == []


async def test_an_unknown_path_is_answered_as_json(diga: DigaBackend) -> None:
    response = await diga.client.get("/oauth/introspect")
    assert (response.status_code, response.json()["error"]) == (404, "invalid_request")
