"""The pairing protocol, request by request, for tests that deviate from it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import orjson

from ddr.demo.browser_user import BrowserUser
from ddr.oauth.pkce import challenge_of
from tests.support.recorder import PASSWORD, Patient, Recorder, TestDiga

Json = dict[str, Any]

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@dataclass
class Backend:
    """A DiGA's backend. A parameter given as None is left out; `http` is a connection other than the DiGA's own."""

    ddr: Recorder
    diga: TestDiga

    async def post(self, endpoint: str, /, http: httpx.AsyncClient | None = None, **form: Any) -> httpx.Response:
        """POST a form with client_id to /oauth/`endpoint` of the DiGA listener."""
        given = {"client_id": self.diga.entry.client_id, **form}
        url = f"{self.ddr.settings.diga_base_url}/oauth/{endpoint}"
        return await (http or self.diga.http).post(
            url, data={key: text for key, text in given.items() if text is not None}
        )

    def good_push(self, *mivs: str) -> dict[str, str]:
        """The form of a valid pushed request for these MIVs."""
        return {
            "client_id": self.diga.entry.client_id,
            "response_type": "code",
            "redirect_uri": self.diga.entry.redirect_uri,
            "scope": " ".join(self.ddr.scopes(*mivs)),
            "state": secrets.token_urlsafe(8),
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }

    async def push(self, *mivs: str, **changes: Any) -> httpx.Response:
        """A valid pushed request for these MIVs with these `changes`."""
        return await self.post("par", **{**self.good_push(*mivs), **changes})

    async def request_uri(self, *mivs: str, **changes: Any) -> str:
        """The handle of a new pushed request."""
        response = await self.push(*mivs, **changes)
        assert response.status_code == 201, response.text
        found: str = response.json()["request_uri"]
        return found

    def authorize_url(self, request_uri: str, client_id: str | None = None) -> str:
        """Where the patient's browser is sent."""
        query = urlencode({"client_id": client_id or self.diga.entry.client_id, "request_uri": request_uri})
        return f"{self.ddr.settings.public_base_url}/oauth/authorize?{query}"

    async def decide(self, patient: Patient, request_uri: str, approve: Sequence[str] | None) -> dict[str, str]:
        """The patient approves these MIVs, or refuses (None): the parameters that reach the DiGA."""
        browser = BrowserUser(await self.ddr.client(), patient.username, PASSWORD)
        scopes = None if approve is None else self.ddr.scopes(*approve)
        url, stop, days = self.authorize_url(request_uri), self.diga.entry.redirect_uri, self.ddr.settings.consent_days
        return answer(await browser.decide(url, stop, scopes, days))

    async def code(self, patient: Patient, *mivs: str, approve: Sequence[str] | None = None) -> str:
        """A code after the patient approved everything that was asked for, or `approve`."""
        request_uri = await self.request_uri(*mivs)
        return (await self.decide(patient, request_uri, approve or mivs))["code"]

    async def exchange(self, code: str, /, **changes: Any) -> httpx.Response:
        """Redeem a code."""
        form = {"redirect_uri": self.diga.entry.redirect_uri, "code_verifier": VERIFIER, "code": code}
        return await self.post("token", **{"grant_type": "authorization_code", **form, **changes})

    async def pair(self, patient: Patient, *mivs: str, approve: Sequence[str] | None = None) -> Json:
        """The token answer of a whole pairing."""
        response = await self.exchange(await self.code(patient, *mivs, approve=approve))
        return granted(response)

    async def refresh(self, tokens: Json, /, **changes: Any) -> httpx.Response:
        """Use the refresh token of a token answer."""
        return await self.post(
            "token", **{"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], **changes}
        )

    async def revoke(self, token: str | None, /, **changes: Any) -> httpx.Response:
        """Revoke a token."""
        return await self.post("revoke", **{"token": token, "token_type_hint": "refresh_token", **changes})

    async def fhir(
        self, tokens: Json, path: str = "Observation", http: httpx.AsyncClient | None = None
    ) -> httpx.Response:
        """GET below the FHIR base with the access token of a token answer."""
        url = f"{self.ddr.settings.fhir_base}/{path}"
        return await (http or self.diga.http).get(url, headers={"authorization": f"Bearer {tokens['access_token']}"})


def answer(landed: str) -> dict[str, str]:
    """The parameters of a redirect."""
    return dict(parse_qsl(urlsplit(landed).query))


def granted(response: httpx.Response) -> Json:
    """The successful token response."""
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def header_of(token: str) -> Json:
    """The header of a JWT."""
    return _part(token, 0)


def claims(token: str) -> Json:
    """The claims of a JWT, unverified."""
    return _part(token, 1)


def _part(token: str, at: int) -> Json:
    part = token.split(".")[at]
    found: Json = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def refused(response: httpx.Response, status: int, error: str, description: str | None = None) -> None:
    """Assert the OAuth error of RFC 6749 section 5.2, as JSON that is never cached."""
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    if description is not None:
        assert response.json()["error_description"] == description


def unauthorized(response: httpx.Response) -> None:
    """Assert that the resource server refuses the token."""
    assert response.status_code == 401, response.text
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
