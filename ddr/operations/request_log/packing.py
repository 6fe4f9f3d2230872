"""Lines of the request log in few bytes: what a day says again and again stands once, the rest in columns. Pure.

Of a line five things differ from others: when, how long, how much, which request, and which pairing. What remains is a
text that it shares with thousands. Texts and Pairing IDs of a day have numbers (Words); a pairing that polls all day
costs its 32 bytes once. A line that fits no such form stands as it is, so that every line comes back byte for byte.

A body is the length of its first part, raw deflate (RFC 1951) of the columns and odd texts, then ids as they are drawn
by chance, which nothing packs. A part of Words is the same of texts, then Pairing IDs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from ddr.durations import END_MS
from ddr.http.request_log.record import at_ms_of, stamp
from ddr.store.audit.columns import differences, folded, planes, read_planes, unfolded

LEVEL = 6
MOST_BYTES = 1 << 27  # of a part that is good, unpacked; a seal has about 8 MB of lines
MOST_LINES = 1 << 20
MOST_TEXTS = 1 << 16  # of a day; a line with another one stands as it is
MOST_PAIRINGS = 1 << 20  # of a day: what one worker can have in memory, 200 bytes each
_PAIRING, _DRAWN = 32, 16  # bytes of a Pairing ID, and of a transaction id that the recorder made
_HEX_PAIRING, _HEX_DRAWN = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_GIVEN = re.compile(r"[A-Za-z0-9.\-]{1,64}")  # a transaction id of a caller
ODD = 0  # instead of the number of a text


class Words:
    """Texts and Pairing IDs of a day, by number from 1.

    `damaged`: a part could not be read. From it on there are none: the numbers of what follows would be others.
    """

    def __init__(self, parts: Iterable[bytes] = ()) -> None:
        self.texts: list[bytes] = []
        self.damaged = False
        self._pairings = bytearray()
        self._templates: dict[int, dict[str, Any]] = {}
        for part in parts:
            try:
                packed, pairings = _opened(part)
            except (zlib.error, ValueError):
                self.damaged = True
                break
            self.texts += packed.splitlines()
            self._pairings += pairings

    def template(self, number: int) -> dict[str, Any]:
        """A record without what differs. Raises IndexError, ValueError when there is none."""
        if (found := self._templates.get(number)) is None:
            found = self._templates[number] = orjson.loads(self.texts[number - 1])
        return found

    def pairing(self, number: int) -> bytes:
        """A Pairing ID. Raises IndexError when there is none."""
        if not 0 < number <= self.pairings:
            raise IndexError
        return bytes(self._pairings[(number - 1) * _PAIRING : number * _PAIRING])

    def number_of(self, pairing: bytes) -> int | None:
        """The number of a Pairing ID, None when it has none."""
        at = self._pairings.find(pairing) if len(pairing) == _PAIRING else -1
        while at % _PAIRING and at >= 0:
            at = self._pairings.find(pairing, at + 1)
        return at // _PAIRING + 1 if at >= 0 else None

    @property
    def pairings(self) -> int:
        """How many Pairing IDs there are."""
        return len(self._pairings) // _PAIRING

    def add_pairing(self, content: bytes) -> None:
        """Another one, which gets the next number."""
        self._pairings += content


class Learning:
    """The words of a day that is being packed, which become more. Raises ValueError when a part is damaged."""

    def __init__(self, parts: Sequence[bytes] = ()) -> None:
        self.words = Words(parts)
        if self.words.damaged:
            raise ValueError("the words of the request log are damaged")
        self._part = len(parts)
        self._texts = {text: number for number, text in enumerate(self.words.texts, 1)}
        self._pairings = {self.words.pairing(number): number for number in range(1, self.words.pairings + 1)}
        self._since = (len(self._texts), len(self._pairings))

    def text(self, content: bytes) -> int:
        """Its number; 0 when there are too many."""
        if (found := self._texts.get(content, 0)) or len(self._texts) >= MOST_TEXTS:
            return found
        self.words.texts.append(content)
        return self._texts.setdefault(content, len(self._texts) + 1)

    def pairing(self, content: bytes) -> int:
        """Its number; 0 when there are too many."""
        if (found := self._pairings.get(content, 0)) or len(self._pairings) >= MOST_PAIRINGS:
            return found
        self.words.add_pairing(content)
        return self._pairings.setdefault(content, len(self._pairings) + 1)

    def learnt(self) -> tuple[int, bytes] | None:
        """The next part and its number: what was not in the parts before; None when there is nothing new."""
        texts, pairings = self._since
        if self._since == (now := (len(self._texts), len(self._pairings))):
            return None
        new = b"".join(self.words.pairing(number) for number in range(pairings + 1, now[1] + 1))
        self._since, self._part = now, self._part + 1
        return self._part, _closed(b"\n".join(self.words.texts[texts:]), new)


class _UsualLine(NamedTuple):
    """One line, taken apart; `drawn` is empty when a caller gave its id."""

    text: int
    pairing: int
    at_ms: int
    response_ms: int
    volume: int
    drawn: bytes
    given: str


def pack(lines: Sequence[bytes], learning: Learning) -> bytes:
    """The body of lines (one at least), which `unpack` can read with the words that were learnt."""
    read = [_usual(line, learning) for line in lines]
    regular = [one for one in read if one is not None]
    columns = [[ODD if one is None else one.text for one in read]]
    if regular:
        columns += [
            [one.pairing for one in regular],
            folded(differences([one.at_ms for one in regular])),
            [one.response_ms for one in regular],
            [one.volume for one in regular],
            [0 if one.drawn else 1 for one in regular],
        ]
    odd = [line for line, one in zip(lines, read, strict=True) if one is None]
    given = [one.given.encode() for one in regular if not one.drawn]
    raw = len(lines).to_bytes(4, "big") + b"".join(map(planes, columns)) + b"\n".join([*odd, *given])
    return _closed(raw, b"".join(one.drawn for one in regular))


def unpack(body: bytes, words: Words) -> list[bytes]:
    """The lines of a body. Raises ValueError when it is damaged, or names words that are not there."""
    try:
        return _lines(*_opened(body), words)
    except (zlib.error, LookupError, TypeError, ValueError, OverflowError, OSError, StopIteration):
        raise ValueError("is damaged") from None


class Skimmed(NamedTuple):
    """What a body tells before its lines are made: numbers that it names, ids as drawn, and all that is in it."""

    texts: frozenset[int]  # with ODD
    pairings: frozenset[int]  # with 0 for a line without one
    drawn: bytes
    raw: bytes

    def may_name(self, transaction_id: str) -> bool:
        """False when no line of the usual form has this id."""
        if _HEX_DRAWN.fullmatch(transaction_id) and bytes.fromhex(transaction_id) in self.drawn:
            return True
        return transaction_id.encode("utf-8", "surrogatepass") in self.raw


def skim(body: bytes) -> Skimmed:
    """A body without its lines; that it is what was signed only these can prove. Raises ValueError as `unpack`."""
    try:
        raw, drawn = _opened(body)
        texts, count, at = _texts(raw)
        pairings = read_planes(raw, at, count)[0] if count else []
        return Skimmed(frozenset(texts), frozenset(pairings), drawn, raw)
    except (zlib.error, LookupError, ValueError):
        raise ValueError("is damaged") from None


def _texts(raw: bytes) -> tuple[list[int], int, int]:
    """The number of each line's text, how many lines are of the usual form, and where their columns begin."""
    if not 0 < (many := int.from_bytes(raw[:4], "big")) <= MOST_LINES:
        raise ValueError
    texts, at = read_planes(raw, 4, many)
    return texts, many - texts.count(ODD), at


