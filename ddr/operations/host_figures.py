"""Metrics of the host or the whole recorder, collected when `/metrics` is requested, not every second."""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter
from contextlib import suppress

from ddr import __version__
from ddr.http.core import Core
from ddr.http.metrics import Figure
from ddr.http.request_log.spool import in_folder
from ddr.operations.status.checks import in_force
from ddr.store.audit import entries
from ddr.store.credentials import register
from ddr.store.database import clock
from ddr.store.database.faults import FAULTS
from ddr.store.registries import losses

DAY_SECONDS = 86_400

DESCRIBED = {
    "ddr_build_info": "Version of the recorder and of Python; always 1",
    "ddr_worker_restarts_total": "Workers that were replaced since the recorder was started",
    "ddr_answering_worker": "The worker that reports these figures",
    "ddr_registry_ends_held": "Ends that wait for an operator (ddr registry confirm)",
    "ddr_audit_unsealed_seconds": "Age of the oldest audit trail entry without a seal; 0: none",
    "ddr_request_log_spooled_bytes": "Request log records that wait on this host's disk for the database",
    "ddr_request_log_spooled_seconds": "When the oldest file of such records was begun; 0: there is none",
    "ddr_clock_host_ahead_seconds": "By how much this host's own clock is ahead of the database's; negative: behind",
    "ddr_clock_moved_seconds": "By how much the database's clock jumped within a day (negative: back); 0: not at all",
    "ddr_clock_gap_seconds": "Time that the database's clock skipped, which does not count for retention",
    "ddr_certificate_days": "Days until the server's certificate ends; negative: it has ended",
    "ddr_credentials_ending": "Credentials without a successor that have ended or end within 21 days",
    "ddr_credentials_incomplete": "Credentials without an owner, a purpose or an end (ddr credentials list)",
    "ddr_signing_key_age_seconds": "How long the key that signs access tokens has been signing",
    "ddr_signing_keys": "Signing keys that are published",
}


async def host_figures(core: Core) -> dict[str, Figure]:
    """Values by name; those that cannot be determined at the moment are left out."""
    figures: dict[str, Figure] = {
        f'ddr_build_info{{version="{__version__}",python="{platform.python_version()}"}}': 1,
        "ddr_worker_restarts_total": core.fleet.restarts,
        "ddr_answering_worker": core.fleet.number,
        "ddr_clock_host_ahead_seconds": core.host_ahead_ms() / 1000,
    }
    with suppress(OSError, ValueError):
        figures["ddr_certificate_days"] = await asyncio.to_thread(_certificate_days, core)
    with suppress(OSError):
        waiting, oldest = await asyncio.to_thread(in_folder, core.settings.request_log_folder)
        figures["ddr_request_log_spooled_bytes"] = waiting
        figures["ddr_request_log_spooled_seconds"] = round(max(0.0, time.time() - oldest), 1) if oldest else 0
    if core.signer is not None:
        figures["ddr_signing_keys"] = len(core.signer.jwks()["keys"])
        figures["ddr_signing_key_age_seconds"] = core.signer.age_ms(core.clock()) // 1000
    with suppress(*FAULTS):
        found = await register.warnings(core.pool)
        figures["ddr_credentials_incomplete"] = found.incomplete
        soon = Counter(kind for kind, _ in found.soon(core.clock()))
        for kind in register.Kind:
            figures[f'ddr_credentials_ending{{kind="{kind}"}}'] = soon[kind]
        moved_ms, gap_ms = await clock.moved(core.pool)
        figures["ddr_clock_moved_seconds"] = moved_ms / 1000
        figures["ddr_clock_gap_seconds"] = gap_ms // 1000
        figures["ddr_registry_ends_held"] = await losses.held(core.pool)
        oldest_ms = await entries.oldest_unsealed_ms(core.pool)
        figures["ddr_audit_unsealed_seconds"] = max(0, core.clock() - oldest_ms) // 1000 if oldest_ms else 0
    return figures


def _certificate_days(core: Core) -> float:
    ends = in_force(core).not_valid_after_utc.timestamp()
    return round((ends - core.clock() / 1000) / DAY_SECONDS, 2)
