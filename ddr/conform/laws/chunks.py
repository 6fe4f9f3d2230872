"""The rules for continuous series, over the chunks of one sensor (HDDT retrieving-data.md, measurement-cgm.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ddr.conform.exchange import Json
from ddr.conform.laws.naive import codings, references
from ddr.conform.laws.times import span
from ddr.durations import HOUR_MS, MINUTE_MS

_TOKEN = re.compile(r"E|L|U|-?\d{1,9}(\.\d+)?([eE][+-]?\d)?")
SECOND = 1000
LATE_MS = 6 * HOUR_MS  # after its end within which a full chunk must become final
ENDED = ("final", "amended", "corrected")


@dataclass(frozen=True)
class Chunk:
    """An Observation of continuous values; times in milliseconds. `step` is 0 where there is no data."""

    key: str
    status: str
    start: int
    end: int  # the last millisecond inside
    step: float
    tokens: tuple[str, ...]
    reason: str  # code of dataAbsentReason
    device: str = ""  # the reference, including its version

    @property
    def length(self) -> int:
        """Length of effectivePeriod."""
        return self.end + 1 - self.start

    @property
    def sampled_until(self) -> float:
        """Time of the last sample, or the start."""
        return self.start + self.step * max(0, len(self.tokens) - 1)

    @property
    def valued_until(self) -> float:
        """Time of the last sample that is a value, or the start."""
        last = max((place for place, sample in enumerate(self.tokens) if sample != "E"), default=0)
        return self.start + self.step * last


def is_sample(text: str) -> bool:
    """Whether it is a number, E, L or U."""
    return _TOKEN.fullmatch(text) is not None


def chunk(one: Json) -> Chunk:
    """The chunk in an Observation. Raises LookupError, ValueError."""
    period, data = one["effectivePeriod"], one.get("valueSampledData") or {}
    return Chunk(
        key=f"Observation/{one['id']}",
        status=str(one.get("status")),
        start=span(period["start"])[0],
        end=span(period["end"])[1],
        step=float(data.get("period", 0)),
        tokens=tuple(str(data.get("data", "")).split()),
        reason=next((code for _, code in codings(one.get("dataAbsentReason"))), ""),
        device=str((one.get("device") or {}).get("reference", "")),
    )


def series(observations: Iterable[Json]) -> dict[str, list[Chunk]]:
    """Chunks in order of time, by the target of their reference and their code; without those entered in error."""
    found: dict[str, list[Chunk]] = {}
    for one in observations:
        if "effectivePeriod" not in one or one.get("status") == "entered-in-error":
            continue
        if "valueSampledData" in one or "dataAbsentReason" in one:
            name = f"{next(references(one, 'device'), '')} {next(codings(one.get('code')), ('', ''))[1]}"
            found.setdefault(name, []).append(chunk(one))
    return {name: sorted(chunks, key=lambda one: one.start) for name, chunks in found.items()}


def the_span(chunks: Sequence[Chunk]) -> int:
    """The chunk time span: the longest effectivePeriod."""
    return max(one.length for one in chunks)


def recalibrated(one: Chunk, following: Chunk) -> bool:
    """Whether they refer to different versions of their DeviceMetric: HDDT lets a recorder store calibration states as
    versions of one, each of which begins a new chunk (retrieving-data.md)."""
    return one.device != following.device


def of_versions(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Chunks of a DeviceMetric with versions, where references name none: a shortened chunk with another one at its end
    may mark a change of the calibration."""
    longest, number, found = the_span(chunks), 0, list[Chunk]()
    for one in chunks:
        before = found[-1] if found else one
        cut = longest - before.length > SECOND and before.status in ENDED
        number += cut and abs(one.start - before.end) <= 2 * max(one.step, before.step, SECOND)
        found.append(replace(one, device=f"{one.device}, {number}"))
    return found


def lengths(chunks: Sequence[Chunk]) -> Iterator[str]:
    """All chunks have the span, except for a last one that has ended."""
    longest = the_span(chunks)
    for place, one in enumerate(chunks):
        if longest - one.length <= SECOND:
            continue
        if one.status not in ENDED:
            yield f"{one.key} is {one.status} and shorter than the span of {longest // SECOND} s"
        elif place < len(chunks) - 1 and not recalibrated(one, chunks[place + 1]):
            yield f"{one.key} is shorter than the span, and another chunk of the same sensor follows"


