"""The figures of one worker, as it tells them to its supervisor and as `/metrics` shows them (Prometheus names)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ddr.http.core import Core
from ddr.http.fleet import CONNECTIONS

RUNS, FAILURES = "ddr_background_runs_total", "ddr_background_failures_total"
FAILING, GOOD = "ddr_background_failing_since_seconds", "ddr_background_good_seconds"  # UTC since 1970; 0: not


def worker_figures(core: Core) -> dict[str, float]:
    """Value by name, with labels in it if any; what ends in `_total` is a counter, all else a gauge."""
    figures: dict[str, float] = {
        CONNECTIONS: core.fleet.connections(),
        "ddr_database_connections": core.pool.get_size(),
        "ddr_database_connections_idle": core.pool.get_idle_size(),
        "ddr_registry_stale": int(core.registry.stale(core.clock())),
        "ddr_worker_peak_memory_bytes": peak_memory_bytes(),
        "ddr_requests_running": core.admission.running,
        "ddr_requests_waiting": core.admission.waiting,
        "ddr_requests_refused_total": core.admission.refused,
        "ddr_event_loop_longest_lag_seconds": round(core.lag.most, 4),
        "ddr_event_loop_lags_total": core.lag.count,
        "ddr_event_loop_lag_seconds_total": round(core.lag.total, 4),
    }
    for name, state in core.jobs.states.items():
        label = f'{{job="{name}"}}'
        figures[RUNS + label] = state.runs
        figures[FAILURES + label] = state.failures
        figures[FAILING + label] = (state.failing_since_ms or 0) / 1000
        figures[GOOD + label] = (state.good_ms or 0) / 1000
    return figures


def peak_memory_bytes() -> int:
    """The largest resident set of this process so far; 0 where the kernel does not tell (other than Linux)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


@dataclass(frozen=True)
class Background:
    """A job in all workers of this host: its failures, and since when it fails in one of them."""

    failures: int
    since_ms: int | None


def background(core: Core) -> Mapping[str, Background]:
    """All jobs by name."""
    workers = core.fleet.figures(worker_figures(core)).values()
    names = {
        name
        for figures in workers
        for series in figures
        for name in re.findall(r'^ddr_background_.*job="(.*)"', series)
    }
    return {name: _in_all(name, list(workers)) for name in sorted(names)}


def _in_all(name: str, workers: list[Mapping[str, float]]) -> Background:
    label = f'{{job="{name}"}}'
    since = [at for figures in workers if (at := figures.get(FAILING + label, 0))]
    failures = sum(int(figures.get(FAILURES + label, 0)) for figures in workers)
    return Background(failures, int(min(since) * 1000) if since else None)
