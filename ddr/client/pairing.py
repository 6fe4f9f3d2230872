"""Pairing with a recorder: PAR with PKCE, the patient's browser, the code (RFC 9126, 7636, 9207; HDDT pairing.md)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from ddr.client import oauth
from ddr.client.beside import to_its_end
from ddr.client.diga import Diga
from ddr.client.errors import ConsentDenied, NoAnswerToThisRequest, PairingEnded, refused
from ddr.client.session import grant_of
from ddr.client.tokens import PAIRING_ID, Grant, TokenStore

MIVS = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-"
DEVICE_SCOPES = ("patient/Device.rs", "patient/DeviceMetric.rs")
REDEEM_SECONDS = 30.0  # the longest that the response to a code may take
UNSAVED_SECONDS = 3600.0  # how long a grant is kept that its store has not taken
# These grants and when they expire, by issuer, code and verifier: the code alone is useless (RFC 7636).
_unsaved: dict[tuple[str, str, str], tuple[float, Grant]] = {}


@dataclass(frozen=True)
class Started:
    """A pairing that has been started. Send the patient's browser to `url`; keep the rest, a secret, until it
    returns."""

    url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


class Pairing:
    """Starts and ends pairings of patients with this DiGA."""

    def __init__(self, diga: Diga, http: httpx.AsyncClient, store: TokenStore) -> None:
        self._diga, self._http, self._store = diga, http, store

    async def start(self, valuesets: Iterable[str], devices: bool = True) -> Started:
        """Request kinds of data, named by the canonical URL of their MIV ValueSet or, for gematik's, by its last part
        (`continuous-glucose-measurement`).

        To add kinds later, request them the same way, together with the present ones: the pairing keeps its id, and its
        tokens are replaced. Raises ScopeRefused (more than the DiGA-VZ lists), NotListed, Refused, Throttled,
        Unreachable.
        """
        server = await oauth.metadata(self._http, self._diga.issuer)
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        scopes = [f"patient/Observation.rs?code:in={canonical(one)}" for one in valuesets]
        form = {
            "response_type": "code",
            "client_id": self._diga.client_id,
            "redirect_uri": self._diga.redirect_uri,
            "scope": " ".join([*scopes, *(DEVICE_SCOPES if devices else ())]),
            "state": state,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        pushed = await oauth.post(self._http, oauth.member(server, "pushed_authorization_request_endpoint"), form)
        query = urlencode({"client_id": self._diga.client_id, "request_uri": oauth.member(pushed, "request_uri")})
        page = oauth.member(server, "authorization_endpoint")
        return Started(f"{page}{'&' if '?' in page else '?'}{query}", state, verifier)  # RFC 6749 section 3.1

    async def finish(self, started: Started, callback_url: str) -> Grant:
        """Redeem the code that the browser brought to the redirect_uri; the grant is stored when this returns. A
        cancelled caller waits until then, at most REDEEM_SECONDS for the response. After an error of the store, call it
        again in the same process within UNSAVED_SECONDS.

        Raises NoAnswerToThisRequest, ConsentDenied, PairingEnded (the code is used or too old), Refused, Throttled,
        Unreachable.
        """
        found = _answered(callback_url)
        if not hmac.compare_digest(found.get("state", "").encode("utf-8", "replace"), started.state.encode()):
            raise NoAnswerToThisRequest("its state differs")
        if not await self._is_of_the_issuer(found.get("iss")):
            raise NoAnswerToThisRequest("iss, which names the server, is missing or differs")
        if error := found.get("error"):
            if error == "access_denied":
                raise ConsentDenied(found.get("error_description", error))
            raise refused(302, error, found.get("error_description", ""))
        server = await oauth.metadata(self._http, self._diga.issuer)
        url = oauth.member(server, "token_endpoint")
        form = {
            "grant_type": "authorization_code",
            "client_id": self._diga.client_id,
            "redirect_uri": self._diga.redirect_uri,
            "code": found.get("code", ""),
            "code_verifier": started.verifier,
        }
        return await to_its_end(self._redeemed(url, form))

    async def _redeemed(self, url: str, form: dict[str, str]) -> Grant:
        """The grant for a code, stored. No server redeems a code twice, so a grant that the store did not take is kept
        for the next call, unless a later code of the same pairing has replaced it."""
        code, now = (self._diga.issuer, form["code"], form["code_verifier"]), time.monotonic()
        _drop(lambda _, held: held[0] < now)
        held = _unsaved.get(code)
        if held is None:
            began = time.time()
            grant = grant_of(await oauth.post(self._http, url, form, longest=REDEEM_SECONDS), began)
            if not PAIRING_ID.fullmatch(grant.pairing_id):
                raise refused(200, "sub", "the Pairing ID in the response is not valid")
            held = _unsaved[code] = time.monotonic() + UNSAVED_SECONDS, grant
        until, grant = held
        async with self._store.alone(grant.pairing_id):  # a refresh of former tokens must not overwrite these
            if code in _unsaved:
                await self._store.save(grant)
                same = (self._diga.issuer, grant.pairing_id)
                _drop(lambda key, held: (key[0], held[1].pairing_id) == same and held[0] <= until)
        return grant

    async def _is_of_the_issuer(self, named: str | None) -> bool:
        """Whether a redirect comes from the right server. HDDT does not require `iss` (RFC 9207): it must be there only
        where the server's metadata says so, but if it is there, it must be right."""
        if named is not None:
            return oauth.same_issuer(named, self._diga.issuer)
        server = await oauth.metadata(self._http, self._diga.issuer)
        return server.get("authorization_response_iss_parameter_supported") is not True

    async def unpair(self, pairing_id: str) -> None:
        """End the pairing at the recorder and forget its tokens. Raises Throttled, Unreachable, Refused."""
        async with self._store.alone(pairing_id):
            grant = await self._store.load(pairing_id)
            if grant is None:
                return
            if not grant.ended:
                server = await oauth.metadata(self._http, self._diga.issuer)
                form = {
                    "client_id": self._diga.client_id,
                    "token": grant.refresh_token,
                    "token_type_hint": "refresh_token",
                }
                with suppress(PairingEnded):  # then the pairing had ended already
                    await oauth.post_for_status(self._http, oauth.member(server, "revocation_endpoint"), form)
            await self._store.forget(pairing_id)


def _drop(gone: Callable[[tuple[str, str, str], tuple[float, Grant]], bool]) -> None:
    for code, held in list(_unsaved.items()):
        if gone(code, held):
            _unsaved.pop(code, None)


def canonical(miv: str) -> str:
    """The canonical URL of a MIV's ValueSet."""
    return miv if ":" in miv else MIVS + miv


def _answered(callback_url: str) -> dict[str, str]:
    """The parameters in the query. Raises NoAnswerToThisRequest for an invalid URL."""
    try:
        return {name: values[0] for name, values in parse_qs(urlsplit(callback_url).query).items()}
    except ValueError:
        raise NoAnswerToThisRequest("its URL is not valid") from None


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
