"""Entries of one pairing and day in few bytes: byte planes of numbers and times, as differences, and of words. Pure.

A body is raw deflate (RFC 1951) of three columns. Numbers ascend, polls come at about the same interval, and most
entries say the same. So the upper bytes of the differences are nearly all alike, and so are the words.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from ddr.store.audit.columns import differences, folded, planes, read_planes, unfolded

MOST_ENTRIES = 4096  # in one body, which is what one page has to unpack
MOST_BYTES = 16 * 8 * MOST_ENTRIES  # of a valid body, unpacked
LEVEL = 6
HEX_PAIRING = 64


class Packed(NamedTuple):
    """One entry to pack: its number, its time in milliseconds, and the number of its word."""

    audit_no: int
    at_ms: int
    word_no: int


def pack(entries: Sequence[Packed]) -> bytes:
    """The body of these entries (at most MOST_ENTRIES) in ascending order of their numbers."""
    numbers, times, words = zip(*entries, strict=True)
    columns = (differences(numbers), folded(differences(times)), words)
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    raw = len(entries).to_bytes(2, "big") + b"".join(map(planes, columns))
    return packer.compress(raw) + packer.flush()


def unpack(body: bytes) -> list[Packed]:
    """The entries of a body. Raises ValueError when it is damaged."""
    try:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        raw = unpacker.decompress(body, MOST_BYTES)
        if (count := int.from_bytes(raw[:2], "big")) == 0:
            raise ValueError
        numbers, at = read_planes(raw, 2, count)
        times, at = read_planes(raw, at, count)
        words, at = read_planes(raw, at, count)
    except (zlib.error, IndexError, ValueError):
        raise ValueError("is damaged") from None
    if at != len(raw) or not unpacker.eof or unpacker.unused_data:
        raise ValueError("is damaged")
    instants = accumulate(unfolded(times))
    return [Packed(*entry) for entry in zip(accumulate(numbers), instants, words, strict=True)]


def pairing_bytes(pairing_id: str | None) -> bytes | None:
    """A Pairing ID in half its length, 32 bytes. Any other text gets a mark before it, and never has 32 bytes."""
    if pairing_id is None:
        return None
    if len(pairing_id) == HEX_PAIRING and pairing_id.isascii():
        try:
            short = bytes.fromhex(pairing_id)
        except ValueError:
            short = b""
        if short.hex() == pairing_id:
            return short
    text = pairing_id.encode()
    return (b"\0=" if len(text) + 1 == HEX_PAIRING // 2 else b"=") + text


def pairing_text(packed: bytes | None) -> str | None:
    """The inverse of `pairing_bytes`. Raises ValueError when it is damaged."""
    if packed is None:
        return None
    if len(packed) == HEX_PAIRING // 2:
        return packed.hex()
    try:
        return packed[1 if packed.startswith(b"=") else 2 :].decode()
    except UnicodeDecodeError:
        raise ValueError("is damaged") from None