def _lines(raw: bytes, drawn: bytes, words: Words) -> list[bytes]:
    texts, count, at = _texts(raw)
    columns: list[list[int]] = []
    for _ in range(5 if count else 0):
        column, at = read_planes(raw, at, count)
        columns.append(column)
    if columns:
        columns[1] = list(accumulate(unfolded(columns[1])))
    odd = len(texts) - count
    given = raw[at:].split(b"\n")
    lines, names = iter(given[:odd]), iter(given[odd:])
    ids = iter(drawn[place : place + _DRAWN].hex() for place in range(0, len(drawn), _DRAWN))
    rows, found = zip(*columns, strict=True), list[bytes]()
    for text in texts:
        if text == ODD:
            found.append(next(lines))
            continue
        pairing, at_ms, response_ms, volume, is_given = next(rows)
        different = {
            "data_volume_bytes": volume,
            "response_time_ms": response_ms,
            "timestamp": stamp(at_ms),
            "transaction_id": next(names).decode() if is_given else next(ids),
        }
        if pairing:
            different["pairing_id"] = words.pairing(pairing).hex()
        found.append(orjson.dumps(words.template(text) | different))
    return found


def _usual(line: bytes, learning: Learning) -> _UsualLine | None:
    """A line of the usual form; None for another one."""
    try:
        record = orjson.loads(line)
        at_ms = at_ms_of(record)
        same = stamp(at_ms) == record["timestamp"] and orjson.dumps(record) == line
        given, pairing = record["transaction_id"], record["pairing_id"]
        numbers = (record["response_time_ms"], record["data_volume_bytes"])
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    if not same or not 0 <= at_ms < END_MS or not all(type(one) is int and 0 <= one < 1 << 63 for one in numbers):
        return None
    if type(given) is not str or not _GIVEN.fullmatch(given):
        return None
    known = 0
    if type(pairing) is str and _HEX_PAIRING.fullmatch(pairing):
        if (known := learning.pairing(bytes.fromhex(pairing))) == 0:
            return None
        pairing = ""
    text = learning.text(orjson.dumps(record | _NOTHING | {"pairing_id": pairing}))
    drawn = bytes.fromhex(given) if _HEX_DRAWN.fullmatch(given) else b""
    return _UsualLine(text, known, at_ms, *numbers, drawn, "" if drawn else given) if text else None


_NOTHING: Mapping[str, Any] = {"data_volume_bytes": 0, "response_time_ms": 0, "timestamp": "", "transaction_id": ""}


def _closed(packed: bytes, chance: bytes) -> bytes:
    """One part packed, and one that is not worth it."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    found = packer.compress(packed) + packer.flush()
    return len(found).to_bytes(4, "big") + found + chance


def _opened(body: bytes) -> tuple[bytes, bytes]:
    """What `_closed` was made of. Raises ValueError, zlib.error when it is damaged."""
    ends = 4 + int.from_bytes(body[:4], "big")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = unpacker.decompress(body[4:ends], MOST_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError
    return packed, body[ends:]
