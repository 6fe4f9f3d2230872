"""Verifies what the provider signed: ID tokens of patients who log in, access tokens that gateways present.

OpenID Connect Core 1.0 section 3.1.3.7, RFC 9068 section 4, RFC 8725.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jws import JWSRegistry
from joserfc.jws import extract_compact as parts_of

from ddr.identity.errors import LoginRefused
from ddr.identity.provider import LARGEST_BYTES, Description, Provider
from ddr.identity.representing import Represented, is_subject, represented

ALGORITHMS = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "Ed25519", "EdDSA"]
LEEWAY_MS = 60_000  # how far the provider's clock may be from ours
LONGEST = 16_384  # characters of a token that anybody may send; a list of represented patients makes an ID token longer
ACCESS_TOKEN = "at+jwt"  # noqa: S105 - a type; RFC 9068 section 2.1
ID_TOKEN_MARKS = {"nonce", "at_hash", "c_hash", "s_hash"}  # OpenID Connect Core 1.0 sections 2 and 3.3.2.11
# The algorithm name that providers still use (RFC 8037). The key says which curve it is; the library only warns about
# the name.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)
_REGISTRY = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)  # unknown header members are no fault
# With the library's own limits nobody could log in at a provider that puts its certificate into the header (x5c), nor
# could anybody who represents a thousand people.
_REGISTRY.max_header_length = _REGISTRY.max_signature_length = LONGEST
_REGISTRY.max_payload_length = LARGEST_BYTES


@dataclass(frozen=True)
class Identity:
    """A user of the provider: `subject` is the provider's name for the user, `username` the name shown on the page.

    `represents`: for whom the user acts, or what is wrong with an entry; None: the recorder does not read this. `sid`
    is the session at the provider, if the provider names it; `issued_ms` is when the token was issued.
    """

    subject: str
    username: str
    authenticated_ms: int | None
    sid: str | None
    issued_ms: int
    represents: tuple[Represented | str, ...] | None = None


async def read_id_token(provider: Provider, token: str, nonce: str, now_ms: int) -> Identity:
    """Who logged in. Raises LoginRefused unless the token is signed, for us, in time, and the answer to our `nonce`."""
    claims = await verified(provider, token, provider.client_id, now_ms, from_provider=True)
    subject = subject_of(claims)
    if claims.get("nonce") != nonce:
        raise LoginRefused("nonce")
    if claims.get("azp", provider.client_id) != provider.client_id or ("azp" not in claims and _many(claims["aud"])):
        raise LoginRefused("azp")
    username, sid = (claims.get(name) for name in ("preferred_username", "sid"))
    return Identity(
        subject=subject,
        username=username if isinstance(username, str) and username.isprintable() else "",
        authenticated_ms=_authenticated(claims),
        sid=sid if isinstance(sid, str) and sid else None,
        issued_ms=instant(claims, "iat"),
        represents=tuple(represented(claims.get(provider.represents_claim))) if provider.represents_claim else None,
    )


def _authenticated(claims: Mapping[str, Any]) -> int | None:
    try:
        return instant(claims, "auth_time")
    except LoginRefused:  # only some need the claim, and they find None then
        return None


async def read_access_token(provider: Provider, token: str, now_ms: int) -> str:
    """The subject of an access token for `oidc_audience`. Raises LoginRefused.

    An ID token is not accepted, whatever its audience: the header must say `at+jwt` (RFC 9068 section 4), or the type
    that the operator set for a provider that does not follow it. In the latter case, nothing in the token may mark it
    as an ID token.
    """
    if type_of(token) != _plain_type(provider.access_token_type):
        raise LoginRefused("typ")
    claims = await verified(provider, token, provider.audience, now_ms)
    subject = subject_of(claims)
    if _plain_type(provider.access_token_type) != ACCESS_TOKEN and _may_be_id_token(claims, provider):
        raise LoginRefused("id token")
    return subject


def _may_be_id_token(claims: Mapping[str, Any], provider: Provider) -> bool:
    """True if it is for us, or has a claim that only ID tokens have; Keycloak says so in a claim `typ`."""
    return (
        provider.client_id in _audiences(claims["aud"])
        or not ID_TOKEN_MARKS.isdisjoint(claims)
        or str(claims.get("typ")).upper() == "ID"
    )


def type_of(token: str) -> str:
    """The media type in the header, without `application/`, which may be left out (RFC 7515 section 4.1.9).

    Raises LoginRefused when it is not a token, or is too long for one from outside.
    """
    if len(token) > LONGEST:
        raise LoginRefused("length")
    typ = _header(token).get("typ")
    return _plain_type(typ) if isinstance(typ, str) else ""


def _plain_type(typ: str) -> str:
    return typ.lower().removeprefix("application/")


async def verified(
    provider: Provider, token: str, audience: str, now_ms: int, *, from_provider: bool = False
) -> Mapping[str, Any]:
    """The claims of a token that the provider signed for `audience` and that is valid now.

    For an unknown key, the keys are read again: at most once a minute, as anybody can invent one, but at once for a
    token that came `from_provider` itself, where the key must be new. Raises LoginRefused with the failed check, or
    ProviderUnavailable.
    """
    kid = _kid(token)
    described = await provider.description(kid)
    try:
        claims = _signed(token, described)
    except LoginRefused:  # each of several keys has a name, but a single one without a name may have been replaced, too
        newer = await provider.description(kid, doubted=described, at_once=from_provider)
        if newer is described:
            raise
        claims = _signed(token, newer)
    try:
        json.dumps(claims, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # an unpaired surrogate: such a text can be neither stored nor hashed
        raise LoginRefused("text") from None
    except RecursionError:
        raise LoginRefused("form") from None
    _check(claims, provider.issuer, audience, now_ms)
    return claims


def _signed(token: str, described: Description) -> Mapping[str, Any]:
    """The claims of a token signed with one of these keys. Raises LoginRefused."""
    try:
        return jwt.decode(token, described.keys, registry=_REGISTRY).claims
    except (JoseError, ValueError, TypeError):
        raise LoginRefused("signature") from None
    except RecursionError:
        raise LoginRefused("form") from None


def _kid(token: str) -> str | None:
    """The key that the token names; without a name, the provider must have only one key (joserfc checks that)."""
    kid = _header(token).get("kid")
    return kid if isinstance(kid, str) else None


def _header(token: str) -> Mapping[str, Any]:
    try:
        header = parts_of(token.encode(), registry=_REGISTRY).headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        raise LoginRefused("form") from None
    if not isinstance(header, Mapping):
        raise LoginRefused("form")
    return header


def _check(claims: Mapping[str, Any], issuer: str, audience: str, now_ms: int) -> None:
    if claims.get("iss") != issuer:
        raise LoginRefused("iss")
    if audience not in _audiences(claims.get("aud")):
        raise LoginRefused("aud")
    if instant(claims, "exp") + LEEWAY_MS <= now_ms:
        raise LoginRefused("exp")
    if any(name in claims and instant(claims, name) - LEEWAY_MS > now_ms for name in ("iat", "nbf")):
        raise LoginRefused("not yet")


def subject_of(claims: Mapping[str, Any]) -> str:
    """The user whom the claims are about. Raises LoginRefused."""
    subject = claims.get("sub")
    if not is_subject(subject):
        raise LoginRefused("sub")
    return subject


def _audiences(claim: Any) -> list[Any]:
    return claim if isinstance(claim, list) else [claim]


def _many(claim: Any) -> bool:
    return len(_audiences(claim)) > 1


def instant(claims: Mapping[str, Any], name: str) -> int:
    """The claim `name`, seconds since 1970, in milliseconds. Raises LoginRefused."""
    seconds = claims.get(name)
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < 1e11:
        raise LoginRefused(name)
    return int(seconds * 1000)
