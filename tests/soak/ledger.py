"""Judges the responses to good and hostile clients: only requests affected by a current fault may fail."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

MOST_FINDINGS = 20  # of one kind in the report
PATIENCE_SECONDS = 10.0  # the longest that a well-behaved client waits when nothing is wrong
REFUSED = (408, 429, 503)


@dataclass
class Fault:
    """Something that is wrong with the world, until it is not felt any more. Seconds of a steady clock."""

    name: str
    begun: float
    ended: float = float("inf")

    def touches(self, begun: float, ended: float) -> bool:
        """True when what went on between these instants may have suffered."""
        return begun <= self.ended and ended >= self.begun


@dataclass
class Ledger:
    """What was seen so far."""

    faults: list[Fault] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    calm_seconds: list[float] = field(default_factory=list)  # of answers to well-behaved clients that nothing touched

    @contextmanager
    def fault(self, name: str, after: float) -> Iterator[None]:
        """While the context lasts, and `after` seconds more, clients may notice."""
        fault = Fault(name, time.monotonic())
        self.faults.append(fault)
        try:
            yield
        finally:
            fault.ended = time.monotonic() + after

    def disturbed(self, begun: float, ended: float) -> bool:
        """True when a fault touches what went on between these instants."""
        return any(fault.touches(begun, ended) for fault in reversed(self.faults))

    def found(self, kind: str, example: str) -> None:
        """Something does not hold."""
        self.findings[kind] += 1
        if self.findings[kind] <= MOST_FINDINGS:
            self.examples.append(f"{time.monotonic():.1f} {kind}: {example}")

    def refused(self, kind: str, answer: httpx.Response, begun: float, lasting: bool) -> None:
        """A well-behaved client got an error; `lasting`: one that no fault of the moment explains."""
        if lasting or not self.disturbed(begun, time.monotonic()):
            self.found(
                kind, f"{answer.request.method} {answer.request.url.path} {answer.status_code} {answer.text[:300]}"
            )

    def answered(self, who: str, answer: httpx.Response, begun: float, good: bool = True) -> None:
        """Note an answer to somebody; `good`: who behaves well, so that nobody may be the reason to refuse it."""
        ended, status = time.monotonic(), answer.status_code
        self.answers[f"{who} {status}"] += 1
        what = f"{who} {answer.request.method} {answer.request.url.path} {status} {answer.text[:200]}"
        if status >= 500 and (status != 503 or not answer.headers.get("retry-after", "").isdigit()):
            self.found("5xx that is no 503 with Retry-After", what)
        if not good or self.disturbed(begun, ended):
            return
        self.calm_seconds.append(ended - begun)
        if status in REFUSED:
            self.found("refused though nothing was wrong", what)
        if ended - begun > PATIENCE_SECONDS:
            self.found("answered late though nothing was wrong", f"{ended - begun:.1f} s {what}")

    def lost(self, who: str, error: httpx.TransportError | ssl.SSLError, begun: float) -> None:
        """Note a request of a well-behaved client without an answer."""
        self.answers[f"{who} {type(error).__name__}"] += 1
        if not self.disturbed(begun, time.monotonic()):
            self.found("no answer though nothing was wrong", f"{who} {type(error).__name__} {error}")

    def report(self) -> list[str]:
        """Lines for a person to read."""
        calm = sorted(self.calm_seconds) or [0.0]
        names = Counter(fault.name for fault in self.faults)
        return [
            "faults: " + ", ".join(f"{count} x {name}" for name, count in sorted(names.items())),
            "answers: " + ", ".join(f"{name}: {count}" for name, count in sorted(self.answers.items())),
            f"undisturbed answers: {len(calm)}, median {calm[len(calm) // 2]:.3f} s, "
            f"99 % within {calm[len(calm) * 99 // 100]:.3f} s, longest {calm[-1]:.3f} s",
            *self.examples,
        ]
