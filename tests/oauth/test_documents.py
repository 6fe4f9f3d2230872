"""The public documents: metadata, JWKS, client registration."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from ddr.http.core import Core
from tests.oauth.backend import DigaBackend, public


async def test_the_metadata_is_exact(core: Core) -> None:
    async with public(core) as anyone:
        response = await anyone.get("/.well-known/oauth-authorization-server")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "issuer": "https://localhost:8444",
        "authorization_endpoint": "https://localhost:8444/oauth/authorize",
        "pushed_authorization_request_endpoint": "https://localhost:8443/oauth/par",
        "token_endpoint": "https://localhost:8443/oauth/token",
        "revocation_endpoint": "https://localhost:8443/oauth/revoke",
        "jwks_uri": "https://localhost:8444/oauth/jwks",
        "service_documentation": "https://localhost:8444/docs/client-registration",
        "protected_resources": ["https://localhost:8443/fhir"],
        "fhir_metadata_endpoint": "https://localhost:8444/fhir/metadata",
        "scopes_supported": [*core.catalog.scopes()],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "require_pushed_authorization_requests": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "tls_client_certificate_bound_access_tokens": False,
        "authorization_response_iss_parameter_supported": True,
    }


async def test_an_access_token_verifies_by_the_published_keys(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    content = await diga.pair(patient_id)
    async with public(core) as anyone:
        keys = KeySet.import_key_set((await anyone.get("/oauth/jwks")).json())
    token = jwt.decode(content["access_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    assert token.claims["sub"] == content["sub"]
    assert token.claims["aud"] == core.settings.fhir_base
    assert token.claims["exp"] - token.claims["iat"] == content["expires_in"]
    assert token.claims.keys() == {
        "iss", "aud", "sub", "client_id", "scope", "gid", "jti", "iat", "nbf", "exp",
    }  # fmt: skip
    assert str(patient_id) not in repr(token.claims)


async def test_published_keys_have_no_private_part(core: Core) -> None:
    async with public(core) as anyone:
        document = (await anyone.get("/oauth/jwks")).json()
    assert document["keys"]
    for key in document["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}


async def test_the_documentation_names_endpoints_and_scopes(core: Core) -> None:
    async with public(core) as anyone:
        response = await anyone.get("/docs/client-registration")
    assert response.headers["content-type"].startswith("text/html")
    for text in ("https://localhost:8443/oauth/par", "code_challenge_method=S256", "patient/DeviceMetric.rs"):
        assert text in response.text
    assert "log records" not in response.text


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("ddr@example.org", "mailto:ddr@example.org"),
        ("https://example.org/ddr?a=1&b=2", "https://example.org/ddr?a=1&amp;b=2"),
    ],
)
async def test_the_documentation_names_who_hands_out_log_records(core: Core, contact: str, link: str) -> None:
    told = replace(core, settings=replace(core.settings, operator_contact=contact))
    async with public(told) as anyone:
        page = (await anyone.get("/docs/client-registration")).text
    assert f'log records of your own calls: <a href="{link}">' in page


async def test_the_documentation_names_the_causes_of_an_outage(core: Core) -> None:
    async with public(core) as anyone:
        page = (await anyone.get("/docs/client-registration")).text
    for text in ("Outage-Cause", "planned-maintenance", "temporary-disruption", "dependency-failed", 'href="/status"'):
        assert text in page
