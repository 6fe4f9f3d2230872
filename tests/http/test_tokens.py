"""Access tokens at the resource server: the four refusals of RS-022, and the memory of good tokens."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from ddr.http.tokens import (
    EXPIRED,
    FOREIGN_ISSUER,
    LEEWAY_MS,
    NOT_SIGNED,
    NOT_YET,
    GoodTokens,
    InvalidToken,
    TokenVerifier,
)

ISSUER, AUDIENCE = "https://issuer.example", "https://rs.example/fhir"
NOW_S = 1_795_341_600
KEY, OTHER_KEY = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ab" * 32,
    "client_id": "urn:diga:bfarm:00001",
    "scope": "patient/Device.rs",
    "gid": "cd" * 16,
    "jti": "j",
    "nbf": NOW_S,
    "exp": NOW_S + 600,
}


def token(key: ECKey = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "k", **(header or {})}, {**CLAIMS, **changes}, key)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


@pytest.fixture
def keys() -> dict[str, ECKey]:
    return {"k": KEY}


@pytest.fixture
def verifier(keys: dict[str, ECKey]) -> TokenVerifier:
    return TokenVerifier(ISSUER, AUDIENCE, keys.get, GoodTokens(most=2))


def refusal(verifier: TokenVerifier, text: str, seconds: float = 0) -> str:
    with pytest.raises(InvalidToken) as refused:
        verifier.verify(text, int((NOW_S + seconds) * 1000))
    return refused.value.description


def test_a_good_token_tells_its_claims(verifier: TokenVerifier) -> None:
    claims = verifier.verify(token(), NOW_S * 1000)
    assert (claims.pairing_id, claims.client_id, claims.grant_id) == ("ab" * 32, "urn:diga:bfarm:00001", "cd" * 16)
    assert (claims.scope, claims.expires_ms) == ("patient/Device.rs", (NOW_S + 600) * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "random",
        "a.b",
        "a.b.c.d",
        "ä.ö.ü",
        "....",
        f"{segment({'alg': 'none'})}.{segment(CLAIMS)}.",
        f"{segment({'alg': 'none'})}.{segment(CLAIMS)}.AAAA",
        f"{segment({'alg': 'ES256', 'kid': 'k'})}.{segment(CLAIMS)}.",
        f"{segment([])}.{segment(CLAIMS)}.AAAA",
        f"{segment({'alg': 'ES256', 'kid': 'k'})}.{segment(7)}.AAAA",
        token(OTHER_KEY),
        token(header={"kid": "other"}),
        f"{segment({'alg': 'ES256', 'kid': 7})}.{segment(CLAIMS)}.AAAA",
        token(header={"typ": "JWT"}),
        token(aud="https://elsewhere.example"),
        jwt.encode({"alg": "HS256", "typ": "at+jwt", "kid": "k"}, CLAIMS, OctKey.import_key(b"x" * 32)),
        token(padding="x" * 5000),
    ],
)
def test_anything_but_our_signed_jwt(verifier: TokenVerifier, text: str) -> None:
    assert refusal(verifier, text) == NOT_SIGNED


def test_each_changed_character_is_noticed(verifier: TokenVerifier) -> None:
    good = token()
    for at in range(len(good)):
        if good[at] != ".":
            changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
            assert refusal(verifier, changed) in (NOT_SIGNED, FOREIGN_ISSUER)


def test_a_second_spelling_of_the_signature_is_noticed(verifier: TokenVerifier) -> None:
    good = token()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(good[-1])
    assert refusal(verifier, good[:-1] + letters[last ^ 1]) == NOT_SIGNED


def test_a_foreign_issuer_is_told_apart_whoever_signed(verifier: TokenVerifier) -> None:
    assert refusal(verifier, token(OTHER_KEY, iss="https://evil.example")) == FOREIGN_ISSUER
    assert refusal(verifier, token(iss=None)) == FOREIGN_ISSUER


def test_a_token_is_good_from_its_beginning_to_its_end(verifier: TokenVerifier) -> None:
    text = token()
    verifier.verify(text, NOW_S * 1000 - LEEWAY_MS)  # of a host whose clock is ahead
    assert refusal(verifier, text, -LEEWAY_MS / 1000 - 0.001) == NOT_YET
    verifier.verify(text, (NOW_S + 600) * 1000 - 1)
    assert refusal(verifier, text, 600) == EXPIRED
    assert refusal(verifier, text, 601) == EXPIRED


def test_a_good_token_is_checked_once(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    text = token()
    first = verifier.verify(text, NOW_S * 1000)
    monkeypatch.setattr(jwt, "decode", None)
    assert verifier.verify(text, NOW_S * 1000) is first


def test_the_memory_is_bounded_and_keeps_what_is_used(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [token(jti=str(number)) for number in range(3)]
    for text in (texts[0], texts[1], texts[0], texts[2]):
        verifier.verify(text, NOW_S * 1000)
    monkeypatch.setattr("ddr.http.tokens._signed_by", lambda text, key: False)
    verifier.verify(texts[0], NOW_S * 1000)
    verifier.verify(texts[2], NOW_S * 1000)
    assert refusal(verifier, texts[1]) == NOT_SIGNED


def test_a_key_taken_back_takes_back_remembered_tokens(verifier: TokenVerifier, keys: dict[str, ECKey]) -> None:
    text = token()
    verifier.verify(text, NOW_S * 1000)
    keys.clear()
    assert refusal(verifier, text) == NOT_SIGNED


def test_what_was_signed_here_is_known_as_verifying_finds_it(
    verifier: TokenVerifier, keys: dict[str, ECKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, known = token(), GoodTokens()
    known.issued(text, CLAIMS)
    found = verifier.verify(text, NOW_S * 1000)
    monkeypatch.setattr(jwt, "decode", None)
    own = TokenVerifier(ISSUER, AUDIENCE, keys.get, known)
    assert own.verify(text, NOW_S * 1000) == found
    assert refusal(own, text, 600) == EXPIRED
    assert refusal(own, text[:-1]) == NOT_SIGNED


def test_a_token_that_is_too_long_is_not_known_either() -> None:
    text, known = token(padding="x" * 5000), GoodTokens()
    known.issued(text, CLAIMS)
    assert refusal(TokenVerifier(ISSUER, AUDIENCE, {"k": KEY}.get, known), text) == NOT_SIGNED
