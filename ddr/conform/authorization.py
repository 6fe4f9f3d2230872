"""Requests to the authorization server as a DiGA sends them. Every parameter can be changed, which makes attacks.

RFC 9126 (PAR), RFC 7636 (PKCE), RFC 6749 (code and token), RFC 7009 (revocation).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from ddr.conform.blame import is_visible
from ddr.conform.exchange import Exchange, Json
from ddr.conform.target import Account, Identity
from ddr.conform.verdict import NotRun

if TYPE_CHECKING:
    from ddr.conform.kit import Kit

OBSERVATION = "patient/Observation.rs?code:in="
DEVICES = ("patient/Device.rs", "patient/DeviceMetric.rs")


@dataclass(frozen=True)
class Request:
    """An authorization request: the form of a PAR, and its other values."""

    identity: Identity
    scopes: tuple[str, ...]
    verifier: str
    state: str
    form: Mapping[str, str]


@dataclass(frozen=True)
class Pairing:
    """A patient's consent and the resulting tokens, with the exchanges that led to them."""

    request: Request
    account: Account
    pushed: Exchange
    landed: str
    answered: Exchange

    @property
    def tokens(self) -> Json:
        """The response of the token endpoint."""
        return self.answered.json

    @property
    def callback(self) -> dict[str, str]:
        """The query of the redirect."""
        return dict(parse_qsl(urlsplit(self.landed).query))


def scopes_of(mivs: Iterable[str], devices: Iterable[str] = DEVICES) -> tuple[str, ...]:
    """The scopes of MIVs, by the canonical URLs of their ValueSets, and those of devices."""
    return (*(OBSERVATION + miv for miv in mivs), *devices)


def request(kit: Kit, identity: Identity, scopes: tuple[str, ...] = ()) -> Request:
    """A valid request for everything that the DiGA may read, unless `scopes` limits it."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    kit.wire.secrets.learn(verifier)
    wanted = scopes or scopes_of(identity.mivs)
    digest = hashlib.sha256(verifier.encode()).digest()
    form = {
        "response_type": "code",
        "client_id": identity.client_id,
        "redirect_uri": identity.redirect_uri,
        "scope": " ".join(wanted),
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return Request(identity, wanted, verifier, state, form)


def push(
    kit: Kit, form: Mapping[str, str] | list[tuple[str, str]], identity: Identity | None, method: str = "POST"
) -> Exchange:
    """Send a PAR with this form and this certificate."""
    url = kit.endpoint("pushed_authorization_request_endpoint")
    return kit.wire.send(method, url, identity, form=form if method == "POST" else None)


def address(kit: Kit, client_id: str, request_uri: str) -> str:
    """The URL to which the patient's browser is sent."""
    return authorize(kit, {"client_id": client_id, "request_uri": request_uri})


def authorize(kit: Kit, query: Mapping[str, str]) -> str:
    """The URL of the authorization endpoint with a query added to its own, if any (RFC 6749 section 3.1)."""
    page = kit.endpoint("authorization_endpoint")
    return f"{page}{'&' if '?' in page else '?'}{urlencode(query)}"


def token(kit: Kit, form: Mapping[str, str], identity: Identity | None) -> Exchange:
    """Request tokens; those in the response are secrets."""
    answer = kit.wire.send("POST", kit.endpoint("token_endpoint"), identity, form=form)
    found = answer.json
    kit.wire.secrets.learn(*(str(found[name]) for name in ("access_token", "refresh_token") if name in found))
    return answer


def code_form(asked: Request, landed: str, **changed: str) -> dict[str, str]:
    """The form that redeems the code in `landed`."""
    code = dict(parse_qsl(urlsplit(landed).query)).get("code", "")
    form = {
        "grant_type": "authorization_code",
        "client_id": asked.identity.client_id,
        "redirect_uri": asked.identity.redirect_uri,
        "code": code,
        "code_verifier": asked.verifier,
    }
    return {**form, **changed}


def refresh_form(identity: Identity, refresh_token: str, **changed: str) -> dict[str, str]:
    """The form that refreshes tokens."""
    return {
        "grant_type": "refresh_token",
        "client_id": identity.client_id,
        "refresh_token": refresh_token,
        **changed,
    }


def consent(kit: Kit, asked: Request, account: Account, approve: Iterable[str] | None) -> tuple[Exchange, str]:
    """Push a request and let the patient decide; returns the PAR and where the browser ended. Raises NotRun."""
    pushed = push(kit, asked.form, asked.identity)
    uri = pushed.json.get("request_uri")
    if not isinstance(uri, str):
        raise NotRun("the pushed authorization request was not accepted", pushed)
    url = address(kit, asked.identity.client_id, uri)
    decided = None if approve is None else tuple(approve)
    landed = kit.browser.decide(url, asked.identity.redirect_uri, account, decided)
    kit.wire.secrets.learn(dict(parse_qsl(urlsplit(landed).query)).get("code", ""))
    return pushed, landed


def pair(kit: Kit, identity: Identity, account: Account, scopes: tuple[str, ...] = ()) -> Pairing:
    """Pair, with the patient agreeing to everything. Raises NotRun when this yields no tokens."""
    asked = request(kit, identity, scopes)
    pushed, landed = consent(kit, asked, account, asked.scopes)
    answered = token(kit, code_form(asked, landed), identity)
    if answered.status != 200 or "access_token" not in answered.json:
        raise NotRun("no tokens for the code", answered)
    for name in ("access_token", "refresh_token"):
        if not is_visible(answered.json.get(name, "")):
            raise NotRun(f"{name} is not a string as RFC 6749 allows", answered)
    return Pairing(asked, account, pushed, landed, answered)


def revoke(kit: Kit, identity: Identity, refresh_token: str, client_id: str = "") -> Exchange:
    """End a grant, or try to, as `client_id` (default: the identity's own)."""
    form = {
        "client_id": client_id or identity.client_id,
        "token": refresh_token,
        "token_type_hint": "refresh_token",
    }
    return kit.wire.send("POST", kit.endpoint("revocation_endpoint"), identity, form=form)
