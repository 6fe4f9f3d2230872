"""A list of keys in few bytes, for a link: consecutive keys differ by little, and mostly by the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from operator import sub

from ddr.store.search.pages import Keys

SMALL_WINDOW, SMALL_MEMORY = 10, 2  # for a list of some hundred bytes; the library's defaults take longer to set up
MOST_BYTES = 100_000  # of a list: links are made by us, but are still unpacked with a limit


def packed(keys: Keys) -> bytes:
    """The keys as differences from the previous one, column by column, compressed."""
    raw = bytearray()
    for column in zip(*keys, strict=True):
        for step in map(sub, column, (0, *column)):
            raw += _SMALL.get(step) or _number(step)
    if not keys:
        return b""
    deflated = zlib.compressobj(level=9, wbits=SMALL_WINDOW, memLevel=SMALL_MEMORY)
    return deflated.compress(bytes(raw)) + deflated.flush()


def unpacked(data: bytes) -> Keys:
    """The keys in the result of `packed`. Raises ValueError."""
    if not data:
        return ()
    inflated = zlib.decompressobj()
    try:
        raw = inflated.decompress(data, MOST_BYTES)
    except zlib.error:
        raise ValueError("not a list of keys") from None
    if not inflated.eof:
        raise ValueError("not a list of keys")
    numbers = list(_numbers(raw))
    length, left = divmod(len(numbers), 3)
    if left:
        raise ValueError("not a list of keys")
    columns = []
    for start in range(0, 3 * length, length or 1):
        number, column = 0, []
        for step in numbers[start : start + length]:
            number += step
            column.append(number)
        columns.append(column)
    return tuple(zip(*columns, strict=True))


def _number(number: int) -> bytes:
    """Seven bits per byte, lowest first; the sign is the lowest bit of all."""
    raw, rest = bytearray(), number << 1 if number >= 0 else (-number << 1) - 1
    while rest > 127:
        raw.append(rest & 127 | 128)
        rest >>= 7
    raw.append(rest)
    return bytes(raw)


_SMALL = {number: _number(number) for number in range(-64, 64)}  # most differences are in this range


def _numbers(raw: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in raw:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number >> 1 if not number & 1 else -((number + 1) >> 1)
            number = shift = 0
    if shift:
        raise ValueError("not a list of keys")
