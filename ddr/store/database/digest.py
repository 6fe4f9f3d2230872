"""How bearer secrets are stored: only as their SHA-256."""

from __future__ import annotations

import hashlib


def sha256(secret: str) -> bytes:
    """The digest, 32 bytes. Sufficient for secrets with at least 128 random bits; unsuitable for passwords."""
    return hashlib.sha256(secret.encode()).digest()
