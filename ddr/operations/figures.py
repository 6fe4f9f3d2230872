"""The metrics of one worker, as reported to its supervisor and shown by `/metrics` (Prometheus names)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ddr.http.core import Core
from ddr.http.fleet import CONNECTIONS, Figures
from ddr.http.metrics import Figure

RUNS, FAILURES = "ddr_background_runs_total", "ddr_background_failures_total"
FAILING, GOOD = "ddr_background_failing_since_seconds", "ddr_background_good_seconds"  # seconds since 1970 UTC; 0: none

DESCRIBED = {
    CONNECTIONS: "Open connections of clients",
    "ddr_database_connections": "Connections to the database for requests",
    "ddr_database_connections_idle": "Free connections to the database for requests",
    "ddr_database_waits_total": "How often a request had to wait for a connection to the database",
    "ddr_database_wait_seconds_total": "Time that requests have waited for a connection to the database",
    "ddr_database_waits_failed_total": "How often a request waited in vain for a connection to the database",
    "ddr_registry_stale": "1 when the DiGA-VZ or the ZTS was not read within its maximum age",
    "ddr_replica_reads_total": "Reads that the replica answered in place of the primary; absent without a replica",
    "ddr_replica_passed_over_total": "Reads that the primary answered because the replica was away or behind",
    "ddr_registry_age_seconds": "Age of the last reading of a registry; absent before the first reading",
    "ddr_worker_memory_bytes": "Resident set of the worker",
    "ddr_worker_peak_memory_bytes": "Largest resident set of the worker so far",
    "ddr_requests_running": "Requests that are being processed",
    "ddr_requests_places": "How many requests may be processed at the same time",
    "ddr_requests_waiting": "Requests that are waiting for their turn",
    "ddr_requests_refused_total": "Requests refused because their turn would not have come in time",
    "ddr_event_loop_longest_lag_seconds": "Longest delay of the event loop",
    "ddr_event_loop_longest_work_seconds": "Most processor time that the event loop used within one delay",
    "ddr_event_loop_lags_total": "How often the event loop was delayed by more than 50 ms",
    "ddr_event_loop_lag_seconds_total": "Time of the event loop's delays of more than 50 ms",
    RUNS: "Runs of background work",
    FAILURES: "Runs of background work that failed",
    FAILING: "Since when a job has been failing (UTC since 1970; 0: it is not failing)",
    GOOD: "When a job last succeeded (UTC since 1970; 0: never)",
}


def worker_figures(core: Core) -> dict[str, Figure]:
    """Values by name, with any labels in it. A name ending in `_total` is a counter, a list a histogram, all else a
    gauge."""
    figures: dict[str, Figure] = {
        CONNECTIONS: core.fleet.connections(),
        "ddr_database_connections": core.pool.get_size(),
        "ddr_database_connections_idle": core.pool.get_idle_size(),
        "ddr_database_waits_total": core.pool.waits.count,
        "ddr_database_wait_seconds_total": round(core.pool.waits.seconds, 4),
        "ddr_database_waits_failed_total": core.pool.waits.failed,
        **_replica_figures(core),
        "ddr_registry_stale": int(core.registry.stale(core.clock())),
        "ddr_worker_memory_bytes": memory_bytes(),
        "ddr_worker_peak_memory_bytes": memory_bytes("VmHWM"),
        "ddr_requests_running": core.admission.running,
        "ddr_requests_places": core.admission.breadth.places,
        "ddr_requests_waiting": core.admission.waiting,
        "ddr_requests_refused_total": core.admission.refused,
        "ddr_event_loop_longest_lag_seconds": round(core.lag.most, 4),
        "ddr_event_loop_longest_work_seconds": round(core.lag.most_work, 4),
        "ddr_event_loop_lags_total": core.lag.count,
        "ddr_event_loop_lag_seconds_total": round(core.lag.total, 4),
    }
    for source, seen_ms in core.registry_seen.items():
        if at := seen_ms():
            figures[f'ddr_registry_age_seconds{{source="{source}"}}'] = max(0, core.clock() - at) // 1000
    return figures | _background_figures(core) | core.metrics.figures()


def _replica_figures(core: Core) -> dict[str, Figure]:
    if core.replica is None:
        return {}
    return {
        "ddr_replica_reads_total": core.replica.reads,
        "ddr_replica_passed_over_total": core.replica.passed_over,
    }


def _background_figures(core: Core) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, state in list(core.jobs.states.items()):
        label = f'{{work="{name}"}}'
        figures[RUNS + label] = state.runs
        figures[FAILURES + label] = state.failures
        figures[FAILING + label] = (state.failing_since_ms or 0) / 1000
        figures[GOOD + label] = (state.good_ms or 0) / 1000
    return figures


def memory_bytes(field: str = "VmRSS") -> int:
    """The resident set of this process, with VmHWM its peak; 0 where no kernel reports it (other than Linux)."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


@dataclass(frozen=True)
class Background:
    """A job across all workers of this host: its failures, and since when it has been failing in any of them."""

    failures: int
    since_ms: int | None


def background(core: Core) -> Mapping[str, Background]:
    """All jobs by name."""
    workers = core.fleet.figures(_background_figures(core)).values()
    names = {
        name
        for figures in workers
        for series in figures
        for name in re.findall(r'^ddr_background_.*work="(.*)"', series)
    }
    return {name: _in_all(name, list(workers)) for name in sorted(names)}


def _in_all(name: str, workers: list[Figures]) -> Background:
    label = f'{{work="{name}"}}'
    since = [at for figures in workers if (at := _number(figures, FAILING + label))]
    failures = sum(int(_number(figures, FAILURES + label)) for figures in workers)
    return Background(failures, int(min(since) * 1000) if since else None)


def _number(figures: Figures, series: str) -> float:
    found = figures.get(series, 0)
    return found if isinstance(found, (int, float)) else 0
