"""A DiGA's backend, as the tests use it against the ASGI applications."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import pytest

from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.http.core import Core
from ddr.http.tokens import Claims, GoodTokens, TokenVerifier
from ddr.oauth.app import create_oauth_backend, create_oauth_public
from ddr.oauth.pkce import challenge_of
from ddr.operations.pairing import approve
from ddr.scopes.diga import Diga
from ddr.scopes.parse import Scopes
from ddr.store.authorization import tokens
from ddr.tls.peer import LOST
from tests.support.proved import proved

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
STATE = "af0ifjsldkj"


def new_diga(valuesets: frozenset[str]) -> tuple[Diga, bytes]:
    """An active DiGA with a random client_id, and the DER of its certificate (any bytes: only the hash counts)."""
    name = secrets.token_hex(6)
    diga = Diga(f"urn:diga:bfarm:{name}", name, "Maker", True, f"https://{name}.example/cb", frozenset(), valuesets)
    return diga, secrets.token_bytes(40)


def connected(app: ASGIApp, certificate: bytes | None) -> httpx.AsyncClient:
    """A client whose connection has proved `certificate`."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(proved(app, certificate)), base_url="https://ddr.example")


def public(core: Core) -> httpx.AsyncClient:
    """Anyone, without certificate."""
    return connected(create_oauth_public(core), None)


def answer(location: str) -> dict[str, str]:
    """The query of a redirect."""
    return dict(parse_qsl(urlsplit(location).query))


@dataclass
class DigaBackend:
    """One DiGA with its connection; a parameter given as None is left out of the request."""

    core: Core
    diga: Diga
    certificate: bytes | None
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = connected(create_oauth_backend(self.core), self.certificate)

    @property
    def scopes(self) -> Scopes:
        """Everything that this DiGA may ask for, in the order of the catalogue."""
        valuesets = tuple(miv.valueset for miv in self.core.catalog.mivs if miv.valueset in self.diga.valuesets)
        return Scopes(valuesets, device=True, device_metric=True)

    async def post(self, path: str, **parameters: str | None) -> httpx.Response:
        """POST a form with client_id."""
        form = {"client_id": self.diga.client_id, **parameters}
        return await self.client.post(path, data={name: value for name, value in form.items() if value is not None})

    async def push(self, **changes: str | None) -> httpx.Response:
        """A valid pushed request with these `changes`."""
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "redirect_uri": self.diga.redirect_uri,
            "scope": self.scopes.text,
            "state": STATE,
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        return await self.post("/oauth/par", **(parameters | changes))

    async def request_uri(self, **changes: str | None) -> str:
        """The handle of a new pushed request."""
        return str((await self.push(**changes)).json()["request_uri"])

    async def code(self, patient_id: UUID, valuesets: Collection[str] | None = None, **changes: str | None) -> str:
        """A code after the patient agreed to `valuesets` (by default everything that was asked for)."""
        chosen = self.diga.valuesets if valuesets is None else valuesets
        location = await approve(self.core, await self.request_uri(**changes), patient_id, chosen)
        assert location is not None
        return answer(location)["code"]

    async def exchange(self, code: str, /, **changes: str | None) -> httpx.Response:
        """Redeem a code."""
        parameters: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.diga.redirect_uri,
            "code_verifier": VERIFIER,
        }
        return await self.post("/oauth/token", **(parameters | changes))

    async def pair(self, patient_id: UUID, valuesets: Collection[str] | None = None) -> dict[str, Any]:
        """The token answer of a whole pairing."""
        response = await self.exchange(await self.code(patient_id, valuesets))
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content

    async def refresh(self, refresh_token: str, /, **changes: str | None) -> httpx.Response:
        """Use a refresh token."""
        parameters: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self.post("/oauth/token", **(parameters | changes))

    async def revoke(self, token: str | None, /, **changes: str | None) -> httpx.Response:
        """Revoke a token."""
        return await self.post("/oauth/revoke", token=token, **({"token_type_hint": "refresh_token"} | changes))


class Caller:
    """A DiGA's backend on a connection of its own, which it may close early."""

    def __init__(self, diga: DigaBackend) -> None:
        self.gone = False
        app = create_oauth_backend(diga.core)

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[LOST] = lambda: self.gone
            await app(scope, receive, send)

        self.backend = DigaBackend(diga.core, diga.diga, diga.certificate)
        self.backend.client = connected(watched, diga.certificate)

    async def hang_up(self, code: str) -> None:
        """Exchange a code, and hang up before the response."""
        await self._unanswered(self.backend.exchange(code))

    async def hang_up_refresh(self, refresh_token: str) -> None:
        """Use a refresh token, and hang up before the response."""
        await self._unanswered(self.backend.refresh(refresh_token))

    async def _unanswered(self, request: Coroutine[Any, Any, httpx.Response]) -> None:
        self.gone = True
        with pytest.raises(AssertionError):  # the id of a client that gets no response
            await request


def verified_elsewhere(core: Core, access_token: str, now_ms: int | None = None) -> Claims:
    """What a worker other than the signing one finds in an access token, now or at another time."""
    settings = core.settings
    verifier = TokenVerifier(settings.public_base_url, settings.fhir_base, core.signer.public_key, GoodTokens())
    return verifier.verify(access_token, core.clock() if now_ms is None else now_ms)


async def stands(core: Core, access_token: str) -> bool:
    """Whether the resource server would still find the grant of this access token alive, with a consent."""
    claims = verified_elsewhere(core, access_token)
    pairing = await tokens.find_pairing(core.pool, claims.pairing_id)
    name = core.ids.decode(claims.grant_id)
    assert name is not None
    if pairing is None:
        return False
    family = await tokens.load_family(core.pool, pairing.patient_id, name[1], core.clock())
    return family is not None and not family.ended and bool(family.consents)


async def events(core: Core, diga: Diga) -> list[str]:
    """The tags recorded about this DiGA, oldest first."""
    rows = await core.pool.fetch("SELECT event FROM audit WHERE client_id = $1 ORDER BY audit_no", diga.client_id)
    return [row["event"] for row in rows]
