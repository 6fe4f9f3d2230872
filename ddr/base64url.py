"""Base64url without padding (RFC 7515 section 2), in its only spelling."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode


def encoded(data: bytes) -> str:
    """The text of `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The inverse of `encoded`. Raises ValueError for any other text: unused bits must not make a second valid one."""
    data = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encoded(data) != text:
        raise ValueError("another spelling")
    return data
