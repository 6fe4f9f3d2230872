"""Proof Key for Code Exchange, S256 only (RFC 7636), demanded of every client (AS-015, AS-044)."""

from __future__ import annotations

import hmac
import re

from ddr.base64url import encoded
from ddr.store.database.digest import sha256

METHOD = "S256"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def well_formed(challenge: str) -> bool:
    """True for the base64url form of a SHA-256."""
    return _CHALLENGE.fullmatch(challenge) is not None


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return encoded(sha256(verifier))


def proves(verifier: str, challenge: str) -> bool:
    """True when `verifier` is well-formed and belongs to `challenge`."""
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(challenge_of(verifier), challenge)
