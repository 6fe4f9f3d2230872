"""The metrics of all workers of this host in Prometheus format (text format 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ddr.http.fleet import Figures
from ddr.http.metrics import DELAYS, SECONDS, Figure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TOTAL = "_total"
BOUNDS = {"ddr_request_seconds": SECONDS, "ddr_ingestion_delay_seconds": DELAYS}
_SERIES = re.compile(r"(\w+)(?:\{(.*)\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class _Host(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(workers: Mapping[int, Figures], host: Figures, described: Mapping[str, str]) -> bytes:
    """One metric family after another; metrics of a worker have its number as a label, those of the host have none.

    `described` has a sentence for each name. Metrics that a worker of another version reports under unknown names are
    left out.
    """
    families: dict[str, Metric] = {}
    told = [({"worker": str(number)}, figures) for number, figures in workers.items()]
    for whose, figures in [*told, ({}, host)]:
        for series, figure in figures.items():
            name, labels = parted(series)
            if name in described and fits(name, figure):
                family = families.setdefault(name, Metric(name.removesuffix(TOTAL), described[name], kind(name)))
                for suffix, more, value in _samples(name, figure):
                    family.add_sample(name + suffix, {**whose, **labels, **more}, value)
    return generate_latest(_Host(families.values()))


def kind(name: str) -> str:
    """The type of a metric, which its name tells."""
    return "histogram" if name in BOUNDS else "counter" if name.endswith(TOTAL) else "gauge"


def parted(series: str) -> tuple[str, dict[str, str]]:
    """Name and labels of a series."""
    match = _SERIES.fullmatch(series)
    return (match[1], dict(_LABEL.findall(match[2] or ""))) if match else (series, {})


def fits(name: str, figure: Figure) -> bool:
    """True when the value has the type that this version expects under the name."""
    wanted = len(BOUNDS[name]) + 2 if name in BOUNDS else None
    return (len(figure) if isinstance(figure, list) else None) == wanted


def _samples(name: str, figure: Figure) -> Iterator[tuple[str, dict[str, str], float]]:
    if not isinstance(figure, list):
        yield "", {}, figure
        return
    *counts, total = figure
    for bound, count in zip((*BOUNDS[name], float("inf")), counts, strict=True):
        yield "_bucket", {"le": "+Inf" if bound == float("inf") else str(bound)}, count
    yield "_count", {}, counts[-1]
    yield "_sum", {}, total
