"""Proves that the request log is complete, and that an exported file is unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from ddr.durations import DAY_MS
from ddr.operations.audit_chain import START
from ddr.operations.request_log import signing
from ddr.operations.request_log.chain import Batches, faults, head_of
from ddr.operations.request_log.compare import differences
from ddr.operations.request_log.export import MEMBER, Manifest, matching, seals, still_kept
from ddr.operations.request_log.sealing import SKEW_MS
from ddr.store.audit import request_log_seals as store
from ddr.store.database.clock import present_ms
from ddr.store.database.pool import Connection

LEAST_DAYS = 30


@dataclass
class Findings:
    """The result. `head` vouches for everything sealed, even if dropped since; compare it with one that was kept
    elsewhere."""

    faults: list[str] = field(default_factory=list)
    seals: int = 0
    entries: int = 0
    unsealed: int = 0
    head: str = "0:"
    keys: set[str] = field(default_factory=set)


async def verify_chain(pool: asyncpg.Pool, recorded: str | None = None) -> Findings:
    """Recompute the whole chain. `recorded` is a head noted earlier, which must be part of it."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await store.hold(conn)
        return await findings(conn, recorded)


async def verify_file(pool: asyncpg.Pool, content: bytes, recorded: str | None = None) -> Findings:
    """Verify the chain as `verify_chain` does, and whether `content` is exactly what was exported from it."""
    async with pool.acquire() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await store.hold(conn)
        found = await findings(conn, recorded)
        found.faults += await _file(conn, content)
        return found


async def findings(conn: Connection, recorded: str | None = None) -> Findings:
    """The same on a connection, whose transaction determines the state of the log."""
    keys = await store.keys(conn)
    policies = {row["policy_no"] for row in await store.policies(conn)}
    dropped = await store.newest_dropped(conn)
    former = (dropped["seal_no"], dropped["chain"]) if dropped else (0, START)
    found, batches, recorded_was_met = Findings(), Batches(), recorded is None
    if dropped:
        found.head = head_of(*former)
        found.faults += _dropped(dropped, keys, await present_ms(conn))
        recorded_was_met = recorded_was_met or recorded == found.head
    async for seal, words in seals(conn):
        found.faults += faults(former, seal, words)
        found.faults += _signature(seal.signature, seal.seal_no, seal.chain, keys, found.keys)
        if seal.policy_no not in policies:
            found.faults.append(f"seal {seal.seal_no} names policy {seal.policy_no}, which is missing")
        found.seals += 1
        found.entries += seal.entries
        found.head = seal.head
        batches.add(seal.runs)
        recorded_was_met = recorded_was_met or seal.head == recorded
        former = seal.seal_no, seal.chain
    if not recorded_was_met:
        found.faults.append(f"the chain has no seal {recorded}")
    waiting = await store.unsealed(conn)
    found.faults += batches.missing(known_from_start=dropped is None, waiting=waiting)
    found.unsealed = sum(last - first + 1 for spans in waiting.values() for first, last in spans)
    return found


def _signature(
    token: str, seal_no: int, chain: bytes, keys: Mapping[str, Mapping[str, Any]], seen: set[str]
) -> list[str]:
    signed = signing.read(token, keys)
    if signed is None or (signed.claims.get("seal"), signed.claims.get("chain")) != (seal_no, chain.hex()):
        return [f"the signature of seal {seal_no} is invalid"]
    seen.add(signed.kid)
    return []


def _dropped(row: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]], now_ms: int) -> list[str]:
    """What contradicts the newest dropped seal. It was made at the time in its signature, and is dropped now, whatever
    its row says: clocks differ by a day at most."""
    found = _signature(row["signature"], row["seal_no"], row["chain"], keys, set())
    signed = signing.read(row["signature"], keys)
    sealed_ms = max(row["sealed_ms"], int(signed.claims["iat"]) * 1000 if signed else 0)
    if min(row["dropped_ms"], now_ms + SKEW_MS) - sealed_ms < LEAST_DAYS * DAY_MS:
        found.append(f"seals up to {row['seal_no']} were dropped before {LEAST_DAYS} days had passed")
    return found


async def _file(conn: Connection, content: bytes) -> list[str]:
    lines = content.splitlines()
    manifest, token = _manifest(lines)
    if manifest is None:
        return ["the last line is not a manifest: the manifest was removed or changed"]
    signed = signing.read(token, await store.keys(conn))
    if signed is None or Manifest.of(signed.claims) != manifest:
        return [f"line {len(lines)}, the manifest, was changed"]
    given = lines[:-1]
    sha256 = hashlib.sha256(b"".join(line + b"\n" for line in given)).hexdigest()
    if not await still_kept(conn, manifest.filters, await store.newest_dropped(conn)):
        same = sha256 == manifest.sha256 and len(given) == manifest.records
        return [] if same else ["lines were changed, and the records themselves have been dropped since"]
    try:
        wanted = [line async for line in matching(conn, manifest.filters, manifest.upto_seal)]
    except ValueError:
        return ["the file cannot be compared: a seal is damaged"]
    found = differences(given, wanted)
    if not found and sha256 != manifest.sha256:
        found.append("the file matches the log, but not the records that were exported")
    return found


def _manifest(lines: Sequence[bytes]) -> tuple[Manifest | None, str]:
    try:
        claims = orjson.loads(lines[-1])[MEMBER]
        return Manifest.of(claims), claims["signature"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None, ""
