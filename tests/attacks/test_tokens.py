"""Attacks with stolen, forged and widened tokens (RFC 9700 sections 4.9 to 4.14, RFC 8725)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.spec.backend import Backend, claims, granted, header_of, refused, unauthorized
from tests.spec.world import BG, BP, CGM, Home, later
from tests.support.recorder import Patient


def segment(content: Any) -> str:
    """JSON in base64url."""
    return base64.urlsafe_b64encode(orjson.dumps(content)).rstrip(b"=").decode()


async def test_stolen_refresh_token_used_by_the_thief_first(honest: Backend, patient: Patient) -> None:
    """Somebody with the DiGA's certificate, or inside the DiGA: as soon as the owner comes, both are out."""
    owner, bystander = await honest.pair(patient, CGM), await honest.pair(patient, BP)
    thief = granted(await honest.refresh(owner))
    with later(honest.ddr, 11_000):
        refused(await honest.refresh(owner), 400, "invalid_grant")
        refused(await honest.refresh(thief), 400, "invalid_grant")
        unauthorized(await honest.fhir(thief))
        granted(await honest.refresh(bystander))  # only this family ends


async def test_stolen_refresh_token_used_by_the_thief_later(honest: Backend, patient: Patient) -> None:
    stolen = await honest.pair(patient, CGM)
    current = granted(await honest.refresh(stolen))
    with later(honest.ddr, 86_400_000):
        current = granted(await honest.refresh(current))
        refused(await honest.refresh(stolen), 400, "invalid_grant")
        refused(await honest.refresh(current), 400, "invalid_grant")


async def test_stolen_refresh_token_at_another_diga(honest: Backend, hostile: Backend, patient: Patient) -> None:
    """It is of no use there, and the attempt does not harm the owner."""
    tokens = await honest.pair(patient, CGM)
    refused(await hostile.refresh(tokens), 400, "invalid_grant")
    refused(await hostile.refresh(tokens, client_id=honest.diga.entry.client_id), 401, "invalid_client")
    assert (await hostile.revoke(tokens["refresh_token"])).status_code == 200
    assert (await honest.fhir(tokens)).status_code == 200
    granted(await honest.refresh(tokens))


async def test_stolen_access_token_over_another_channel(honest: Backend, hostile: Backend, patient: Patient) -> None:
    """Tokens are not bound to a certificate, but to the DiGA that holds it."""
    await hostile.pair(patient, CGM)
    tokens = await honest.pair(patient, CGM)
    unauthorized(await hostile.fhir(tokens))


async def test_scope_widening_on_refresh(honest: Backend, patient: Patient) -> None:
    ddr, tokens = honest.ddr, await honest.pair(patient, CGM, BP, approve=[CGM])
    for wider in (ddr.scopes(CGM, BP), ddr.scopes(BP), ddr.scopes(CGM, BG)):
        refused(await honest.refresh(tokens, scope=" ".join(wider)), 400, "invalid_scope")
    for malformed in ("patient/*.rs", "patient/Observation.rs", "openid", f"{ddr.scopes(CGM)[0]},x"):
        refused(await honest.refresh(tokens, scope=malformed), 400, "invalid_scope")
    assert granted(await honest.refresh(tokens))["scope"] == " ".join(ddr.scopes(CGM))


async def test_scope_widening_after_narrowing(honest: Backend, patient: Patient) -> None:
    """A narrowed access token does not read what the grant would allow."""
    await Home(honest.ddr, patient).furnish()
    tokens = await honest.pair(patient, CGM, BP)
    narrow = granted(await honest.refresh(tokens, scope=honest.ddr.scopes(BP)[0]))
    found = (await honest.fhir(narrow)).json()["entry"]
    assert {entry["resource"]["code"]["coding"][0]["code"] for entry in found} == {"85354-9"}


async def test_forged_access_tokens(honest: Backend, patient: Patient) -> None:
    """No signature, the public key as a secret, an own key under our name or in the header, other claims."""
    tokens = await honest.pair(patient, CGM)
    real = tokens["access_token"]
    header, body = header_of(real), claims(real)
    public = honest.ddr.core.signer.public_key(header["kid"])
    pem = public.as_pem(private=False)
    signed = f"{segment({**header, 'alg': 'HS256'})}.{segment(body)}"
    confused = base64.urlsafe_b64encode(hmac.new(pem, signed.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    own = ECKey.generate_key("P-256")
    forgeries = [
        f"{segment({**header, 'alg': 'none'})}.{segment(body)}.",
        f"{segment({**header, 'alg': 'None'})}.{segment(body)}.{real.split('.')[2]}",
        f"{signed}.{confused}",
        jwt.encode(header, body, own),
        jwt.encode({**header, "kid": "unknown"}, body, own),
        jwt.encode({**header, "jwk": own.as_dict(private=False)}, body, own),
        f"{real.split('.')[0]}.{segment({**body, 'sub': 'a' * 64})}.{real.split('.')[2]}",
        tokens["refresh_token"],
    ]
    for forged in forgeries:
        unauthorized(await honest.fhir({"access_token": forged}))


async def test_our_own_signature_for_another_purpose(honest: Backend, patient: Patient) -> None:
    """A JWT of ours that is no access token for this resource server."""
    signer, now_ms = honest.ddr.core.signer, honest.ddr.clock()
    body = claims((await honest.pair(patient, CGM))["access_token"])
    for token in (
        signer.sign(body, "JWT", now_ms),
        signer.sign({**body, "aud": "https://other.example/fhir"}, "at+jwt", now_ms),
        signer.sign({**body, "iss": "https://other.example"}, "at+jwt", now_ms),
        signer.sign({**body, "gid": "0" * 32}, "at+jwt", now_ms),
        signer.sign({**body, "sub": "0" * 64}, "at+jwt", now_ms),
    ):
        unauthorized(await honest.fhir({"access_token": token}))


async def test_a_token_of_one_pairing_with_the_grant_of_another(honest: Backend, patient: Patient) -> None:
    """Even a correct signature does not make two halves one: pairing and grant must belong together."""
    ddr, other = honest.ddr, await honest.ddr.patient()
    mine = claims((await honest.pair(patient, CGM))["access_token"])
    theirs = claims((await honest.pair(other, CGM))["access_token"])
    crossed = ddr.core.signer.sign({**mine, "gid": theirs["gid"]}, "at+jwt", ddr.clock())
    unauthorized(await honest.fhir({"access_token": crossed}))


async def test_enumeration_of_resources(honest: Backend, patient: Patient) -> None:
    """The id of another patient's resource, or of one beyond the scopes, looks like an id that never was."""
    home = Home(honest.ddr, patient)
    await home.furnish()
    tokens = await honest.pair(patient, BP)
    theirs = await honest.pair(await honest.ddr.patient(), BP)
    (entry, *_) = (await honest.fhir(tokens)).json()["entry"]
    real = entry["resource"]["id"]
    assert (await honest.fhir(tokens, f"Observation/{real}")).status_code == 200
    asked = [(theirs, one) for one in (real, "0" * 32, real[:-1] + ("0" if real[-1] != "0" else "1"))]
    answers = set()
    for whose, logical_id in (*asked, (tokens, home.ids["bg-new"])):
        response = await honest.fhir(whose, f"Observation/{logical_id}")
        told = {**response.json(), "id": ""}  # that of the request
        answers.add((response.status_code, orjson.dumps(told).decode().replace(logical_id, "ID")))
    ((status, _),) = answers
    assert status == 404
