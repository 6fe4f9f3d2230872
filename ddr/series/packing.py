"""The packed form of a chunk's readings; canonical, so that equal sets of readings give equal bytes.

`vals` holds value · 10^decimals as little-endian int16, with LOW, HIGH and ERROR for `L`, `U` and `E`.
`times` holds one step per reading, each from the reading before it (the first one from the chunk's start):

    0x01..0x7F            that many readings, each exactly one period after the one before
    0x80..0xFE            one reading after a period and (byte - 0xBF) seconds, which is -63 s to +63 s
    0xFF + int32 (LE)     one reading after that many milliseconds

A sensor with a steady clock needs two bytes and a few bits per reading.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

Reading = tuple[int, int]
"""Time in milliseconds since 1970 and raw value (see `vals`); readings are kept in ascending order."""

LOW, ERROR, HIGH = -32768, -32767, 32767
LARGEST = 32766  # largest magnitude of a number in vals

_LONGEST_RUN = 0x7F
_ON_TIME = 0xBF
_FREE = 0xFF
_FREE_STEP = struct.Struct("<i")


def encode_values(raws: Sequence[int]) -> bytes:
    """The `vals` of these raw values."""
    return struct.pack(f"<{len(raws)}h", *raws)


def decode_values(vals: bytes) -> tuple[int, ...]:
    """The raw values in `vals`."""
    return struct.unpack(f"<{len(vals) // 2}h", vals)


def encode_times(times: Sequence[int], period_ms: int, previous_ms: int, run: int = 0) -> bytes:
    """The steps to ascending `times` from `previous_ms`: the chunk's start, or the last reading when appending.

    When appending, `run` is the `open_run` of the bytes so far: counting continues from it, and the result replaces
    that last byte.
    """
    steps = bytearray()
    for time in times:
        step, previous_ms = time - previous_ms, time
        if step == period_ms:
            run += 1
            if run < _LONGEST_RUN:
                continue
        if run:
            steps.append(run)
            run = 0
        if step != period_ms:
            steps += _single(step, period_ms)
    if run:
        steps.append(run)
    return bytes(steps)


def _single(step: int, period_ms: int) -> bytes:
    seconds, rest = divmod(step - period_ms, 1000)
    if rest == 0 and -63 <= seconds <= 63:
        return bytes((_ON_TIME + seconds,))
    return b"\xff" + _FREE_STEP.pack(step)


def runs(times: bytes, period_ms: int) -> Iterator[tuple[int, int]]:
    """Each stretch of readings exactly one period apart: time of its first from the chunk's start in ms, and length."""
    offset, at = 0, 0
    while at < len(times):
        code = times[at]
        at += 1
        if code <= _LONGEST_RUN:
            yield offset + period_ms, code
            offset += code * period_ms
            continue
        if code == _FREE:
            offset += _FREE_STEP.unpack_from(times, at)[0]
            at += _FREE_STEP.size
        else:
            offset += period_ms + (code - _ON_TIME) * 1000
        yield offset, 1


def open_run(times: bytes) -> int:
    """The length of the run that `times` ends with and that an append may lengthen, else 0."""
    at = last = 0
    while at < len(times):
        last = times[at]
        at += 1 + _FREE_STEP.size if last == _FREE else 1
    return last if last < _LONGEST_RUN else 0


def encode(readings: Sequence[Reading], start_ms: int, period_ms: int) -> tuple[bytes, bytes]:
    """`times` and `vals` of a chunk that starts at `start_ms`."""
    times = encode_times([time for time, _ in readings], period_ms, start_ms)
    return times, encode_values([raw for _, raw in readings])


def decode(times: bytes, vals: bytes, start_ms: int, period_ms: int) -> list[Reading]:
    """The exact readings of a chunk, shown or not, in ascending order."""
    exact: list[int] = []
    for offset, count in runs(times, period_ms):
        first = start_ms + offset
        exact.extend(range(first, first + count * period_ms, period_ms))
    return list(zip(exact, decode_values(vals), strict=True))
