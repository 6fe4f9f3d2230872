"""Ids shown outside: reversible, unguessable, in one form only."""

from __future__ import annotations

import secrets

from hypothesis import given
from hypothesis import strategies as st

from ddr.store.database.ids import IdCipher, Kind

CIPHER = IdCipher(bytes(range(32)))


@given(st.sampled_from(Kind), st.integers(0, 2**48 - 1), st.integers(0, 2**32 - 1))
def test_round_trip(kind: Kind, no: int, k: int) -> None:
    text = CIPHER.encode(kind, no, k)
    assert len(text) == 32
    assert CIPHER.decode(text) == (kind, no, k)


def test_published_ids_never_change() -> None:
    assert CIPHER.encode(Kind.DEVICE, 1) == "d9ada950684d1e534893903ebfd1a118"


def test_neighbours_look_unrelated() -> None:
    one, two = CIPHER.encode(Kind.CHUNK, 7, 1), CIPHER.encode(Kind.CHUNK, 7, 2)
    assert sum(a == b for a, b in zip(one, two, strict=True)) < 12


def test_other_texts_are_no_ids() -> None:
    text = CIPHER.encode(Kind.METRIC, 5)
    for other in ("", "1", text.upper(), text + "0", text[:-1], f" {text[1:]}", "g" * 32, "٠" * 32, text + "\n"):
        assert CIPHER.decode(other) is None


def test_guesses_and_foreign_keys_decode_to_nothing() -> None:
    assert all(CIPHER.decode(secrets.token_hex(16)) is None for _ in range(1000))
    assert IdCipher(secrets.token_bytes(32)).decode(CIPHER.encode(Kind.DEVICE, 1)) is None
