"""Exports of the request log: filtered lines, and a signed manifest of what the file must contain."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import asyncpg
import orjson

from ddr.http.request_log.record import at_ms_of
from ddr.operations.request_log import signing
from ddr.operations.request_log.chain import IN_COLUMNS, IN_LINES, NO_WORDS, Seal
from ddr.operations.request_log.packing import Words
from ddr.operations.request_log.signing import Signer
from ddr.operations.request_log.skipping import Skipping
from ddr.store.audit import request_log_packs as packs
from ddr.store.audit import request_log_seals as store
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Connection

MEMBER = "manifest"  # the only member of a file's last line


@dataclass(frozen=True)
class Filters:
    """What is wanted; None: all. Instants in milliseconds, `until_ms` excluded; `endpoint` as in partner_id."""

    since_ms: int | None = None
    until_ms: int | None = None
    client: str | None = None
    pairing: str | None = None
    endpoint: str | None = None
    status: int | None = None
    transaction: str | None = None

    def fit(self, record: Mapping[str, Any], at_ms: int) -> bool:
        """True for a record that is wanted."""
        return (
            (self.since_ms is None or at_ms >= self.since_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and self.client in (None, record["client_id"])
            and self.pairing in (None, record["pairing_id"])
            and (self.endpoint is None or _at(record["partner_id"], self.endpoint))
            and self.status in (None, record["status"])
            and self.transaction in (None, record["transaction_id"])
        )

    def skipping(self, words: Words) -> Skipping | None:
        """Finds packed seals of a day that contain no wanted record; None when any of them may."""
        if (self.client, self.pairing, self.endpoint, self.status, self.transaction) == (None,) * 5:
            return None
        shared = Filters(client=self.client, endpoint=self.endpoint, status=self.status)
        return Skipping(words, lambda record: shared.fit(record, 0), self.pairing, self.transaction)


@dataclass(frozen=True)
class Manifest:
    """What a file contains: all lines that match `filters` up to seal number `upto_seal`, whose link is `chain`."""

    filters: Filters
    records: int
    sha256: str  # of all lines, each with its line feed
    upto_seal: int
    chain: str

    def claims(self) -> dict[str, Any]:
        """The manifest in its signed form."""
        return asdict(self)

    @classmethod
    def of(cls, claims: Mapping[str, Any]) -> Manifest:
        """The manifest from its signed form. Raises KeyError, TypeError."""
        names = {field.name for field in fields(cls)} - {"filters"}
        return cls(Filters(**claims["filters"]), **{name: claims[name] for name in names})


async def seals(
    conn: Connection, from_ms: int | None = None, until_ms: int | None = None
) -> AsyncIterator[tuple[Seal, Words]]:
    """All seals that may contain records of this period, oldest first, each with the words that it refers to."""
    words, of_day = NO_WORDS, None
    async for row in store.seals(conn, from_ms, until_ms):
        kept = Seal(**row)
        if kept.form != IN_LINES and kept.day != of_day:
            words, of_day = Words(await packs.words(conn, kept.day)), kept.day
        yield kept, words


async def matching(conn: Connection, filters: Filters, upto_seal: int) -> AsyncIterator[bytes]:
    """The matching lines in the order of the chain. Raises ValueError for a damaged seal that is not skipped."""
    skipping, of_words = None, NO_WORDS
    async for kept, words in seals(conn, filters.since_ms, filters.until_ms):
        if kept.seal_no > upto_seal:
            return
        if words is not of_words:
            skipping, of_words = filters.skipping(words), words
        if kept.form == IN_COLUMNS and skipping is not None and skipping.skips(kept.packed):
            continue
        for line in kept.lines(words):
            record = orjson.loads(line)
            if filters.fit(record, at_ms_of(record)):
                yield line


async def export(
    pool: asyncpg.Pool, read: asyncpg.Pool, signer: Signer, filters: Filters, now_ms: int
) -> AsyncIterator[bytes]:
    """The sealed lines from `read`, each with its line feed, and last the manifest, signed with the key from `pool`.

    Raises ChangedMeanwhile in place of the manifest when days with wanted lines were dropped meanwhile.
    """
    hashed, count = hashlib.sha256(), 0
    async with read.acquire() as conn:
        before = await store.newest_dropped(conn)
        upto_seal, chain, _ = await store.end(conn)
        async for line in matching(conn, filters, upto_seal):
            hashed.update(line + b"\n")
            count += 1
            yield line + b"\n"
        dropped = await store.newest_dropped(conn)
        if dropped != before and not await still_kept(conn, filters, dropped):
            raise ChangedMeanwhile
        manifest = Manifest(filters, count, hashed.hexdigest(), upto_seal, chain.hex())
    token = await signing.sign(pool, signer, manifest.claims(), now_ms)
    yield orjson.dumps({MEMBER: {**manifest.claims(), "signature": token}}) + b"\n"


async def still_kept(conn: Connection, filters: Filters, dropped: Mapping[str, Any] | None) -> bool:
    """Whether all seals of this period still exist; `dropped` is the last dropped one."""
    if dropped is None:
        return True
    if filters.since_ms is None or filters.since_ms <= dropped["sealed_ms"]:
        return False
    return not await store.dropped_around(conn, filters.since_ms, filters.until_ms)


def _at(partner_id: str, endpoint: str) -> bool:
    """With or without the host."""
    return endpoint in (partner_id, partner_id[partner_id.find("/") :] if "/" in partner_id else "")
