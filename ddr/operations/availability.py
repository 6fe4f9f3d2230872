"""Availability of a calendar month by the specification's rules (operational-requirements.md, Availability; OPS-001).

It is counted over the whole month, 24 hours a day. Maintenance is planned if it was announced with start, end, impact
and contact five business days ahead, or was too urgent for security to wait; it is taken out of the calculation. Any
other time in which a function towards DiGA was unavailable is downtime, counted once however many functions and sources
report it. Restrictions (demoted) and limits are not downtime, nor are failures after the recorder has left the HIIS-VZ.
Evidence that an operator retracted as untrue does not count, and the report says who retracted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ddr.fhir.instants import date_time
from ddr.operations.business_days import ZONE, earliest
from ddr.operations.status.functions import HOLDUP, INGESTION, RETIRED, TOWARDS_DIGA
from ddr.store.outages.events import Event
from ddr.store.outages.notices import Notice
from ddr.store.outages.retractions import Retraction

GOAL = 0.995
UNAVAILABLE = "unavailable"
NONE: Mapping[str, Retraction] = MappingProxyType({})


class Span(NamedTuple):
    """A period in milliseconds, its end excluded."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True)
class Item:
    """A piece of evidence: when, what, its source, and how it counts."""

    span: Span
    source: str  # notice | check | probe
    cause: str
    counts: str  # planned | down | nothing
    why: str = ""


@dataclass(frozen=True)
class Result:
    """The figures of a month, in milliseconds, and the evidence behind them."""

    month: Span
    until_ms: int  # end of the counted time: the end of the month, or now
    items: Sequence[Item]
    planned_ms: int
    down_ms: int

    @property
    def counted_ms(self) -> int:
        """The time that counts: without planned unavailability."""
        return self.until_ms - self.month.from_ms - self.planned_ms

    @property
    def availability(self) -> float:
        """As a share of 1; 1 where no time counts."""
        return 1 - self.down_ms / self.counted_ms if self.counted_ms else 1.0


def month_of(text: str, zone: ZoneInfo) -> Span:
    """ "2027-07" as a span of local time. Raises ValueError."""
    begin = datetime.strptime(text, "%Y-%m").replace(tzinfo=zone)
    end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return Span(int(begin.timestamp() * 1000), int(end.timestamp() * 1000))


def compute(
    month: Span,
    now_ms: int,
    notices: Iterable[Notice],
    events: Iterable[Event],
    probe: Iterable[Item] = (),
    retracted: Mapping[str, Retraction] = NONE,
) -> Result:
    """The availability of this month as far as it has passed; `retracted`: retracted notices and events."""
    until_ms = max(month.from_ms, min(month.until_ms, now_ms))
    window = Span(month.from_ms, until_ms)
    notices, events = list(notices), list(events)
    said = [(of_notice(one), retracted.get(one.notice)) for one in notices]
    said += [
        (one, None) for one in of_closed_ingestion(notices, (e for e in events if e.name not in retracted), now_ms)
    ]
    said += [(of_event(one, now_ms), retracted.get(one.name)) for one in events]
    evidence = [*(taken_back(item, by) if by else item for item, by in said), *probe]
    items = sorted(
        (Item(span, one.source, one.cause, one.counts, one.why) for one in evidence if (span := cut(one.span, window))),
        key=lambda one: one.span,
    )
    planned = union(one.span for one in items if one.counts == "planned")
    gone = union(of_event(one, now_ms).span for one in events if one.key == RETIRED and one.name not in retracted)
    down = subtract(subtract(union(one.span for one in items if one.counts == "down"), planned), gone)
    return Result(month, until_ms, items, total(planned), total(down))


