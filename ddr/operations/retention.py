"""Deletes what has been kept long enough, if the settings say so (docs/retention.md): once a day, some patients at a
time, so that no round of housekeeping takes long."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.miv.model import MivCatalog
from ddr.settings import Settings, SettingsError
from ddr.store.database.clock import counted
from ddr.store.patients import retention as store

OUTAGE_DAYS = 400  # at least: the availability of each month of a whole year stays computable
PATIENTS = 50  # looked at together
ROUND_SECONDS = 10.0
PROOF_MS = 60_000  # the database releases proof by its own clock; a worker's clock may be ahead of it
SLACK_MS = DAY_MS  # data that becomes too old during its upload is not deleted meanwhile

log = logging.getLogger(__name__)

Forget = Callable[[asyncpg.Pool, Sequence[UUID], int], Awaitable[int]]


def check_retention(settings: Settings, catalog: MivCatalog) -> None:
    """Raises SettingsError when readings would be deleted that a DiGA may still request."""
    least = longest_historic_days(catalog) + 1
    if settings.readings_days and settings.readings_days < least:
        why = "the longest registered Historic-Data-Period and a day"
        raise SettingsError(f"setting readings_days: must be 0, or at least {least}: {why}")


def longest_historic_days(catalog: MivCatalog) -> int:
    return max(terms.historic_days for terms in catalog.terms.values())


async def outages_since_ms(pool: asyncpg.Pool, settings: Settings, now_ms: int) -> int:
    """The instant from which findings of the checks are kept: the retention of the trail, and at least OUTAGE_DAYS."""
    return await counted(pool, now_ms - max(settings.audit_days, OUTAGE_DAYS) * DAY_MS)


async def forget_readings(core: Core, now_ms: int) -> None:
    """Delete readings older than `readings_days`; nothing when that is 0."""
    if core.settings.readings_days:
        days = max(core.settings.readings_days, longest_historic_days(core.catalog) + 1)
        before_ms = await counted(core.pool, now_ms - days * DAY_MS - SLACK_MS)
        await _through_all(core.pool, "readings", store.forget_readings, before_ms, now_ms)


async def forget_pairings(core: Core, now_ms: int) -> None:
    """Delete pairings that ended more than `ended_pairings_days` ago; nothing when that is 0."""
    if days := core.settings.ended_pairings_days:
        before_ms = await counted(core.pool, now_ms - days * DAY_MS - PROOF_MS)
        await _through_all(core.pool, "ended-pairings", store.forget_pairings, before_ms, now_ms)


async def _through_all(pool: asyncpg.Pool, job: str, forget: Forget, before_ms: int, now_ms: int) -> None:
    """Continue where the last round stopped; start again a day after all patients have been processed."""
    after, done_ms = await store.progress(pool, job)
    if done_ms is not None:
        if done_ms <= now_ms < done_ms + DAY_MS:
            return
        after = store.FIRST
    count, deadline = 0, time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline:
        page = await store.patients_after(pool, after, PATIENTS)
        if page:
            count, after = count + await forget(pool, page, before_ms), page[-1]
        await store.note_progress(pool, job, after, None if page else now_ms)
        if not page:
            break
    if count:
        log.info("retention.deleted", extra={"what": job, "count": count})
