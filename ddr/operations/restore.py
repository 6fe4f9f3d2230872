"""After a restore from a backup: repeat the ends that the journal records (docs/backup.md).

Replaying is harmless at any time, any number of times: an end applies to what existed when it was written, and leaves
everything that began later. So `ddr serve` replays at each start, from the mark that was in the database when it was
backed up. Each worker also does so when it finds the database restarted or replaced, perhaps by a standby that was
promoted without the last seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from ddr.durations import HOUR_MS
from ddr.store.audit import patients as trail
from ddr.store.audit.acting import ACTING, Acting, acted
from ddr.store.audit.journal import Entry, entries, held, month
from ddr.store.audit.trail import NOBODY, Event
from ddr.store.authorization import representations, research
from ddr.store.authorization import restore as store
from ddr.store.authorization.unpairing import Party, withdrawn
from ddr.store.database.able import able
from ddr.store.gateways import certificates, tokens
from ddr.store.patients import administration
from ddr.store.patients.erasure import delete_patient

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # how often a worker checks whether the server is still the same
LATE_MS = HOUR_MS  # longer than a transaction takes to commit after writing to the journal, and than host clocks differ

# Nothing is lost without a start, either of the lost server or of the one that replaced it.
_SERVER = "SELECT concat_ws(' ', pg_postmaster_start_time(), oid) FROM pg_database WHERE datname = current_database()"

Redo = Callable[[asyncpg.Pool, Entry, int], Awaitable[bool]]


async def replay(pool: asyncpg.Pool, written: Iterable[Entry], now_ms: int) -> Mapping[str, int]:
    """Carry out the ends that the database does not know; returns their number by event. Unreadable entries are
    skipped."""
    done: Counter[str] = Counter()
    last: dict[str, Entry] = {}
    for entry in written:
        if entry["event"] in (Event.ACCOUNT_DISABLED, Event.ACCOUNT_ENABLED):
            last[str(entry.get("patient"))] = entry  # the last entry counts
            continue
        done[entry["event"]] += await _redone(pool, entry, now_ms)
    for entry in last.values():
        done[entry["event"]] += await _redone(pool, entry, now_ms)
    return {event: count for event, count in sorted(done.items()) if count}


async def catch_up(pool: asyncpg.Pool, folder: Path, now_ms: int) -> Mapping[str, int]:
    """Replay what the database may have lost: everything after the mark that it last stored."""
    there = await asyncio.to_thread(held, folder)
    known = await store.marked(pool)
    done = await replay(pool, await asyncio.to_thread(lambda: list(entries(folder, known))), now_ms)
    await store.mark(pool, there)
    if done:
        log.warning("restore.replayed", extra={"ends": dict(done)})
    return done


class Replays:
    """For one worker: replays the ends of this host's journal once for each server that it finds."""

    def __init__(self) -> None:
        self._server = ""

    async def look(self, pool: asyncpg.Pool, folder: Path, now_ms: int) -> None:
        """Catch up when the server has changed since the last check. After a failure it tries again at the next
        check."""
        found = await pool.fetchval(_SERVER)
        if found != self._server:
            await catch_up(pool, folder, now_ms)
            self._server = found


async def keep_mark(pool: asyncpg.Pool, folder: Path, now_ms: int, before_ms: int) -> None:
    """Store now and then that the database knows what was written a while ago; delete files from before `before_ms`."""
    await store.mark_later(pool, await asyncio.to_thread(held, folder), now_ms, LATE_MS, month(before_ms))


