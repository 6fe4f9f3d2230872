"""The hash chain over the audit trail: what a seal says about its entries and about the seal before. Pure.

An entry's form is a JSON array with sorted keys; a digest is the SHA-256 over the forms of its entries, each followed
by a line feed; a link is the SHA-256 over the former link and the seal's own content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

START = bytes(32)  # the link before the first seal
COLUMNS = ("audit_no", "patient_id", "at_ms", "event", "client_id", "pairing_id", "detail")


@dataclass(frozen=True)
class Seal:
    """One seal; it covers the entries after the former seal's `upto_no`. Instants in milliseconds."""

    seal_no: int
    upto_no: int
    entries: int
    last_ms: int
    sealed_ms: int
    digest: bytes
    chain: bytes
    purged_ms: int | None = None

    @property
    def head(self) -> str:
        """The text to be kept elsewhere: it vouches for this seal and for everything before."""
        return f"{self.seal_no}:{self.chain.hex()}"


GENESIS = Seal(0, 0, 0, 0, 0, b"", START)


def digest(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """The SHA-256 of entries in the order of their numbers."""
    hashed = hashlib.sha256()
    for entry in entries:
        hashed.update(orjson.dumps([entry[name] for name in COLUMNS], default=str, option=orjson.OPT_SORT_KEYS) + b"\n")
    return hashed.digest()


def link(former: Seal, seal: Seal) -> bytes:
    """What `seal.chain` must be after `former`. Whether its entries are purged is not part of it."""
    content = [seal.seal_no, former.upto_no, seal.upto_no, seal.entries, seal.last_ms, seal.sealed_ms]
    return hashlib.sha256(former.chain + orjson.dumps(content) + seal.digest).digest()


def seal_after(former: Seal, entries: list[Mapping[str, Any]], now_ms: int) -> Seal:
    """The seal of `entries` (one at least), which follow those of `former`."""
    bare = Seal(
        seal_no=former.seal_no + 1,
        upto_no=entries[-1]["audit_no"],
        entries=len(entries),
        last_ms=max(entry["at_ms"] for entry in entries),
        sealed_ms=now_ms,
        digest=digest(entries),
        chain=b"",
    )
    return Seal(**{**vars(bare), "chain": link(former, bare)})


def faults(former: Seal, seal: Seal, entries: list[Mapping[str, Any]]) -> list[str]:
    """What contradicts `seal`: nothing, if neither it nor its entries were touched since it was made."""
    found = []
    if seal.seal_no != former.seal_no + 1 or seal.chain != link(former, seal):
        found.append(f"seal {seal.seal_no} does not follow seal {former.seal_no}")
    if seal.purged_ms is not None:
        if former.seal_no and former.purged_ms is None:
            found.append(f"the entries of seal {seal.seal_no} were purged before older ones")
        if entries:
            found.append(f"seal {seal.seal_no} covers entries that were added after its own had been purged")
    elif len(entries) != seal.entries:
        found.append(f"seal {seal.seal_no} covers {seal.entries} entries, there are {len(entries)}")
    elif digest(entries) != seal.digest:
        found.append(f"an entry between {former.upto_no + 1} and {seal.upto_no} was changed")
    return found
