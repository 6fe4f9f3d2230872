"""A DiGA backend: pairs by PAR, PKCE and code over mTLS, keeps its tokens, pulls FHIR searches over all pages."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

Json = dict[str, Any]


class DigaRefused(Exception):
    """The recorder refused a request of the DiGA."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"{response.request.url.path}: {response.status_code} {response.text[:500]}")
        self.response = response

    @property
    def status(self) -> int:
        """HTTP status of the response."""
        return self.response.status_code


@dataclass(frozen=True)
class PushedRequest:
    """A pushed authorization request: where to send the patient's browser, and what to remember."""

    url: str
    state: str
    verifier: str


@dataclass(frozen=True)
class Tokens:
    """A response of the token endpoint."""

    access_token: str
    refresh_token: str
    scope: str
    pairing_id: str

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.scope.split(" "))


@dataclass(frozen=True)
class DigaClient:
    """One DiGA; `http` presents its certificate."""

    http: httpx.AsyncClient
    client_id: str
    redirect_uri: str
    issuer: str
    fhir_base: str

    async def metadata(self) -> Json:
        """The authorization server's metadata (RFC 8414)."""
        return self._json(await self.http.get(f"{self.issuer}/.well-known/oauth-authorization-server"))

    async def push_request(self, scopes: tuple[str, ...]) -> PushedRequest:
        """Push an authorization request for `scopes` (RFC 9126) with PKCE (RFC 7636)."""
        server = await self.metadata()
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = hashlib.sha256(verifier.encode()).digest()
        form = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(scopes),
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        pushed = self._json(await self.http.post(server["pushed_authorization_request_endpoint"], data=form))
        query = urlencode({"client_id": self.client_id, "request_uri": pushed["request_uri"]})
        return PushedRequest(f"{server['authorization_endpoint']}?{query}", state, verifier)

    async def redeem(self, request: PushedRequest, landed: str) -> Tokens:
        """Exchange the code in the redirect's URL `landed` for tokens."""
        answer = {name: values[0] for name, values in parse_qs(urlsplit(landed).query).items()}
        if answer.get("state") != request.state or answer.get("iss") != self.issuer or "code" not in answer:
            raise ValueError(
                f"the redirect does not belong to this request: {answer.get('error', 'state or issuer differ')}"
            )
        form = {"redirect_uri": self.redirect_uri, "code_verifier": request.verifier, "code": answer["code"]}
        return await self._token({"grant_type": "authorization_code", **form})

    async def refresh(self, tokens: Tokens) -> Tokens:
        """New tokens for the refresh token."""
        return await self._token({"grant_type": "refresh_token", "refresh_token": tokens.refresh_token})

    async def revoke(self, tokens: Tokens) -> None:
        """End the pairing (RFC 7009)."""
        form = {"client_id": self.client_id, "token": tokens.refresh_token, "token_type_hint": "refresh_token"}
        response = await self.http.post((await self.metadata())["revocation_endpoint"], data=form)
        if response.is_error:
            raise DigaRefused(response)

    async def get(self, tokens: Tokens, url: str, parameters: Mapping[str, str] | None = None) -> Json:
        """One FHIR request; `url` is absolute or relative to the FHIR base. Raises DigaRefused."""
        target = url if url.startswith("https://") else f"{self.fhir_base}/{url}"
        headers = {"authorization": f"Bearer {tokens.access_token}", "accept": "application/fhir+json"}
        return self._json(await self.http.get(target, params=parameters, headers=headers))

    async def search(self, tokens: Tokens, kind: str, parameters: Mapping[str, str]) -> list[Json]:
        """All resources that a search returns, matches and included ones, over all pages. Raises DigaRefused."""
        bundle = await self.get(tokens, kind, parameters)
        found = [entry["resource"] for entry in bundle.get("entry", ())]
        while following := next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None):
            bundle = await self.get(tokens, following)
            found += [entry["resource"] for entry in bundle.get("entry", ())]
        return found

    async def _token(self, form: Mapping[str, str]) -> Tokens:
        endpoint = (await self.metadata())["token_endpoint"]
        answer = self._json(await self.http.post(endpoint, data={"client_id": self.client_id, **form}))
        return Tokens(*(answer[name] for name in ("access_token", "refresh_token", "scope", "sub")))

    @staticmethod
    def _json(response: httpx.Response) -> Json:
        if response.is_error:
            raise DigaRefused(response)
        content: Json = response.json()
        return content
