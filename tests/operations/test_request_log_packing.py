"""Lines of the request log by column: each comes back byte for byte, and damage is detected."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddr.operations.request_log import packing
from ddr.operations.request_log.packing import Learning, Words, pack, unpack
from ddr.operations.request_log.policy import ATTRIBUTES
from tests.support.day import today
from tests.support.request_log import some_lines

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def with_value(line: bytes, name: str, value: Any) -> bytes:
    """The same record with one thing changed, if JSON can express it."""
    try:
        return orjson.dumps({**orjson.loads(line), name: value})
    except TypeError:
        return line


odd_lines = st.one_of(
    st.binary(max_size=40).map(lambda found: found.replace(b"\n", b"")),
    st.builds(with_value, st.sampled_from(some_lines(today(), 30)), st.sampled_from(ATTRIBUTES), json_values),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from(some_lines(today(), 200)) | odd_lines, min_size=1, max_size=30), max_size=4))
def test_every_line_comes_back_byte_for_byte(days: list[list[bytes]]) -> None:
    """Whatever the lines, also when the words were read again between two seals, and when no numbers are left."""
    parts: list[bytes] = []
    bodies = []
    for most in (1 << 16, 3):
        with patch.object(packing, "MOST_TEXTS", most), patch.object(packing, "MOST_PAIRINGS", most):
            for lines in days:
                learning = Learning(parts)
                bodies.append((lines, pack(lines, learning)))
                if (learnt := learning.learnt()) is not None:
                    assert learnt[0] == len(parts) + 1
                    parts.append(learnt[1])
    words = Words(parts)
    assert [unpack(body, words) for _, body in bodies] == [lines for lines, _ in bodies]


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_body_is_an_error_and_nothing_worse(noise: bytes, at: int, byte: int) -> None:
    learning = Learning()
    lines = some_lines(today(), 20)
    body = bytearray(pack(lines, learning))
    body[at % len(body)] ^= byte
    for damaged in (noise, bytes(body), bytes(body[: at % len(body)])):
        try:
            unpack(damaged, learning.words)
        except ValueError as error:
            assert str(error) == "is damaged"
    with pytest.raises(ValueError, match="is damaged"):
        unpack(pack(lines, Learning()), Words())
