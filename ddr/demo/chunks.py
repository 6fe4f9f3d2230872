"""Reads pulled CGM chunks (Observation with valueSampledData) back into samples, and compares them with a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ddr.demo.sensor import Sample, Value


def samples_of(observations: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """The measured values of chunks in order of time, at the times of their slots; `E` marks no value."""
    return sorted((sample for chunk in observations for sample in _chunk_samples(chunk)), key=lambda sample: sample[0])


def _chunk_samples(observation: Mapping[str, Any]) -> list[Sample]:
    data = observation.get("valueSampledData")
    if data is None:
        return []
    begin_ms, period = start_ms(observation), float(data["period"])
    words = enumerate(data.get("data", "").split(" "))
    return [(round(begin_ms + slot * period), _value(word)) for slot, word in words if word not in ("", "E")]


def start_ms(observation: Mapping[str, Any]) -> int:
    """The begin of a chunk in milliseconds since 1970."""
    return round(datetime.fromisoformat(observation["effectivePeriod"]["start"]).timestamp() * 1000)


def _value(word: str) -> Value:
    return word if word in ("L", "U") else float(word)


def difference(pulled: Sequence[Sample], sent: Sequence[Sample], period_ms: int) -> str | None:
    """None when `pulled` holds exactly the values of `sent`, each within half a period of its time; else a fault."""
    if len(pulled) != len(sent):
        return f"{len(pulled)} values came back for {len(sent)} readings"
    for (slot_ms, shown), (at_ms, value) in zip(pulled, sent, strict=True):
        if shown != value or abs(slot_ms - at_ms) > period_ms / 2:
            return f"reading {value} came back as {shown}, {(slot_ms - at_ms) / 1000:.0f} s from its time"
    return None
