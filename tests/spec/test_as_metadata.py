"""Authorization server, black box: its metadata (area AS)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ddr.settings import MivSettings, Settings
from tests.spec.backend import Backend, refused
from tests.spec.conftest import received
from tests.support.recorder import ALL_MIVS, Recorder, recorder

METADATA = "/.well-known/oauth-authorization-server"
# The members with which authorization servers state what they offer (RFC 7009, 7591, 7662, 8414, 8628, 9126, OIDC).
FURTHER = (
    *(f"oauth/{name}" for name in ("authorize", "token", "par", "revoke", "introspect", "register", "userinfo")),
    *(f"oauth/{name}" for name in ("device_authorization", "bc-authorize", "logout", "end_session", "keys", "clients")),
    ".well-known/openid-configuration",
    ".well-known/jwks.json",
)
Json = dict[str, Any]


@pytest.fixture
async def metadata(ddr: Recorder) -> Json:
    """The metadata, fetched without a certificate."""
    response = await ddr.public.get(METADATA)
    assert response.status_code == 200
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    found: Json = response.json()
    return found


@pytest.mark.requirement("AS-001", "AS-002")
async def test_every_endpoint_is_where_the_metadata_says(ddr: Recorder, metadata: Json) -> None:
    http = (await ddr.diga()).http
    for name in ("pushed_authorization_request_endpoint", "token_endpoint", "revocation_endpoint"):
        refused(await http.post(metadata[name], data={}), 400, "invalid_request")
        assert (await http.get(metadata[name])).status_code == 405
    authorize = await ddr.public.get(metadata["authorization_endpoint"])
    assert authorize.status_code == 400
    keys = (await ddr.public.get(metadata["jwks_uri"])).json()["keys"]
    assert all((key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256") and "d" not in key for key in keys)
    assert metadata["issuer"] + METADATA == str(ddr.public.base_url).rstrip("/") + METADATA


@pytest.mark.requirement("AS-002")
async def test_what_answers_is_documented_and_what_is_documented_answers(ddr: Recorder, metadata: Json) -> None:
    backend = (await ddr.diga()).http
    named = {url for name, url in metadata.items() if name.endswith(("_endpoint", "_uri"))}
    for http, base in ((backend, ddr.settings.diga_base_url), (ddr.public, ddr.settings.public_base_url)):
        others = {f"{base}/{path}" for path in FURTHER} - named
        found = {url: {(await http.request(method, url)).status_code for method in ("GET", "POST")} for url in others}
        assert set().union(*found.values()) == {404}, found
        for url in (one for one in named if one.startswith(f"{base}/")):
            assert (await http.get(url)).status_code != 404, url


@pytest.mark.requirement("AS-004", "AS-041", "AS-042")
async def test_endpoints_are_on_their_hosts(ddr: Recorder, metadata: Json) -> None:
    assert set(metadata["grant_types_supported"]) == {"authorization_code", "refresh_token"}
    backend, public = ddr.settings.diga_base_url, ddr.settings.public_base_url
    assert metadata["pushed_authorization_request_endpoint"].startswith(f"{backend}/")
    assert metadata["token_endpoint"].startswith(f"{backend}/")
    assert metadata["revocation_endpoint"].startswith(f"{backend}/")
    assert metadata["authorization_endpoint"].startswith(f"{public}/")
    documentation = await ddr.public.get(metadata["service_documentation"])
    assert documentation.status_code == 200
    assert "DiGA-VZ" in documentation.text


@pytest.mark.requirement("AS-006", "AS-007")
async def test_other_settings_give_other_metadata(settings: Settings, pool: asyncpg.Pool, tmp_path: Path) -> None:
    """The document is computed for each request and may be cached for a minute."""
    chosen = "blood-pressure-value"
    shutil.copytree(settings.miv_packages / chosen, tmp_path / "mivs" / chosen)
    terms: dict[str, MivSettings] = {}
    changed = replace(settings, miv_packages=tmp_path / "mivs")
    async with recorder(pool, changed, tmp_path, received, terms) as ddr:
        response = await ddr.public.get(METADATA)
        assert sorted(response.json()["scopes_supported"]) == sorted(ddr.scopes(chosen))
        assert response.json()["issuer"] == ddr.settings.public_base_url
        assert response.headers["cache-control"] == "public, max-age=60"


@pytest.mark.requirement("AS-047")
async def test_no_openid_metadata(ddr: Recorder, metadata: Json) -> None:
    """The registered URL is the base below which RFC 8414 places the document."""
    assert metadata["issuer"] == ddr.settings.public_base_url
    assert (await ddr.public.get("/.well-known/openid-configuration")).status_code == 404


@pytest.mark.requirement("AS-008", "AS-035")
async def test_no_other_grant(ddr: Recorder, metadata: Json) -> None:
    backend = Backend(ddr, await ddr.diga())
    forms: dict[str, Json] = {
        "client_credentials": {"scope": metadata["scopes_supported"][0]},
        "password": {"username": "a", "password": "b"},
        "implicit": {},
        "urn:ietf:params:oauth:grant-type:device_code": {"device_code": "a"},
    }
    for grant_type, form in forms.items():
        refused(await backend.post("token", grant_type=grant_type, **form), 400, "unsupported_grant_type")
        assert grant_type not in metadata["grant_types_supported"]
    refused(
        await backend.post("token", grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer", assertion="a"),
        400,
        "unauthorized_client",
        "The client is not authorized to use this authorization grant type",
    )
    refused(await backend.push(*ALL_MIVS, response_type="token"), 400, "unsupported_response_type")
