"""Lists of keys in links: complete, and short for consecutive keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.diga_api.short_list import packed, unpacked

NUMBERS = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(st.integers(0, 7), NUMBERS, NUMBERS), max_size=200))
def test_what_is_packed_comes_back(keys: list[tuple[int, int, int]]) -> None:
    assert list(unpacked(packed(keys))) == keys


@given(st.binary(max_size=60))
def test_anything_else_is_refused(data: bytes) -> None:
    try:
        keys = unpacked(data)
    except ValueError:
        return
    assert all(len(key) == 3 for key in keys)


def test_a_month_of_chunks_takes_little_of_a_link() -> None:
    month = [(3, 70_000 + epoch, k) for epoch in (900, 400, 17) for k in range(10, 0, -1)]
    assert len(packed(month)) < 60


@pytest.mark.parametrize("data", [b"x", packed([(1, 2, 3)])[:-6]])
def test_a_broken_list_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a list of keys"):
        unpacked(data)
