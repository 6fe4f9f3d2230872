"""The journey of a browser to the provider and back: authorization code flow with PKCE, nonce and state.

OpenID Connect Core 1.0 section 3.1, RP-Initiated Logout 1.0, RFC 7636, RFC 9207.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import httpx
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ddr.base64url import decoded, encoded
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.provider import Provider
from ddr.identity.tokens import Identity, read_id_token
from ddr.store.database.clock import SKEW_MS
from ddr.store.database.digest import sha256
from ddr.store.patients.journeys import LONGEST_MS, Journey

CALLBACK = "/login/callback"
SECRET = "login-journeys"  # noqa: S105 - the name of one
_SALT = 12  # bytes, as AES-GCM wants them
SCOPE = "openid profile"  # of the profile only preferred_username is read, and only kept in the session
TOKEN_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)  # RFC 6749 section 5.2; other error codes are not repeated
CLOCKS_MS = 10_000  # how far the clocks of provider and recorder may differ when a new login is required

log = logging.getLogger(__name__)


def set_out(secret: bytes, cookie: str, request_uri: str, confirms: bool, now_ms: int) -> Journey:
    """A new journey of the browser with this cookie; `request_uri` is that of the DiGA waiting for the login, or empty.

    Its `state` contains the rest, sealed, so that only the recorder can read or make one.
    """
    nonce, verifier = (secrets.token_urlsafe(32) for _ in range(2))
    content = orjson.dumps([_digest(cookie), nonce, verifier, request_uri, confirms, now_ms])
    salt = secrets.token_bytes(_SALT)
    state = encoded(salt + AESGCM(secret).encrypt(salt, content, None))
    return Journey(state, nonce, verifier, request_uri, confirms, now_ms)


def on_the_way(secret: bytes, cookie: str, state: str, now_ms: int) -> tuple[Journey | None, str]:
    """The journey with this state, None when it is too old, of another browser, or invalid; and the request that waits.

    A journey from the future comes from a clock that was set back. If somebody has logged in or out in another tab, a
    browser returns with another cookie; its DiGA still waits.
    """
    try:
        sealed = decoded(state)  # refuses another spelling, by which it could be used once more
        content = orjson.loads(AESGCM(secret).decrypt(sealed[:_SALT], sealed[_SALT:], None))
    except (InvalidTag, ValueError):
        return None, ""
    of_browser, *rest = content
    journey = Journey(state, *rest)
    if not now_ms - LONGEST_MS < journey.started_ms <= now_ms + SKEW_MS:
        return None, ""
    return (journey if hmac.compare_digest(of_browser, _digest(cookie)) else None), journey.request_uri


def _digest(cookie: str) -> str:
    return sha256(cookie).hex()


async def way_out(provider: Provider, journey: Journey, base_url: str, language: str, *, asks: bool = False) -> str:
    """The address at the provider where the patient logs in. Raises ProviderUnavailable.

    `asks`: the provider must ask for the login even if it remembers the user.
    """
    challenge = encoded(sha256(journey.verifier))
    parameters = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": base_url + CALLBACK,
        "scope": SCOPE,
        "state": journey.state,
        "nonce": journey.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "ui_locales": language,
        **({"prompt": "login"} if journey.confirms or asks else {}),
        **({"max_age": "0"} if journey.confirms else {}),
    }
    return _with_query((await provider.description()).authorization_endpoint, parameters)


async def way_back(
    provider: Provider, journey: Journey, answer: Mapping[str, str], base_url: str, now_ms: int
) -> Identity:
    """Who came back, from the parameters of the callback. Raises LoginRefused, ProviderUnavailable."""
    described = await provider.description()
    if answer.get("iss", provider.issuer) != provider.issuer or (described.names_itself and "iss" not in answer):
        raise LoginRefused("iss of the answer")
    if "code" not in answer:
        raise LoginRefused("no code")
    token = await _redeem(provider, described.token_endpoint, answer["code"], journey.verifier, base_url)
    identity = await read_id_token(provider, token, journey.nonce, now_ms)
    if journey.confirms and not _since(identity, journey.started_ms):
        raise LoginRefused("auth_time")
    return identity


def _since(identity: Identity, started_ms: int) -> bool:
    """True when the user was asked on this journey; the provider's times are in whole seconds."""
    return identity.authenticated_ms is not None and identity.authenticated_ms + CLOCKS_MS >= started_ms


async def _redeem(provider: Provider, endpoint: str, code: str, verifier: str, base_url: str) -> str:
    """The ID token for a code (RFC 6749 section 4.1.3)."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": base_url + CALLBACK,
        "code_verifier": verifier,
        **({} if provider.client_secret else {"client_id": provider.client_id}),
    }
    request = provider.http.build_request("POST", endpoint, data=form)
    if provider.client_secret:
        account = httpx.BasicAuth(quote(provider.client_id, safe=""), quote(provider.client_secret, safe=""))
        request = next(account.auth_flow(request))
    try:
        content = await provider.json_of(request, 400)
    except ProviderUnavailable as error:  # with a client secret that is no longer accepted, nobody can log in
        log.warning("login.provider_away", extra={"fault": f"token endpoint: {error}"})
        raise
    token = content.get("id_token")
    if not isinstance(token, str):
        said = content.get("error")
        raise LoginRefused(f"no ID token: {said}" if said in TOKEN_ERRORS else "no ID token")
    return token


async def way_to_logout(provider: Provider, base_url: str, request_uri: str) -> str | None:
    """Where the patient's session at the provider ends; None when the provider has no usable address for that.

    `request_uri` is that of the waiting DiGA, or empty; it comes back as `state` (RP-Initiated Logout 1.0 section 2).
    No id_token_hint is sent: it would carry the patient's name through addresses and logs, and the recorder would have
    to keep it. The provider may ask the patient to confirm instead.
    """
    try:
        endpoint = (await provider.description()).end_session_endpoint
    except ProviderUnavailable:
        return None
    if endpoint is None or not endpoint.startswith(provider.origin + "/"):
        return None  # the pages' forms may only lead to the issuer's origin
    parameters = {"client_id": provider.client_id, "post_logout_redirect_uri": f"{base_url}/login?bye=1"}
    return _with_query(endpoint, parameters | ({"state": request_uri} if request_uri else {}))


def _with_query(endpoint: str, parameters: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"