def preliminary(chunks: Sequence[Chunk]) -> Iterator[str]:
    """A preliminary chunk covers the whole span."""
    longest = the_span(chunks)
    for one in chunks:
        if one.status == "preliminary" and longest - one.length > SECOND:
            yield f"{one.key} is preliminary and covers {one.length // SECOND} s of {longest // SECOND}"


def overlaps(chunks: Sequence[Chunk]) -> Iterator[str]:
    """The samples of two chunks never overlap."""
    for one, following in pairwise(chunks):
        if one.tokens and following.start < one.sampled_until + one.step / 2:
            yield f"the samples of {one.key} and {following.key} overlap"
        elif following.start < one.start + one.length / 2:
            yield f"{one.key} and {following.key} overlap"


def grid(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Starts lie whole spans apart, within half a sampling period each. The end of a span may equal the beginning of
    the next one, as in HDDT's examples."""
    longest = round(the_span(chunks) / SECOND) * SECOND
    for one, following in pairwise(chunks):
        step, apart = max(one.step, following.step), following.start - one.start
        offs = [(apart + span // 2) % span - span // 2 for span in (longest, max(SECOND, longest - SECOND))]
        off = min(offs, key=abs)
        if step and abs(off) > step and not recalibrated(one, following):
            yield f"{following.key} starts {abs(off) / SECOND:.0f} s off the grid of {one.key}"


def data(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Each sample is a number, E, L or U, and there are no more of them than fit."""
    for one in chunks:
        wrong = [token for token in one.tokens if not is_sample(token)]
        if wrong:
            yield f"{one.key}: {wrong[0][:20]!r} is not a sample"
        elif one.tokens and one.step < SECOND:
            yield f"{one.key}: period is {one.step:g}, in milliseconds: no sensor measures that often"
        elif one.step and one.tokens and one.sampled_until > one.end:
            yield f"{one.key}: {len(one.tokens)} samples do not fit into the period"


def absent(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Without any value: temp-unknown, and preliminary, as long as values may come; gaps, or the reason of an error,
    when none will (HDDT measurement-cgm.md, which leaves open how a recorder ends chunks whose data is lost)."""
    for one in chunks:
        if set(one.tokens) == {"E"} and one.status not in ENDED:
            yield f"{one.key} holds only gaps but is not shown as temp-unknown"
        awaited = one.reason == "temp-unknown"
        good = awaited if one.status == "preliminary" else one.reason != "" and not awaited
        if not one.tokens and not good:
            yield f"{one.key} has no values, reason {one.reason or 'none'} and status {one.status}"


def future(chunks: Sequence[Chunk], now_ms: int) -> Iterator[str]:
    """No value is in the future, and nothing is final before its end."""
    for one in chunks:
        late = now_ms + max(one.step, MINUTE_MS)
        if one.tokens and one.valued_until > late:
            yield f"{one.key} has values in the future"
        if one.status in ENDED and one.end > late + one.step and one.sampled_until < one.end - one.step:
            yield f"{one.key} is {one.status} although its period has not ended"


def unfinished(chunks: Sequence[Chunk], now_ms: int) -> Iterator[str]:
    """A full chunk is final. With gaps it may stay preliminary for any time: HDDT says nothing about lost values."""
    for one in chunks:
        full = one.step and "E" not in one.tokens and one.sampled_until + 1.5 * one.step > one.end
        if full and one.status == "preliminary" and one.end + LATE_MS < now_ms:
            yield f"{one.key} is preliminary although it has all its values and ended hours ago"


def kept(before: Sequence[str], now: Sequence[str]) -> bool:
    """Whether a chunk that may grow has kept its content: gaps may be filled, values stay."""
    if len(now) < len(before):
        return all(old == "E" for old in before[len(now) :]) and kept(before[: len(now)], now)
    return all(old in ("E", new) for old, new in zip(before, now, strict=False))