def of_notice(notice: Notice) -> Item:
    """How an operator's notice counts."""
    span = Span(notice.from_ms, notice.end_ms if notice.end_ms is not None else 2**53)
    source = f"notice {notice.notice}"
    if notice.cancelled_ms is not None or notice.state != UNAVAILABLE or not _towards_diga(notice.functions):
        why = "cancelled" if notice.cancelled_ms is not None else "no function for DiGA was unavailable"
        return Item(span, source, notice.cause, "nothing", why)
    if not notice.planned:
        return Item(span, source, notice.cause, "down", "a disruption")
    if not (notice.impact and notice.contact):
        return Item(span, source, notice.cause, "down", "announced without impact or contact")
    if why := _taken_out(notice):
        return Item(span, source, notice.cause, "planned", why)
    return Item(span, source, notice.cause, "down", "announced too late")


def of_closed_ingestion(notices: Iterable[Notice], events: Iterable[Event], now_ms: int) -> Iterator[Item]:
    """Data was late because maintenance stopped ingestion: within a window that met the rules it counts as planned,
    too."""
    closed = [
        (Span(one.from_ms, one.end_ms or now_ms), one, why)
        for one in notices
        if INGESTION in one.functions and not _towards_diga(one.functions) and (why := _taken_out(one))
    ]
    for event in events:
        for window, notice, why in closed if event.key.startswith(HOLDUP) else ():
            if span := cut(of_event(event, now_ms).span, window):
                yield Item(span, f"notice {notice.notice}", notice.cause, "planned", f"{why}; no data was accepted")


def _taken_out(notice: Notice) -> str:
    """Why maintenance is taken out of the calculation; empty if it is not."""
    closed = notice.planned and notice.cancelled_ms is None and notice.state == UNAVAILABLE
    if not (closed and notice.impact and notice.contact):
        return ""
    announced = datetime.fromtimestamp(notice.announced_ms / 1000, ZONE)
    if notice.from_ms >= int(earliest(announced).timestamp() * 1000):
        return f"announced {announced.isoformat(timespec='minutes')}"
    return f"urgent for security: {notice.urgent_reason}" if notice.urgent_reason else ""


def taken_back(item: Item, retraction: Retraction) -> Item:
    """The evidence, not counting because an operator retracted it."""
    why = f"retracted by {retraction.by}, {date_time(retraction.at_ms // 1000 * 1000)}: {retraction.reason}"
    return replace(item, counts="nothing", why=why)


def of_event(event: Event, now_ms: int) -> Item:
    """How a state found by the checks counts."""
    source = f"check {event.key}, {event.name}"
    span = Span(event.from_ms, now_ms if event.until_ms is None else event.until_ms)
    if event.key == RETIRED:
        return Item(
            span, source, event.cause, "nothing", "the recorder had left the HIIS-VZ: there was no service to offer"
        )
    if event.state == UNAVAILABLE and _towards_diga(event.functions):
        return Item(span, source, event.cause, "down")
    return Item(span, source, event.cause, "nothing", "no function for DiGA was unavailable")


def _towards_diga(functions: Iterable[str]) -> bool:
    return any(name.partition(":")[0] in TOWARDS_DIGA for name in functions)


def cut(span: Span, window: Span) -> Span | None:
    """The part of `span` inside `window`; None when there is none."""
    found = Span(max(span.from_ms, window.from_ms), min(span.until_ms, window.until_ms))
    return found if found.from_ms < found.until_ms else None


def union(spans: Iterable[Span]) -> list[Span]:
    """The same times without overlaps, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.from_ms <= found[-1].until_ms:
            found[-1] = Span(found[-1].from_ms, max(found[-1].until_ms, span.until_ms))
        else:
            found.append(span)
    return found


def subtract(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of `spans` outside all `others`; both as `union` returns them."""
    found = list(spans)
    for other in others:
        found = [
            part
            for span in found
            for part in (
                Span(span.from_ms, min(span.until_ms, other.from_ms)),
                Span(max(span.from_ms, other.until_ms), span.until_ms),
            )
            if part.from_ms < part.until_ms
        ]
    return found


def total(spans: Iterable[Span]) -> int:
    """Their total length; they must not overlap."""
    return sum(span.until_ms - span.from_ms for span in spans)
