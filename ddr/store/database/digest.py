"""How bearer secrets are kept: only as their SHA-256."""

from __future__ import annotations

import hashlib


def sha256(secret: str) -> bytes:
    """32 bytes. Enough for secrets of 128 random bits and more; no use for passwords."""
    return hashlib.sha256(secret.encode()).digest()
