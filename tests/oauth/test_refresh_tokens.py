"""The form of refresh tokens, and the decision about a presented one; both are pure functions."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.oauth.pkce import challenge_of, proves, well_formed
from ddr.oauth.refresh_tokens import LENGTH, STEPS, Contents, leads_to, mint, read, successor
from ddr.oauth.rotation import Rotation, decide
from ddr.store.authorization.tokens import Family
from ddr.store.database.digest import sha256

SECRET = b"s" * 32
CONTENTS = Contents("ab" * 32, "cd" * 16)
ISSUED = (
    "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6vNzc3Nzc3Nzc3Nzc3Nzc3NAAAAAAAAAAAAAAAAAAAAAA.JRNOjW8iLAKT_"
    "2Hv1PN9wFQYkEK3oUlJ1pjPH7Us2lE"
)
ISSUED_NEXT = (
    "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6vNzc3Nzc3Nzc3Nzc3Nzc3N6_GXIW9rflE2xLXQ4sHizQ.E8GqJmmBdfdJh"
    "1tgaHtNb5T0_NNG0MRJ1aC_YIZWH8I"
)
NOW, REPEAT = 1_000_000, 10_000
CURRENT, PREVIOUS, OLDER = b"c" * 32, b"p" * 32, b"o" * 32
FAMILY = Family(
    patient_id=UUID(int=1),
    grant_no=1,
    pairing_id=CONTENTS.pairing_id,
    client_id="urn:diga:bfarm:00001",
    scope="",
    ended=False,
    refresh_sha256=CURRENT,
    previous_sha256=PREVIOUS,
    rotated_ms=NOW,
    certificate_sha256=None,
    refresh_expires_ms=NOW + 1_000_000,
    consents={},
)


def test_a_token_tells_its_pairing_and_grant() -> None:
    token = mint(SECRET, CONTENTS)
    assert len(token) == LENGTH
    assert read(SECRET, token) == CONTENTS


def test_tokens_of_one_grant_differ() -> None:
    assert mint(SECRET, CONTENTS) != mint(SECRET, CONTENTS)


def test_a_successor_is_always_the_same_and_belongs_to_the_same_grant() -> None:
    token = mint(SECRET, CONTENTS)
    assert successor(SECRET, token) == successor(SECRET, token) != token
    assert read(SECRET, successor(SECRET, token)) == CONTENTS


def test_tokens_that_were_issued_before_an_upgrade_stay_what_they_are() -> None:
    """Another form, or another successor, would force each DiGA to pair again."""
    assert read(SECRET, ISSUED) == CONTENTS
    assert successor(SECRET, ISSUED) == ISSUED_NEXT


def test_another_secret_reads_nothing_and_foretells_nothing() -> None:
    token = mint(SECRET, CONTENTS)
    assert read(b"x" * 32, token) is None
    assert successor(b"x" * 32, token) != successor(SECRET, token)


@given(st.integers(0, LENGTH - 1), st.characters())
def test_no_changed_character_passes(at: int, letter: str) -> None:
    token = mint(SECRET, CONTENTS)
    changed = token[:at] + letter + token[at + 1 :]
    assert (read(SECRET, changed) is None) == (changed != token)


@given(st.text(max_size=200))
def test_no_other_text_passes(text: str) -> None:
    assert read(SECRET, text) is None


def always_there(from_ms: int, until_ms: int) -> int:
    return until_ms - from_ms


@pytest.mark.parametrize(
    ("presented", "now_ms", "outcome"),
    [
        (CURRENT, NOW + REPEAT * 2, Rotation.ROTATE),
        (PREVIOUS, NOW - 5, Rotation.REPEAT),
        (PREVIOUS, NOW + REPEAT, Rotation.REPEAT),
        (PREVIOUS, NOW + REPEAT + 1, Rotation.REUSE),
        (OLDER, NOW, Rotation.REUSE),
        (CURRENT, NOW + 1_000_000, Rotation.EXPIRED),
        (OLDER, NOW + 1_000_000, Rotation.EXPIRED),
    ],
)
def test_the_outcome_depends_on_generation_and_time(presented: bytes, now_ms: int, outcome: Rotation) -> None:
    assert decide(FAMILY, presented, now_ms, REPEAT, always_there) is outcome


@pytest.mark.parametrize(
    "family", [replace(FAMILY, ended=True), replace(FAMILY, refresh_sha256=None, refresh_expires_ms=None)]
)
def test_an_ended_or_unborn_family_gives_nothing(family: Family) -> None:
    assert decide(family, CURRENT, NOW, REPEAT, always_there) is Rotation.EXPIRED


def test_the_example_of_rfc_7636() -> None:
    verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge_of(verifier) == challenge
    assert well_formed(challenge) and proves(verifier, challenge)


@pytest.mark.parametrize("verifier", ["", "a" * 42, "a" * 129, "ä" * 43, "a" * 42 + "\n"])
def test_a_malformed_verifier_proves_nothing(verifier: str) -> None:
    assert not proves(verifier, challenge_of(verifier))


@given(st.integers(0, 30), st.integers(0, 30))
def test_what_leads_to_the_current_token_came_before_it(first: int, current: int) -> None:
    """Earlier tokens of a line lead to the current one; later ones and those of other lines do not."""
    line = [mint(SECRET, CONTENTS)]
    for _ in range(30):
        line.append(successor(SECRET, line[-1]))
    assert leads_to(SECRET, line[first], sha256(line[current])) == (first < current)
    assert STEPS >= 30 * 144  # a month of refreshes every ten minutes
