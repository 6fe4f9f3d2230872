"""What a report shows: no secret, but everything needed to repeat a request."""

from __future__ import annotations

import pytest

from ddr.conform.masking import MASK, Secrets

BASE = "https://recorder.example/fhir/Observation"


@pytest.mark.parametrize(
    "query",
    [
        "code=2339-0",
        "code=2339-0,15074-8&date=ge2026-01-01",
        "_count=1&code=http%3A%2F%2Floinc.org%7C2339-0%2Chttp%3A%2F%2Floinc.org%7C99504-3",
        "code=|2339-0",
        "code=https://x.example/lung|PEF-measured/predicted",
        "component-code=8480-6",
    ],
)
def test_codes_of_a_search_are_shown(query: str) -> None:
    assert Secrets().mask(f"GET {BASE}?{query}") == f"GET {BASE}?{query}"


def test_a_secret_is_masked_as_an_address_or_json_has_it() -> None:
    """Formerly a token with characters of Base64 was shown where a recorder repeats a form, or escapes a slash."""
    secrets = Secrets()
    secrets.learn("ab+/cd+/ef==")
    for text in ("ab+/cd+/ef==", "ab%2B%2Fcd%2B%2Fef%3D%3D", "ab+\\/cd+\\/ef=="):
        assert secrets.mask(f"unknown: {text}.") == f"unknown: {MASK}."


@pytest.mark.parametrize(
    "text",
    [
        "https://diga.example/cb?state=a&code=SplxlOBeZQQYbYS6WxSbIA",
        "https://diga.example/cb?code=2339-0SplxlOBeZQQYbYS6WxSbIA",
        "grant_type=authorization_code&code=f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "code=12345-67890",
        "code_verifier=aaaa",
        "token=2339-0",
        "CODE=abcdefgh",
    ],
)
def test_codes_of_an_authorization_are_not(text: str) -> None:
    secret = text.rpartition("=")[2]
    assert Secrets().mask(text) == text.removesuffix(secret) + MASK
