"""Periodic work without a request: seal, pack and drop the audit trail, end and delete what has expired.

Every worker tries; a lease lets one of them do it. If two do the same, it does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Never

import asyncpg

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.http.jobs import Step
from ddr.operations import audit_packing, audit_trail, credentials, inspection, restore, retention
from ddr.operations.request_log import days as request_log_days
from ddr.operations.request_log import sealing
from ddr.store.audit import days, journal, request_log_seals
from ddr.store.authorization import par, representations, tokens
from ddr.store.authorization.unpairing import unpair_everyone, unpair_expired
from ddr.store.database import clock, leases
from ddr.store.database.faults import FAULTS
from ddr.store.database.rights import Moment
from ddr.store.gateways import apps as gateway_apps
from ddr.store.gateways import requests as gateway_requests
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.outages import events as outages
from ddr.store.patients import erasure, files, journeys, login_attempts, logouts, sessions
from ddr.store.registries import sources as registry
from ddr.store.search import pages as search

ROUND_SECONDS = 60.0
JOB = "housekeeping"

log = logging.getLogger(__name__)


async def rounds(core: Callable[[], Core]) -> Never:
    """Run one round after another, with `core` as it is at its start. A round lasts as long as its steps do."""
    await core().jobs.keep(JOB, lambda: one_round(core()), ROUND_SECONDS, limited=False)


async def one_round(core: Core) -> None:
    """Do everything that is due now, unless another worker is doing it.

    Each step is a job of its own (`ddr.http.jobs`): one that fails or hangs, once or always, does not keep the others
    from being done, and later steps get the time at their own start. A worker repeats its failed steps even when it is
    another worker's turn; until one succeeds, it is reported as failing.
    """
    core.strangers.flush()
    async with _alone(core.pool) as alone:
        for name in steps(core, core.clock()):
            job = f"housekeeping-{name}"
            if alone or core.jobs.fails(job):
                await core.jobs.attempt(job, steps(core, core.clock())[name])  # again, with the time of its own start


def steps(core: Core, now_ms: int) -> dict[str, Step]:
    """The steps by name, in the order in which they are done: the clock, ends, the trail, then deleting."""
    pool, settings = core.pool, core.settings
    return {
        "clock": lambda: _look_at_clock(core),
        "retirement": lambda: _unpair_all(core, now_ms),
        "consents": lambda: _end_consents(core, now_ms),
        "standings": lambda: core.standings.check(pool),
        "representations": lambda: _end_representations(core, now_ms),
        "credentials": lambda: credentials.follow(core, now_ms),
        "audit-days": lambda: days.open_days(pool),
        "audit-seal": lambda: audit_trail.seal(pool, now_ms),
        "audit-purge": lambda: _purge_trail(core, now_ms),
        "request-log-days": lambda: request_log_seals.open_days(pool),
        "request-log-seal": lambda: sealing.seal(pool, core.signer, settings, now_ms),
        "request-log-drop": lambda: _drop_requests(core, now_ms),
        "inspection": lambda: inspection.daily(pool, now_ms),
        "search-pages": lambda: search.sweep(pool, now_ms),
        "login-attempts": lambda: login_attempts.sweep(pool, now_ms),
        "login-journeys": lambda: journeys.sweep(pool, now_ms),
        "provider-logouts": lambda: logouts.sweep(pool, now_ms),
        "sessions": lambda: sessions.sweep(pool, now_ms, settings.session_seconds * 1000),
        "pushed-requests": lambda: par.sweep(pool, now_ms),
        "tokens": lambda: tokens.sweep(pool, now_ms),
        "gateway-requests": lambda: gateway_requests.sweep(pool, now_ms),
        "gateway-codes": lambda: gateway_apps.sweep_codes(pool, now_ms),
        "gateway-tokens": lambda: _as_the_trail(core, now_ms, gateway_tokens.sweep),
        "patient-files": lambda: files.sweep(pool, now_ms),
        "erased-patients": lambda: _delete_rest(core, now_ms),
        "journal": lambda: _forget_ends(core, now_ms),
        "readings": lambda: retention.forget_readings(core, now_ms),
        "ended-pairings": lambda: retention.forget_pairings(core, now_ms),
        "outages": lambda: _forget_outages(core, now_ms),
        "registry-events": lambda: _as_the_trail(core, now_ms, registry.purge),
        "audit-pack": lambda: audit_packing.pack_some(pool, now_ms),
        "request-log-pack": lambda: request_log_days.pack_some(pool, now_ms),
    }


async def _look_at_clock(core: Core) -> None:
    moved_ms = await clock.look(core.pool)
    if moved_ms > 0:
        log.warning("clock.leapt", extra={"seconds": moved_ms // 1000})
    elif moved_ms < 0:
        log.warning("clock.set_back", extra={"seconds": -moved_ms // 1000})


async def _unpair_all(core: Core, now_ms: int) -> None:
    if core.settings.retired and (count := await unpair_everyone(core.pool, "recorder-retired", now_ms)):
        log.info("housekeeping.unpaired", extra={"count": count})


async def _end_consents(core: Core, now_ms: int) -> None:
    if count := await unpair_expired(core.pool, now_ms):
        log.info("housekeeping.consents_ended", extra={"count": count})


async def _end_representations(core: Core, now_ms: int) -> None:
    moment = Moment.at(now_ms, core.settings)
    if count := await representations.end_due(core.pool, moment):
        log.info("housekeeping.representations_ended", extra={"count": count})


async def _purge_trail(core: Core, now_ms: int) -> None:
    if count := await audit_trail.purge(core.pool, core.settings.audit_days, now_ms):
        log.info("audit.purged", extra={"count": count})


async def _drop_requests(core: Core, now_ms: int) -> None:
    if count := await sealing.drop(core.pool, core.settings.request_log_days, now_ms):
        log.info("request_log.dropped", extra={"count": count})


async def _forget_ends(core: Core, now_ms: int) -> None:
    before_ms = await clock.counted(core.pool, now_ms - core.settings.journal_days * DAY_MS)
    await restore.keep_mark(core.pool, core.settings.journal_folder, now_ms, before_ms)
    await asyncio.to_thread(journal.forget, core.settings.journal_folder, before_ms)


async def _delete_rest(core: Core, now_ms: int) -> None:
    if count := await erasure.delete_rest(core.pool, now_ms):
        log.info("housekeeping.late_rows_deleted", extra={"count": count})


async def _forget_outages(core: Core, now_ms: int) -> None:
    await outages.purge(core.pool, await retention.outages_since_ms(core.pool, core.settings, now_ms))


async def _as_the_trail(core: Core, now_ms: int, forget: Callable[[asyncpg.Pool, int], Awaitable[object]]) -> None:
    """Delete what is older than the retention of the trail."""
    await forget(core.pool, await clock.counted(core.pool, now_ms - core.settings.audit_days * DAY_MS))


@asynccontextmanager
async def _alone(pool: asyncpg.Pool) -> AsyncIterator[bool]:
    """True when no other process is inside this block; the turn of a dead process expires soon."""
    mark = secrets.token_bytes(16)
    if not await leases.take(pool, JOB, mark):
        yield False
        return
    renewing = asyncio.create_task(_renewing(pool, mark))
    try:
        yield True
    finally:
        renewing.cancel()
        with suppress(*FAULTS):
            await leases.give_back(pool, JOB, mark)


async def _renewing(pool: asyncpg.Pool, mark: bytes) -> None:
    while True:
        await asyncio.sleep(leases.LEASE_MS / 3000)
        with suppress(*FAULTS):
            await leases.take(pool, JOB, mark)
