"""The recorder's signatures over its request log: a JWS by the key that signs access tokens, with a type of its own.

Public keys are kept for good, by their thumbprint (RFC 7638); private keys end with their rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from ddr.http.tokens import ALGORITHM
from ddr.store.audit import request_log_seals as store
from ddr.store.database.pool import Connection

TYPE = "ddr-request-log+jwt"


class Signer(Protocol):
    """What this room needs of ddr.oauth.keys.Keys."""

    def sign(self, claims: Mapping[str, Any], typ: str, now_ms: int) -> str:
        """A JWT."""

    def jwks(self) -> dict[str, Any]:
        """The public keys."""


@dataclass(frozen=True)
class Signed:
    """A valid signature: its claims, and the thumbprint of the key."""

    claims: Mapping[str, Any]
    kid: str


async def sign(conn: Connection, signer: Signer, claims: Mapping[str, Any], now_ms: int) -> str:
    """Sign `claims`, and keep the public key."""
    token = signer.sign({**claims, "iat": now_ms // 1000}, TYPE, now_ms)
    known = await store.keys(conn)
    for jwk in signer.jwks()["keys"]:
        if jwk["kid"] not in known:
            await store.add_key(conn, jwk["kid"], jwk, now_ms)
    return token


def read(token: str, keys: Mapping[str, Mapping[str, Any]]) -> Signed | None:
    """The content of a signature if one of `keys` made it, and that key is the one it names; else None."""
    try:
        for kid, jwk in keys.items():
            key = ECKey.import_key(dict(jwk))
            found = _by(token, key, kid)
            if found is not None and key.thumbprint() == kid:
                return Signed(found, kid)
    except (JoseError, ValueError):
        return None
    return None


def _by(token: str, key: ECKey, kid: str) -> Mapping[str, Any] | None:
    try:
        decoded = jwt.decode(token, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError):
        return None
    fits = decoded.header.get("typ") == TYPE and decoded.header.get("kid") == kid
    return decoded.claims if fits else None
