"""The hash chain over the audit trail: what a seal says about its entries and about the previous seal. Pure.

An entry's form is a JSON array with sorted keys. A digest is the SHA-256 of a sum: the SHAKE-256 values of the forms,
2048 bits each, added modulo 2^2048 (Bellare and Micciancio 1997). It does not depend on the order of the entries, so it
can be computed from entries by number as well as from those packed by patient. With 2048 bits generalised birthdays
(Wagner 2002) are out of reach for the largest number of entries under one seal. Seals of `form` 1 are older: the
SHA-256 over the forms by number, each followed by a line feed. A link is the SHA-256 over the previous link and the
seal's own content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from ddr.store.audit.entries import Entry

START = bytes(32)  # the link before the first seal
IN_ORDER, SUM = 1, 2  # forms of a digest
SUM_BYTES = 256


@dataclass(frozen=True)
class Seal:
    """One seal; it covers the entries after the previous seal's `upto_no`. Instants in milliseconds."""

    seal_no: int
    upto_no: int
    entries: int
    last_ms: int
    sealed_ms: int
    digest: bytes
    chain: bytes
    form: int = SUM
    purged_ms: int | None = None

    @property
    def head(self) -> str:
        """The text to keep elsewhere: it vouches for this seal and for everything before it."""
        return f"{self.seal_no}:{self.chain.hex()}"


GENESIS = Seal(0, 0, 0, 0, 0, b"", START)


@dataclass
class Tally:
    """The entries of one seal, added in any order."""

    form: int = SUM
    count: int = 0
    _sum: int = 0
    _forms: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        self.count += 1
        form = orjson.dumps(list(entry), option=orjson.OPT_SORT_KEYS)
        if self.form == SUM:
            self._sum += int.from_bytes(hashlib.shake_256(form).digest(SUM_BYTES), "big")
        else:
            self._forms.append((entry.audit_no, form))

    def digest(self) -> bytes:
        """What `Seal.digest` must be."""
        if self.form == SUM:
            return hashlib.sha256((self._sum % (1 << 8 * SUM_BYTES)).to_bytes(SUM_BYTES, "big")).digest()
        return hashlib.sha256(b"".join(form + b"\n" for _, form in sorted(self._forms))).digest()


def link(former: Seal, seal: Seal) -> bytes:
    """What `seal.chain` must be after `former`. It does not depend on whether the seal's entries still exist."""
    content = [seal.seal_no, former.upto_no, seal.upto_no, seal.entries, seal.last_ms, seal.sealed_ms]
    if seal.form != IN_ORDER:
        content.append(seal.form)
    return hashlib.sha256(former.chain + orjson.dumps(content) + seal.digest).digest()


def seal_after(former: Seal, entries: Sequence[Entry], now_ms: int) -> Seal:
    """The seal of `entries` (at least one), which follow those of `former`."""
    tally = Tally()
    for entry in entries:
        tally.add(entry)
    bare = Seal(
        seal_no=former.seal_no + 1,
        upto_no=entries[-1].audit_no,
        entries=len(entries),
        last_ms=max(entry.at_ms for entry in entries),
        sealed_ms=now_ms,
        digest=tally.digest(),
        chain=b"",
    )
    return Seal(**{**vars(bare), "chain": link(former, bare)})


def chain_faults(former: Seal, seal: Seal) -> list[str]:
    """What contradicts that `seal` follows `former`; nothing if neither was changed."""
    if seal.seal_no != former.seal_no + 1 or seal.chain != link(former, seal):
        return [f"seal {seal.seal_no} does not follow seal {former.seal_no}"]
    return []


def entry_faults(former: Seal, seal: Seal, found: Tally) -> list[str]:
    """What contradicts `seal` in the entries found; nothing if none was changed since sealing."""
    if seal.purged_ms is not None:
        return _purge_faults(former, seal, found.count)
    if found.count != seal.entries:
        return [f"seal {seal.seal_no} covers {seal.entries} entries, but there are {found.count}"]
    if found.digest() != seal.digest:
        return [f"an entry between {former.upto_no + 1} and {seal.upto_no} was changed"]
    return []


def _purge_faults(former: Seal, seal: Seal, left: int) -> list[str]:
    """Faults of a seal whose entries were deleted before packs existed, seal by seal; `left` still exist."""
    found = []
    if former.seal_no and former.purged_ms is None:
        found.append(f"the entries of seal {seal.seal_no} were purged before older ones")
    if left:
        found.append(f"seal {seal.seal_no} covers entries that were added after its own entries had been purged")
    return found