async def _redone(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    redo = _REDO.get(entry["event"])
    if redo is None:
        return False
    try:
        with _acting(entry):
            return await redo(pool, entry, now_ms)
    except (KeyError, TypeError, ValueError) as error:
        log.error("journal.unreadable", extra={"kind": entry["event"], "reason": type(error).__name__})
        return False


@contextmanager
def _acting(entry: Entry) -> Iterator[None]:
    """Repeat what a representative did in the same role, so that proof and trail say who it was.

    The right was checked then; by now it may have ended, or have begun after the backup.
    """
    role, right = entry.get("by"), entry.get("representation")
    acting = Acting(NOBODY, UUID(right), role, "", None) if isinstance(role, str) and isinstance(right, str) else None
    token = ACTING.set(acting)
    try:
        yield
    finally:
        ACTING.reset(token)


async def _pairing(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    return await store.end_pairing(pool, _text(entry, "pairing"), _party(entry), _text(entry, "reason"), now_ms)


async def _consent(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    pairing_id, valueset, reason = _text(entry, "pairing"), _text(entry, "valueset"), entry.get("reason") or withdrawn()
    given = _instants(entry, "granted_ms")
    return await store.end_consent(pool, pairing_id, valueset, entry["at_ms"], given, _party(entry), reason, now_ms)


async def _grant(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    patient_id, grant_no, created_ms = _patient(entry), int(entry["grant_no"]), entry.get("created_ms")
    return await store.end_grant(pool, patient_id, _text(entry, "pairing"), grant_no, entry["at_ms"], created_ms)


async def _deleted(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    return await delete_patient(pool, _patient(entry), now_ms, _party(entry))


async def _app(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    return await tokens.end_app(pool, bytes.fromhex(_text(entry, "app")), entry["at_ms"])


async def _former(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    return await tokens.end_former(pool, bytes.fromhex(_text(entry, "former")), int(entry["former_ms"]))


async def _shortened(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    pairing_id, kinds, until_ms = _text(entry, "pairing"), list(entry["shortened"]), int(entry["until_ms"])
    given = _instants(entry, "granted_ms")
    return await store.shorten_consents(pool, pairing_id, kinds, until_ms, entry["at_ms"], given, acted())


async def _certificate(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    return await certificates.end(pool, bytes.fromhex(_text(entry, "sha256")), entry["at_ms"])


async def _representation(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    representation_id, source = UUID(_text(entry, "representation")), entry["event"].partition(":")[0]
    by = None if source == Party.SYSTEM else representations.SetBy(source)
    async with pool.acquire() as conn, conn.transaction():
        reason = representations.End(_text(entry, "reason"))
        return await representations.end(conn, _patient(entry), representation_id, by, reason, now_ms)


async def _research(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    patient_id, reason, given = _patient(entry), _text(entry, "reason"), _instants(entry, "given_ms")
    return await research.withdraw_again(pool, patient_id, reason, entry["at_ms"], given, acted(), now_ms)


async def _disabled(pool: asyncpg.Pool, entry: Entry, now_ms: int) -> bool:
    """Disable an account, unless it was enabled since, which may be recorded in the journal of another host.

    Timestamps decide which came later, because both belong to the patient: each is later than the previous one,
    whatever the clocks of hosts and of another database say. What is repeated here is dated later than the original.
    """
    patient_id = _patient(entry)
    if not await able(pool, patient_id):
        return False
    if await trail.happened_since(pool, patient_id, Event.ACCOUNT_ENABLED, entry["at_ms"]):
        return False
    return await administration.disable(pool, patient_id, now_ms, entry["at_ms"])


def _party(entry: Entry) -> Party:
    """Who ended it, from the source in the event's tag."""
    return Party(entry["event"].partition(":")[0])


def _patient(entry: Entry) -> UUID:
    return UUID(entry["patient"])


def _text(entry: Entry, name: str) -> str:
    value: Any = entry[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _instants(entry: Entry, name: str) -> list[int]:
    """Empty where an earlier version wrote none."""
    return [int(each) for each in entry.get(name, ())]


_REDO: dict[str, Redo] = {
    Event.PAIRING_ENDED_BY_DIGA: _pairing,
    Event.PAIRING_ENDED_BY_PATIENT: _pairing,
    Event.PAIRING_ENDED_BY_SYSTEM: _pairing,
    Event.PAIRING_ENDED_BY_OPERATOR: _pairing,
    Event.CONSENT_WITHDRAWN: _consent,
    Event.CONSENT_ENDED_BY_SYSTEM: _consent,
    Event.CODE_REPLAYED: _grant,
    Event.REFRESH_REUSED: _grant,
    Event.DATA_DELETED: _deleted,
    Event.DATA_DELETED_BY_OPERATOR: _deleted,
    Event.GATEWAY_DISCONNECTED: _app,
    Event.GATEWAY_TOKEN_REVOKED: _app,
    Event.GATEWAY_RENEWED: _former,
    Event.GATEWAY_TOKEN_RENEWED: _former,
    Event.PAIRING_GRANTED: _shortened,
    Event.GATEWAY_CERTIFICATE_REVOKED: _certificate,
    Event.ACCOUNT_DISABLED: _disabled,
    Event.REPRESENTATION_ENDED_BY_OPERATOR: _representation,
    Event.REPRESENTATION_ENDED_BY_PROVIDER: _representation,
    Event.REPRESENTATION_ENDED_BY_SYSTEM: _representation,
    Event.RESEARCH_WITHDRAWN: _research,
}
