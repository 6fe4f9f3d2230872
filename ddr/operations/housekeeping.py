"""What has to happen from time to time without a request: seal and purge the audit trail, end and delete what has run
out.

Every worker tries; a lease lets one of them do it. What two would do twice does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from ddr.http.core import Core
from ddr.operations import audit_trail, inspection
from ddr.store.authorization import par, tokens
from ddr.store.authorization.unpairing import unpair_everyone, unpair_expired
from ddr.store.database import leases
from ddr.store.database.faults import FAULTS
from ddr.store.gateways import apps as gateway_apps
from ddr.store.gateways import requests as gateway_requests
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import journeys, login_attempts, sessions
from ddr.store.registries import sources as registry
from ddr.store.search import pages as search

ROUND_SECONDS = 60.0
DAY_MS = 86_400_000
JOB = "housekeeping"

log = logging.getLogger(__name__)


async def run(core: Core) -> None:
    """A round every minute, until cancelled. A database that is away for a moment does not end it."""
    while True:
        try:
            await one_round(core)
        except FAULTS as error:
            log.warning("housekeeping.failed", extra={"error": type(error).__name__})
        await asyncio.sleep(ROUND_SECONDS * random.uniform(0.8, 1))  # noqa: S311 - jitter


async def one_round(core: Core) -> None:
    """Everything that is due now, unless another worker is at it."""
    core.strangers.flush()
    async with _alone(core.pool) as alone:
        if not alone:
            return
        now_ms = core.clock()
        if core.settings.retired:
            _report("housekeeping.unpaired", await unpair_everyone(core.pool, "recorder-retired", now_ms))
        _report("housekeeping.consents_ended", await unpair_expired(core.pool, now_ms))
        await _sweep(core, now_ms)
        await audit_trail.seal(core.pool, now_ms)
        await inspection.daily(core.pool, now_ms)
        _report("audit.purged", await audit_trail.purge(core.pool, core.settings.audit_days, now_ms))


async def _sweep(core: Core, now_ms: int) -> None:
    """Delete what was kept for a time only."""
    await search.sweep(core.pool, now_ms)
    await login_attempts.sweep(core.pool, now_ms)
    await journeys.sweep(core.pool, now_ms)
    await sessions.sweep(core.pool, now_ms, core.settings.session_seconds * 1000)
    await par.sweep(core.pool, now_ms)
    await tokens.sweep(core.pool, now_ms)
    await gateway_requests.sweep(core.pool, now_ms)
    await gateway_apps.sweep_codes(core.pool, now_ms)
    await gateway_tokens.sweep(core.pool, now_ms - core.settings.audit_days * DAY_MS)
    await registry.purge_events(core.pool, now_ms - core.settings.audit_days * DAY_MS)


def _report(what: str, count: int) -> None:
    if count:
        log.info(what, extra={"count": count})


@asynccontextmanager
async def _alone(pool: asyncpg.Pool) -> AsyncIterator[bool]:
    """True when no other process is between its own begin and end of this block; the turn of a dead one ends soon."""
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
