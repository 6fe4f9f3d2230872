"""The one reading of an account's name: whoever looks it up, counts it or keeps it sees the same name."""

from __future__ import annotations

import unicodedata


def normal(text: str) -> str:
    """`text` in Unicode's composed form: the same name or password however a keyboard encodes it (RFC 8265)."""
    return unicodedata.normalize("NFC", text)


def account_name(text: str) -> str:
    """The name of a built-in account as it is stored, from what somebody typed."""
    return normal(normal(text).strip())
