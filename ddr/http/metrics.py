"""What a worker counts and measures, with the `prometheus_client` library; ddr.http.fleet combines all workers.

Each label has few values, and none comes from outside: no person, device, client or address.

The library's own mechanism for several processes (files mapped into memory) is not used: a full disk would end a worker
at its next count, and each ended worker would leave files that every scrape must read.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric

from ddr.call import Call

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DELAYS = (10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86_400.0, 7 * 86_400.0)
ALL, OWN = "all", "work"  # phases: the whole request, and the time outside of ddr.call's phases
GONE = "client-gone"  # no answer was given

Figure = float | list[float]
"""A number; of a histogram the counts up to each bound, the last without bound, and the sum."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, which nobody asks for


class Metrics:
    """The counters and histograms of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        whose = ("listener", "interaction")
        self.requests = counter(
            "ddr_requests", "Requests by status of the response (0: no response)", (*whose, "status")
        )
        self.seconds = histogram(
            "ddr_request_seconds", "Duration of requests, in total and by phase", (*whose, "phase"), buckets=SECONDS
        )
        self.refusals = counter(
            "ddr_refusals", "Requests answered with 4xx or 5xx, or not at all, by reason", (*whose, "reason")
        )
        self.items = counter(
            "ddr_upload_items", "Readings and measurements sent by gateways", ("kind", "result", "reason")
        )
        self.delay = histogram(
            "ddr_ingestion_delay_seconds", "Age of the newest accepted value in each upload", ("miv",), buckets=DELAYS
        )
        self.resources = counter("ddr_resources_sent", "Resources in responses to DiGA", ("type",))
        self.tokens = counter("ddr_token_decisions", "Decisions about tokens", ("grant", "decision"))
        self.grace = counter("ddr_grace_decisions", "Decisions about Grace-Periods", ("decision",))
        # The library looks a series up under a lock, by texts made anew; there are only a few, so each is kept.
        self._requests, self._seconds = cache(self.requests.labels), cache(self.seconds.labels)

    def note(self, listener: str, interaction: str, status: int, call: Call) -> None:
        """A request has ended."""
        self._requests(listener, interaction, status).inc()
        if status >= 400 or not status:
            reason = call.reason or (str(status) if status else GONE)
            self.refusals.labels(listener, interaction, reason).inc()
        whole = call.seconds
        self._seconds(listener, interaction, ALL).observe(whole)
        for phase, seconds in call.phases.items():
            self._seconds(listener, interaction, phase).observe(seconds)
        self._seconds(listener, interaction, OWN).observe(max(0.0, whole - sum(call.phases.values())))

    def uploaded(self, kind: str, counts: Mapping[tuple[str, str], int]) -> None:
        """This many items of an upload got this result and reason (empty: none)."""
        for (result, reason), count in counts.items():
            self.items.labels(kind, result, reason).inc(count)

    def answered(self, kind: str, answers: Iterable[Mapping[str, object]], result: str) -> None:
        """The answers to the items of an upload; `result` is the member that says what became of an item."""
        self.uploaded(kind, Counts((str(one[result]), str(one.get("reason", ""))) for one in answers))

    def arrived(self, miv: str, age_ms: int) -> None:
        """An upload was accepted whose newest value is this old."""
        self.delay.labels(miv).observe(max(0, age_ms) / 1000)

    def figures(self) -> dict[str, Figure]:
        """All figures, by name with labels; short enough to be sent every second."""
        found: dict[str, Figure] = {}
        for family in self.registry.collect():
            if family.type == "histogram":
                found |= _histograms(family)
            else:
                found |= {series(one.name, one.labels): one.value for one in family.samples}
        return found


def series(name: str, labels: Mapping[str, str]) -> str:
    """Name and labels in Prometheus format; our values need no escapes."""
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def _histograms(family: Metric) -> dict[str, Figure]:
    found: dict[str, list[float]] = {}
    for one in family.samples:
        if one.name.endswith(("_bucket", "_sum")):  # the sum comes after the last bucket
            labels = {key: value for key, value in one.labels.items() if key != "le"}
            found.setdefault(series(family.name, labels), []).append(one.value)
    return dict(found)
