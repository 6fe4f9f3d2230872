"""The decisions of the authorization server that need no database: PKCE, rotation, and which parameters are read."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ddr.fhir.negotiation import FORM
from ddr.oauth import pkce
from ddr.oauth.errors import OAuthError
from ddr.oauth.parameters import MAX_FIELDS, MAX_LENGTH, form, query, required
from ddr.oauth.rotation import Rotation, decide
from ddr.store.authorization.tokens import Family

# RFC 7636 appendix B
VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
NOW, REPEAT = 1_795_345_200_000, 10_000
CURRENT, PREVIOUS, OTHER = (hashlib.sha256(name).digest() for name in (b"current", b"previous", b"other"))


def test_the_example_of_rfc_7636() -> None:
    assert pkce.challenge_of(VERIFIER) == CHALLENGE
    assert pkce.well_formed(CHALLENGE) and pkce.proves(VERIFIER, CHALLENGE)


@pytest.mark.parametrize("challenge", ["", CHALLENGE[:-1], CHALLENGE + "A", CHALLENGE[:-1] + "=", CHALLENGE[:-1] + "."])
def test_what_is_no_sha256_is_no_challenge(challenge: str) -> None:
    assert not pkce.well_formed(challenge)


@pytest.mark.parametrize("verifier", [VERIFIER[:42], "x" * 129, VERIFIER[:-1] + "!", VERIFIER + "\n"])
def test_a_malformed_verifier_proves_nothing(verifier: str) -> None:
    assert not pkce.proves(verifier, pkce.challenge_of(verifier))


@pytest.mark.parametrize("length", [43, 128])
def test_verifiers_of_the_least_and_the_greatest_length(length: int) -> None:
    assert pkce.proves("~" * length, pkce.challenge_of("~" * length))
    assert not pkce.proves("~" * length, CHALLENGE)


FAMILY = Family(UUID(int=1), 1, "p", "d", "", False, CURRENT, PREVIOUS, NOW, NOW + 1_000_000, None, {})


def family(**more: Any) -> Family:
    """A family in use: its token was exchanged at NOW."""
    return replace(FAMILY, **more)


def there(from_ms: int, until_ms: int) -> int:
    """The recorder was there all the time."""
    return until_ms - from_ms


@pytest.mark.parametrize(
    ("found", "presented", "after_ms", "outcome"),
    [
        (family(), CURRENT, 0, Rotation.ROTATE),
        (family(rotated_ms=None, previous_sha256=None), CURRENT, 0, Rotation.ROTATE),
        (family(), PREVIOUS, REPEAT, Rotation.REPEAT),
        (family(), PREVIOUS, REPEAT + 1, Rotation.REUSE),
        (family(rotated_ms=None), PREVIOUS, 0, Rotation.REUSE),
        (family(), OTHER, 0, Rotation.REUSE),
        (family(), CURRENT, 999_999, Rotation.ROTATE),
        (family(), CURRENT, 1_000_000, Rotation.EXPIRED),
        (family(ended=True), CURRENT, 0, Rotation.EXPIRED),
        (family(ended=True), OTHER, 0, Rotation.EXPIRED),
        (family(refresh_expires_ms=None), CURRENT, 0, Rotation.EXPIRED),
    ],
)
def test_what_a_refresh_token_is_worth(found: Family, presented: bytes, after_ms: int, outcome: Rotation) -> None:
    assert decide(found, presented, NOW + after_ms, REPEAT, there) is outcome


def test_a_repetition_is_late_by_the_time_in_which_the_recorder_was_there() -> None:
    def asked(from_ms: int, until_ms: int) -> int:
        assert (from_ms, until_ms) == (NOW, NOW + 3_600_000)
        return 5_000

    found = family(refresh_expires_ms=NOW + 10_000_000)
    assert decide(found, PREVIOUS, NOW + 3_600_000, REPEAT, asked) is Rotation.REPEAT


def read(text: str) -> dict[str, str]:
    return query({"type": "http", "query_string": text.encode()})


def test_parameters_are_read_and_empty_ones_are_absent() -> None:
    assert read("a=1&b=x%20y+z&c=") == {"a": "1", "b": "x y z"}
    assert required(read("a=1"), "a") == "1"
    assert read(f"state={'x' * MAX_LENGTH}") == {"state": "x" * MAX_LENGTH}
    assert len(read("&".join(f"p{number}=1" for number in range(MAX_FIELDS)))) == MAX_FIELDS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a=1&a=1", "A parameter is repeated"),
        ("a=&a=1", "A parameter is repeated"),
        (f"state={'x' * (MAX_LENGTH + 1)}", "A parameter is too long or contains characters that are not allowed"),
        ("state=%C3%A4", "A parameter is too long or contains characters that are not allowed"),
        ("state=%0A", "A parameter is too long or contains characters that are not allowed"),
        ("a=%FF", "The parameters are malformed or too many"),
        ("a=ä", "The parameters are malformed or too many"),
        ("&".join(f"p{number}=1" for number in range(MAX_FIELDS + 1)), "The parameters are malformed or too many"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: str, told: str) -> None:
    with pytest.raises(OAuthError) as caught:
        read(text)
    assert (caught.value.error, caught.value.description, caught.value.status) == ("invalid_request", told, 400)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(OAuthError) as caught:
        required({"b": "1"}, "a")
    assert caught.value.description == "Parameter a is missing"


async def posted(body: bytes, limit: int, content_type: bytes | None, **more: bytes) -> dict[str, str]:
    """What `form` makes of a request; `more` are further headers."""
    headers = [(name.replace("_", "-").encode(), value) for name, value in more.items()]
    headers += [(b"content-type", content_type)] if content_type is not None else []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await form({"type": "http", "headers": headers}, receive, limit)


@pytest.mark.parametrize("content_type", [FORM, f"{FORM};charset=utf-8;x=y", f"{FORM.upper()} ; charset=utf-8"])
async def test_a_form_is_read_up_to_its_limit(content_type: str) -> None:
    body = b"scope=a+b&state=&code=x"
    assert await posted(body, len(body), content_type.encode()) == {"scope": "a b", "code": "x"}
    with pytest.raises(OAuthError) as refused:
        await posted(body, len(body) - 1, content_type.encode())
    assert (refused.value.status, refused.value.error) == (413, "invalid_request")
    assert f"{len(body) - 1} bytes" in refused.value.description


@pytest.mark.parametrize("content_type", [None, b"", b"application/json", b"; " + FORM.encode(), b"text/plain, x"])
async def test_what_is_no_form_is_refused(content_type: bytes | None) -> None:
    with pytest.raises(OAuthError) as refused:
        await posted(b"code=x", 100, content_type)
    assert (refused.value.status, refused.value.error) == (400, "invalid_request")
    assert FORM in refused.value.description


async def test_a_form_in_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(OAuthError) as refused:
        await posted(b"code=x", 100, FORM.encode(), content_encoding=b"br")
    assert (refused.value.status, refused.value.error) == (415, "invalid_request")
    assert refused.value.headers == {"accept-encoding": "gzip"}  # RFC 9110 section 15.5.16
