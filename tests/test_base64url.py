"""Base64url in its only accepted spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.base64url import decoded, encoded


@given(st.binary(max_size=80))
def test_what_is_encoded_comes_back(data: bytes) -> None:
    text = encoded(data)
    assert decoded(text) == data and "=" not in text


@pytest.mark.parametrize("text", ["AB", "AA==", "-w=", "+w", "/w", "A", "A A", "ä", "AA\n"])
def test_another_spelling_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        decoded(text)
