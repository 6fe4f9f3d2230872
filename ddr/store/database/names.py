"""The one normal form of an account's name: whatever looks it up, counts it or stores it uses the same form."""

from __future__ import annotations

import unicodedata


def normal(text: str) -> str:
    """`text` in Unicode's composed form: a name or password is the same however a keyboard encodes it (RFC 8265)."""
    return unicodedata.normalize("NFC", text)


def account_name(text: str) -> str:
    """The name of a built-in account as it is stored, from what was typed."""
    return normal(normal(text).strip())
