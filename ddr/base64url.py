"""Base64url without padding (RFC 7515 section 2), in its one spelling."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode


def encoded(data: bytes) -> str:
    """The text of `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of `encoded`. Raises ValueError for any other text: spare bits make no second one that is as good."""
    data = b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encoded(data) != text:
        raise ValueError("another spelling")
    return data
