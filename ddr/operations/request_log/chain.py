"""The hash chain over the request log: what a seal says about its lines and about the previous seal. Pure.

A digest is the SHA-256 over the lines of a seal, each followed by a line feed; a link is the SHA-256 over the previous
link and the seal's own content. It is like the chain of the audit trail (ddr.operations.audit_chain), but a seal
contains its lines.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import orjson

from ddr.http.request_log.record import at_ms_of
from ddr.operations.audit_chain import START
from ddr.operations.request_log.damaged import is_damaged
from ddr.operations.request_log.packing import Words, unpack

LEVEL = 6  # of zlib: a tenth of the size in a tenth of the time of level 9
Runs = Mapping[str, Sequence[Sequence[int]]]
IN_LINES, IN_COLUMNS = 1, 2  # forms of a seal's content: lines, of the current day; columns, of a packed day
NO_WORDS = Words()


@dataclass(frozen=True)
class Seal:
    """One seal with its lines compressed; instants in milliseconds. `runs`: the batches of each worker that it
    contains.

    The signature does not depend on the form.
    """

    seal_no: int
    first_ms: int
    last_ms: int
    entries: int
    sealed_ms: int
    runs: Runs
    policy_no: int
    digest: bytes
    former: bytes
    chain: bytes
    signature: str
    packed: bytes
    form: int = IN_LINES

    @property
    def day(self) -> date:
        """The partition that contains it."""
        return datetime.fromtimestamp(self.sealed_ms / 1000, UTC).date()

    @property
    def head(self) -> str:
        """The text that vouches for this seal and for everything before it."""
        return head_of(self.seal_no, self.chain)

    def lines(self, words: Words = NO_WORDS) -> list[bytes]:
        """Its lines; from columns with the words of its day. Raises ValueError when they cannot be unpacked."""
        if self.form == IN_COLUMNS:
            found = unpack(self.packed, words)
            if digest(found) != self.digest:  # zlib has a checksum of its own
                raise ValueError("is damaged")
            return found
        try:
            return zlib.decompress(self.packed).splitlines()
        except zlib.error:
            raise ValueError("is damaged") from None


def head_of(seal_no: int, chain: bytes) -> str:
    """The text that vouches for a seal; its day may have been dropped."""
    return f"{seal_no}:{chain.hex()}"


def digest(lines: Iterable[bytes]) -> bytes:
    """The SHA-256 of lines in this order."""
    hashed = hashlib.sha256()
    for line in lines:
        hashed.update(line + b"\n")
    return hashed.digest()


def link(seal: Seal) -> bytes:
    """What `seal.chain` must be."""
    content = [seal.seal_no, seal.first_ms, seal.last_ms, seal.entries, seal.sealed_ms, seal.runs, seal.policy_no]
    return hashlib.sha256(seal.former + orjson.dumps(content, option=orjson.OPT_SORT_KEYS) + seal.digest).digest()


def seal_of(lines: list[bytes], seal_no: int, former: bytes, runs: Runs, policy_no: int, now_ms: int) -> Seal:
    """The seal of these lines (at least one) ordered by time, not yet signed; `former` is the previous link."""
    timed = sorted((at_ms_of(orjson.loads(line)), line) for line in lines)
    lines = [line for _, line in timed]
    seal = Seal(
        seal_no=seal_no,
        first_ms=timed[0][0],
        last_ms=timed[-1][0],
        entries=len(lines),
        sealed_ms=now_ms,
        runs=runs,
        policy_no=policy_no,
        digest=digest(lines),
        former=former or START,
        chain=b"",
        signature="",
        packed=zlib.compress(b"".join(line + b"\n" for line in lines), LEVEL),
    )
    return replace(seal, chain=link(seal))


def faults(before: tuple[int, bytes], seal: Seal, words: Words = NO_WORDS) -> list[str]:
    """What contradicts `seal`, which must follow `before` (number and link); nothing if it was not changed."""
    found = []
    if seal.seal_no != before[0] + 1 or seal.former != before[1]:
        found.append(f"seal {seal.seal_no} does not follow seal {before[0]}")
    if seal.chain != link(seal):
        found.append(f"seal {seal.seal_no} was changed")
    try:
        lines = seal.lines(words)
    except ValueError as error:
        return [*found, f"the content of seal {seal.seal_no} {error}"]
    if len(lines) != seal.entries or digest(lines) != seal.digest:
        found.append(f"the records under seal {seal.seal_no} were changed")
    if count := sum(map(is_damaged, lines)):
        found.append(f"{count} of the records under seal {seal.seal_no} were damaged before they were sealed")
    return found


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Ascending numbers as ranges, both ends included."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


class Batches:
    """The sealed batches of each worker as spans, since there are millions of adjacent ones."""

    def __init__(self) -> None:
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def add(self, runs: Runs) -> None:
        """Add the batches of one more seal. Invalid spans are ignored: the seal was changed, and its own check reports
        that."""
        with suppress(AttributeError, TypeError, ValueError):
            for run, parts in runs.items():
                spans = self._spans.setdefault(run, [])
                for first, last in parts:
                    if spans and first == spans[-1][1] + 1:
                        spans[-1] = (spans[-1][0], last)
                    else:
                        spans.append((int(first), int(last)))

    def missing(self, known_from_start: bool, waiting: Runs) -> list[str]:
        """Batches that are in no seal although later ones of the same worker are, and that are not waiting to be sealed
        either (`waiting`, as spans), as those stored late from a file are.

        Without `known_from_start` the first batches of a worker may be under seals that no longer exist.
        """
        found = []
        for run, spans in sorted(self._spans.items()):
            upto = 0 if known_from_start else min(spans, default=(1, 0))[0] - 1
            newest = max((last for _, last in spans), default=0)
            late = [(first, last) for first, last in waiting.get(run, ()) if last > upto and first < newest]
            for first, last in sorted([*spans, *late]):
                if first > upto + 1:
                    found.append(f"records of worker {run[:8]} are missing (batch {upto + 1} to {first - 1})")
                upto = max(upto, last)
        return found


def as_row(seal: Seal) -> Mapping[str, Any]:
    """The columns of the table by name."""
    return {**vars(seal), "day": seal.day}
