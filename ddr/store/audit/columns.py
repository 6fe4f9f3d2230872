"""Integers of many entries in few bytes: differences, byte by byte, so that deflate finds what is alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise


def differences(values: Sequence[int]) -> list[int]:
    """The first value, then for each other value its difference from the one before."""
    return [values[0], *(later - earlier for earlier, later in pairwise(values))]


def folded(values: Iterable[int]) -> list[int]:
    """Removes signs: 0, -1, 1, -2, … become 0, 1, 2, 3, …"""
    return [value << 1 if value >= 0 else ~(value << 1) for value in values]


def unfolded(values: Iterable[int]) -> list[int]:
    """The inverse of `folded`."""
    return [value >> 1 if not value & 1 else ~(value >> 1) for value in values]


def planes(values: Sequence[int]) -> bytes:
    """The first value (below 2^64), the width of the others in bytes, then all their lowest bytes, and so on."""
    first, rest = values[0], values[1:]
    width = (max(rest, default=0).bit_length() + 7) // 8
    found = [bytes([value >> 8 * place & 255 for value in rest]) for place in range(width)]
    return first.to_bytes(8, "big") + bytes([width]) + b"".join(found)


def read_planes(raw: bytes, at: int, count: int) -> tuple[list[int], int]:
    """The values that begin at `at`, and the place after them. Raises IndexError or ValueError for too few bytes."""
    first, width = int.from_bytes(raw[at : at + 8], "big"), raw[at + 8]
    at += 9
    values = [0] * (count - 1)
    for place in range(width):
        plane = raw[at : at + count - 1]
        at += count - 1
        values = [value | byte << 8 * place for value, byte in zip(values, plane, strict=True)]
    return [first, *values], at
