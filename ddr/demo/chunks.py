"""Reads pulled CGM chunks (Observation with valueSampledData) back into samples, and compares them with a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ddr.demo.sensor import Sample, Value


def samples_of(observations: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """The measured values of chunks in order of time, at the times of their slots; `E` means no value."""
    return sorted((sample for chunk in observations for sample in _chunk_samples(chunk)), key=lambda sample: sample[0])


def _chunk_samples(observation: Mapping[str, Any]) -> list[Sample]:
    data = observation.get("valueSampledData")
    if data is None:
        return []
    begin_ms, period = start_ms(observation), float(data["period"])
    words = enumerate(data.get("data", "").split(" "))
    return [(round(begin_ms + slot * period), _value(word)) for slot, word in words if word not in ("", "E")]


def start_ms(observation: Mapping[str, Any]) -> int:
    """The beginning of a chunk in milliseconds since 1970."""
    return round(datetime.fromisoformat(observation["effectivePeriod"]["start"]).timestamp() * 1000)


def _value(word: str) -> Value:
    return word if word in ("L", "U") else float(word)


def compare(pulled: Sequence[Sample], sent: Sequence[Sample], period_ms: int) -> tuple[int, str | None]:
    """How many readings of `sent` are not among the `pulled` values, and what is wrong, None when nothing is.

    Each value must be as sent and within half a period of its time. A reading may be missing only if another one is
    less than a period away: a slot shows one value, the nearer one.
    """
    rest, hidden = list(reversed(pulled)), 0
    for number, (at_ms, value) in enumerate(sent):
        if rest and rest[-1][1] == value and abs(rest[-1][0] - at_ms) <= period_ms / 2:
            rest.pop()
        elif any(abs(other_ms - at_ms) < period_ms for other_ms, _ in _beside(sent, number)):
            hidden += 1
        else:
            return hidden, f"reading {number + 1} of {len(sent)} did not come back"
    return hidden, f"{len(rest)} values came back that were never sent" if rest else None


def up_to(pulled: Sequence[Sample], sent: Sequence[Sample], period_ms: int) -> list[Sample]:
    """`pulled` as far as `sent` reaches: later values were sent after an earlier start, and are held back now."""
    last_ms = sent[-1][0] if sent else 0
    return [one for one in pulled if one[0] <= last_ms + period_ms / 2]


def _beside(samples: Sequence[Sample], number: int) -> Sequence[Sample]:
    return [*samples[max(0, number - 1) : number], *samples[number + 1 : number + 2]]
