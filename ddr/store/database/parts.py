"""Which part of the patients (shard) a patient is in, by the hash that Citus uses, and which server has that part."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from uuid import UUID

from ddr.store.database.dsn import Host

_WORD = 0xFFFFFFFF
_BEGIN = (0x9E3779B9 + 16 + 3923095) & _WORD  # of a hash of 16 bytes


class Parts:
    """Where each part is, for parts on other servers than the coordinator."""

    def __init__(self, parts: Iterable[tuple[int, Host | None]] = ()) -> None:
        """For each part, its lowest hash and its server; None: the coordinator, or unknown."""
        ordered = sorted(parts, key=lambda part: part[0])
        self._begins = [begin for begin, _ in ordered]
        self._hosts = [host for _, host in ordered]
        self.hosts = frozenset(host for host in self._hosts if host is not None)

    def host_of(self, patient_id: UUID) -> Host | None:
        """The server with the rows of this patient; None: ask the coordinator."""
        place = bisect_right(self._begins, hashed(patient_id)) - 1
        return self._hosts[place] if place >= 0 else None


def hashed(key: UUID) -> int:
    """PostgreSQL's `uuid_hash`: lookup3 by Bob Jenkins over the 16 bytes, as a signed 32-bit integer (hashfn.c)."""
    first, second, third, last = (int.from_bytes(key.bytes[at : at + 4], "little") for at in (0, 4, 8, 12))
    a, b, c = _mixed((_BEGIN + first) & _WORD, (_BEGIN + second) & _WORD, (_BEGIN + third) & _WORD)
    a = (a + last) & _WORD
    c = ((c ^ b) - _turned(b, 14)) & _WORD
    a = ((a ^ c) - _turned(c, 11)) & _WORD
    b = ((b ^ a) - _turned(a, 25)) & _WORD
    c = ((c ^ b) - _turned(b, 16)) & _WORD
    a = ((a ^ c) - _turned(c, 4)) & _WORD
    b = ((b ^ a) - _turned(a, 14)) & _WORD
    c = ((c ^ b) - _turned(b, 24)) & _WORD
    return c - (c >> 31 << 32)


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for first, second, third in ((4, 6, 8), (16, 19, 4)):
        a, c = ((a - c) & _WORD) ^ _turned(c, first), (c + b) & _WORD
        b, a = ((b - a) & _WORD) ^ _turned(a, second), (a + c) & _WORD
        c, b = ((c - b) & _WORD) ^ _turned(b, third), (b + a) & _WORD
    return a, b, c


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _WORD
