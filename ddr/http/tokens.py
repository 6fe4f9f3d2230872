"""Verification of access tokens at the resource server (RFC 9068; HDDT error-codes.md, Resource Server Errors).

A token is verified once and then remembered until it expires; one that this worker has signed itself is remembered from
the start, as most come back over the same connection. Whether its pairing is in force is not checked here: that is read
from the database on each request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from ddr.base64url import decoded
from ddr.remembering import Newest
from ddr.store.database.digest import sha256

TYPE = "at+jwt"
ALGORITHM = "ES256"  # of every signature of this recorder (RFC 7518)
MAX_LENGTH = 4096
LEEWAY_MS = 5_000  # by which the clock of the issuing host may be ahead of ours

NOT_SIGNED = "Token is not a signed JWT"
FOREIGN_ISSUER = "Invalid token issuer"
EXPIRED = "The access token expired"
NOT_YET = "Token cannot be used yet"


class InvalidToken(Exception):
    """The token cannot be used: 401 with error="invalid_token" and this text, one of the four of RS-022."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


@dataclass(frozen=True)
class Claims:
    """The content of a valid access token. Instants in milliseconds."""

    pairing_id: str
    client_id: str
    scope: str
    grant_id: str
    kid: str
    not_before_ms: int
    expires_ms: int


class GoodTokens(Newest[bytes, Claims]):
    """The claims of the last `most` valid tokens of a worker, by the SHA-256 of the token."""

    def __init__(self, most: int = 10_000) -> None:
        super().__init__(most)

    def issued(self, token: str, claims: Mapping[str, Any]) -> None:
        """`token` was just signed with these claims, so verifying it would give the same."""
        if len(token) <= MAX_LENGTH:
            self.put(sha256(token), _claims(_json_object(token.partition(".")[0])["kid"], claims))


class TokenVerifier:
    """Verifies access tokens of one issuer for one resource server; remembers valid ones in `known`."""

    def __init__(
        self, issuer: str, audience: str, public_key: Callable[[str], ECKey | None], known: GoodTokens
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._public_key = public_key
        self._known = known

    def verify(self, token: str, now_ms: int) -> Claims:
        """The claims of a token that is valid now. Raises InvalidToken."""
        digest = sha256(token)
        claims = self._known.get(digest)
        if claims is None or self._public_key(claims.kid) is None:  # a key that was withdrawn takes its tokens with it
            claims = self._read(token)
            self._known.put(digest, claims)
        if now_ms >= claims.expires_ms:
            self._known.forget(digest)
            raise InvalidToken(EXPIRED)
        if now_ms < claims.not_before_ms - LEEWAY_MS:
            raise InvalidToken(NOT_YET)
        return claims

    def _read(self, token: str) -> Claims:
        """Checks form, issuer, signature, then the rest: a foreign issuer is recognised although its key is unknown."""
        header, claims = _parts(token)
        if claims.get("iss") != self._issuer:
            raise InvalidToken(FOREIGN_ISSUER)
        kid = header.get("kid")
        key = self._public_key(kid) if isinstance(kid, str) else None
        if key is None or not _signed_by(token, key):
            raise InvalidToken(NOT_SIGNED)
        if header.get("typ") != TYPE or claims.get("aud") != self._audience:
            raise InvalidToken(NOT_SIGNED)  # signed by us, but not an access token for this resource server
        return _claims(kid, claims)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of anything in the form of a signed JWT; the signature is not checked yet."""
    segments = token.split(".")
    if len(segments) != 3 or len(token) > MAX_LENGTH:
        raise InvalidToken(NOT_SIGNED)
    header, claims = _json_object(segments[0]), _json_object(segments[1])
    if not _decode(segments[2]) or str(header.get("alg")).lower() == "none":
        raise InvalidToken(NOT_SIGNED)
    return header, claims


def _json_object(segment: str) -> dict[str, Any]:
    try:
        value = orjson.loads(_decode(segment))
    except orjson.JSONDecodeError:
        raise InvalidToken(NOT_SIGNED) from None
    if not isinstance(value, dict):
        raise InvalidToken(NOT_SIGNED)
    return value


def _decode(segment: str) -> bytes:
    """Base64url in its only spelling: unused bits in the last character must not make a second valid token."""
    try:
        return decoded(segment)
    except ValueError:
        raise InvalidToken(NOT_SIGNED) from None


def _signed_by(token: str, key: ECKey) -> bool:
    try:
        jwt.decode(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        return False
    return True


def _claims(kid: Any, claims: Mapping[str, Any]) -> Claims:
    """The claims of a token whose signature is ours, so its form is ours, too."""
    return Claims(
        pairing_id=claims["sub"],
        client_id=claims["client_id"],
        scope=claims["scope"],
        grant_id=claims["gid"],
        kid=kid,
        not_before_ms=claims["nbf"] * 1000,
        expires_ms=claims["exp"] * 1000,
    )
