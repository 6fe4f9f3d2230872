"""Entries of the audit trail in few bytes: packing and unpacking gives the same, and damage is detected."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.store.audit.packing import MOST_ENTRIES, Packed, pack, pairing_bytes, pairing_text, unpack

NUMBERS = st.integers(1, 2**63 - 1)
INSTANTS = st.integers(-(2**63), 2**63 - 1)
WORDS = st.integers(1, 2**31 - 1)


@st.composite
def entries(draw: st.DrawFn) -> list[Packed]:
    numbers = sorted(draw(st.sets(NUMBERS, min_size=1, max_size=60)))
    return [Packed(number, draw(INSTANTS), draw(WORDS)) for number in numbers]


@given(entries())
def test_what_was_packed_unpacks_to_the_same(given_entries: list[Packed]) -> None:
    assert unpack(pack(given_entries)) == given_entries


def test_as_many_as_there_may_be_in_one_body() -> None:
    many = [Packed(number * 1_000_000, number * 900_000 + number % 977, number % 3) for number in range(MOST_ENTRIES)]
    assert unpack(pack(many)) == many


def test_a_day_of_polls_takes_few_bytes() -> None:
    """A million patients: a number in a million is this pairing's."""
    day = [
        Packed(
            5_000_000_000 + at * 1_000_000 + at * 7919 % 997, 1_795_341_600_000 + at * 900_000 + at * 7919 % 60_000, 3
        )
        for at in range(96)
    ]
    assert len(pack(day)) <= 5 * 96


@given(entries(), st.data())
def test_what_was_damaged_is_told_or_unchanged(given_entries: list[Packed], data: st.DataObject) -> None:
    body = bytearray(pack(given_entries))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with suppress(ValueError):
        unpack(bytes(body))  # what can still be read is for the seals to judge


@given(st.binary(max_size=200))
def test_what_is_no_body_is_told(body: bytes) -> None:
    try:
        found = unpack(body)
    except ValueError:
        return
    assert unpack(pack(found)) == found


@pytest.mark.parametrize("body", [b"", b"\x00", pack([Packed(1, 1, 1)])[:-1], pack([Packed(1, 1, 1)]) + b"x"])
def test_what_was_cut_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        unpack(body)


@given(
    st.none()
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
    | st.binary(min_size=32, max_size=32).map(bytes.hex)
)
def test_pairing_ids_come_back(pairing_id: str | None) -> None:
    packed = pairing_bytes(pairing_id)
    assert pairing_text(packed) == pairing_id
    assert (packed is not None and len(packed) == 32) == (
        pairing_id is not None and len(pairing_id) == 64 and set(pairing_id) <= set("0123456789abcdef")
    )


@pytest.mark.parametrize("text", ["", "=" * 32, "p" * 31, "p" * 32, "=" + "p" * 31, "A" * 64, "ab " * 32, "ä" * 16])
def test_pairing_ids_of_awkward_lengths(text: str) -> None:
    assert pairing_text(pairing_bytes(text)) == text
