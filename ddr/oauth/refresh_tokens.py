"""Refresh tokens: they name their pairing and grant and carry a MAC of the server (AS-021, AS-045).

A successor is computed from its predecessor, so that a repeated refresh can get the same successor again although only
hashes are stored. Form: base64url(pairing id | grant id | nonce) "." base64url(HMAC-SHA256).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from ddr.base64url import decoded, encoded
from ddr.store.database.digest import sha256

NONCE = 16
BODY = 32 + 16 + NONCE  # bytes: pairing id, grant id, nonce
STEPS = 5000  # a month of refreshes every ten minutes
LENGTH = 86 + 1 + 43  # characters


@dataclass(frozen=True)
class Contents:
    """The contents of an authentic refresh token: hex ids as shown outside."""

    pairing_id: str
    grant_id: str


def mint(secret: bytes, contents: Contents) -> str:
    """A new refresh token with 128 random bits."""
    return _signed(secret, _ids(contents) + secrets.token_bytes(NONCE))


def successor(secret: bytes, token: str) -> str:
    """The one token that follows the authentic `token`; without the secret, nobody can predict it."""
    nonce = _mac(secret, b"successor", token.encode())[:NONCE]
    return _signed(secret, _body(token)[:-NONCE] + nonce)


def leads_to(secret: bytes, token: str, current_sha256: bytes) -> bool:
    """True when `token` is one of the STEPS tokens before the one with this hash.

    An authentic token of a family that does not lead to the current one comes after it, or long before it.
    """
    for _ in range(STEPS):
        token = successor(secret, token)
        if sha256(token) == current_sha256:
            return True
    return False


def read(secret: bytes, token: str) -> Contents | None:
    """The contents of a token issued here, or None. Compares the whole text, so that no other spelling is accepted."""
    if len(token) != LENGTH or not token.isascii():
        return None
    try:
        body = _body(token)
    except ValueError:
        return None
    if len(body) != BODY or not hmac.compare_digest(_signed(secret, body), token):
        return None
    return Contents(body[:32].hex(), body[32:48].hex())


def _ids(contents: Contents) -> bytes:
    return bytes.fromhex(contents.pairing_id) + bytes.fromhex(contents.grant_id)


def _signed(secret: bytes, body: bytes) -> str:
    return f"{encoded(body)}.{encoded(_mac(secret, b'token', body))}"


def _mac(secret: bytes, purpose: bytes, data: bytes) -> bytes:
    return hmac.new(secret, purpose + b"\x00" + data, hashlib.sha256).digest()


def _body(token: str) -> bytes:
    return decoded(token.partition(".")[0])
