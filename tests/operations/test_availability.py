"""The calculation of a month's availability: its laws, the rules of the specification, and a probe's file."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.operations import calls, probes
from ddr.operations.availability import Item, Result, Span, compute, month_of, subtract, total, union
from ddr.operations.calls import Call
from ddr.store.outages.events import Event
from ddr.store.outages.notices import Notice
from ddr.store.outages.retractions import Retraction

BERLIN = ZoneInfo("Europe/Berlin")
MONTH = month_of("2027-07", BERLIN)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LATER = MONTH.until_ms + DAY
START = MONTH.from_ms + 10 * DAY + 10 * HOUR


def window(from_ms: int = START, hours: float = 2, announced_days: int = 9, **members: object) -> Notice:
    values: dict[str, object] = {
        "notice": "abc",
        "planned": True,
        "state": "unavailable",
        "functions": ["data"],
        "from_ms": from_ms,
        "until_ms": from_ms + int(hours * HOUR),
        "cause": "Release",
        "cause_de": "",
        "impact": "No data",
        "impact_de": "",
        "contact": "ops@example.com",
        "urgent_reason": None,
        "announced_ms": from_ms - announced_days * DAY,
        "changed_ms": 0,
    }
    return Notice(**{**values, **members})  # type: ignore[arg-type]


def outage(from_ms: int, ms: int, *functions: str, state: str = "unavailable") -> Event:
    return Event("database", state, functions or ("token",), "away", "weg", from_ms, from_ms + ms)


def july(notices: list[Notice], events: list[Event], probe: list[Item] | None = None) -> Result:
    return compute(MONTH, LATER, notices, events, probe or [])


def test_a_recorder_that_has_left_is_not_down() -> None:
    gone = Event("retired", "unavailable", ["pairing", "token", "data", "summary"], "gone", "weg", START, number=1)
    result = july([], [gone])
    assert (result.down_ms, result.planned_ms, [one.counts for one in result.items]) == (0, 0, ["nothing"])
    assert july([], [gone, outage(START - HOUR, 3 * HOUR)]).down_ms == HOUR, "nor when something fails then"
    taken_back = {gone.name: Retraction(gone.name, True, "Ada", "a slip", LATER)}
    assert compute(MONTH, LATER, [], [gone, outage(START, HOUR)], [], taken_back).down_ms == HOUR


def test_months_are_those_of_the_calendar_there() -> None:
    assert total([MONTH]) == 31 * DAY
    assert total([month_of("2027-03", BERLIN)]) == 31 * DAY - HOUR, "the clock is put forward"
    assert month_of("2027-12", BERLIN).until_ms == month_of("2028-01", BERLIN).from_ms
    for wrong in ("2027", "2027-13", "July"):
        with pytest.raises(ValueError):
            month_of(wrong, BERLIN)


@pytest.mark.requirement("OPS-001")
def test_nothing_happened() -> None:
    assert july([], []).availability == 1


@pytest.mark.requirement("OPS-001", "OPS-003")
def test_what_was_announced_in_time_is_taken_out() -> None:
    result = july([window()], [outage(START + HOUR, 90 * MINUTE)])
    assert (result.planned_ms, result.down_ms) == (2 * HOUR, 30 * MINUTE), "what lasted longer than announced is down"
    assert result.availability == 1 - 30 * MINUTE / (31 * DAY - 2 * HOUR)


@pytest.mark.requirement("OPS-001", "OPS-003")
@pytest.mark.parametrize(
    ("notice", "planned", "down"),
    [
        (window(announced_days=3), 0, 2),
        (window(announced_days=3, urgent_reason="CVE"), 2, 0),
        (window(contact=""), 0, 2),
        (window(impact=""), 0, 2),
        (window(cancelled_ms=5), 0, 0),
        (window(state="demoted"), 0, 0),
        (window(functions=["ingestion"]), 0, 0),
        (window(planned=False), 0, 2),
        (window(ended_ms=START + HOUR), 1, 0),
        (window(from_ms=MONTH.from_ms - HOUR), 1, 0),
        (window(from_ms=MONTH.until_ms - HOUR), 1, 0),
        (window(planned=False, until_ms=None, from_ms=MONTH.until_ms - 3 * HOUR), 0, 3),
    ],
)
def test_how_a_notice_counts(notice: Notice, planned: int, down: int) -> None:
    result = july([notice], [])
    assert (result.planned_ms, result.down_ms) == (planned * HOUR, down * HOUR)


@pytest.mark.requirement("OPS-001")
@pytest.mark.parametrize(
    ("members", "planned", "down"),
    [
        ({}, 90, 60),  # what came after the window
        ({"announced_days": 3}, 0, 150),
        ({"announced_days": 3, "urgent_reason": "CVE"}, 90, 60),
        ({"contact": ""}, 0, 150),
        ({"planned": False}, 0, 150),
        ({"state": "demoted"}, 0, 150),
        ({"functions": ["summary", "ingestion"]}, 120, 60),
    ],
)
def test_data_that_planned_maintenance_of_ingestion_keeps_out_is_planned(
    members: dict[str, Any], planned: int, down: int
) -> None:
    """The Vendor-Holdup is over half an hour after the begin; no other fault during that time is planned."""
    notice = window(**{"functions": ["ingestion"], **members})
    late = [
        Event(f"holdup-{miv}", "unavailable", [f"data:{miv}"], "late", "spät", START + HOUR // 2, START + 3 * HOUR)
        for miv in ("a", "b")
    ]
    result = july([notice], late)
    assert (result.planned_ms, result.down_ms) == (planned * MINUTE, down * MINUTE)
    if notice.functions == ["ingestion"]:
        assert july([notice], [outage(START, HOUR)]).down_ms == HOUR


@pytest.mark.requirement("OPS-001")
def test_each_moment_counts_once_and_restrictions_do_not() -> None:
    spans = [
        outage(START, HOUR, "token"),
        outage(START + HOUR // 2, HOUR, "data:x"),
        outage(START, DAY, "ingestion"),
        outage(START, DAY, "data:x", state="demoted"),
    ]
    probe = [Item(Span(START + HOUR, START + 2 * HOUR), "probe", "no answer", "down")]
    assert july([], spans, probe).down_ms == 2 * HOUR


def test_a_month_that_goes_on_is_counted_until_now() -> None:
    result = compute(MONTH, START, [], [Event("k", "unavailable", ["token"], "", "", START - HOUR)])
    assert (result.until_ms, result.down_ms) == (START, HOUR)


SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10)).map(lambda pair: Span(pair[0], sum(pair))))


@given(SPANS, SPANS)
def test_laws_of_spans(ones: list[Span], others: list[Span]) -> None:
    def moments(spans: list[Span]) -> set[int]:
        return {at for span in spans for at in range(*span)}

    assert moments(union(ones)) == moments(ones)
    assert total(union(ones)) == len(moments(ones))
    assert moments(subtract(union(ones), union(others))) == moments(ones) - moments(others)


CSV = """time,status,cause,endpoint
2027-07-11T10:00:00Z,200,,a
2027-07-11T10:01:00Z,503,dependency-failed,a
2027-07-11T10:03:00Z,429,,a
2027-07-11T10:04:00Z,503,rate-limit,a
2027-07-11T10:05:00Z,0,,a
2027-07-11T10:06:00Z,401,,a
2027-07-11T10:01:30Z,200,,b
2027-07-11T10:05:30+00:00,500,,b
"""
LINES = "\n".join(
    f'{{"time": "{time}", "status": {status}, "cause": "{cause}", "endpoint": "{endpoint}"}}'
    for time, status, cause, endpoint in (line.split(",") for line in CSV.splitlines()[1:])
)


@pytest.mark.requirement("OPS-001")
@pytest.mark.parametrize("text", [CSV, LINES])
def test_a_probe_sees_downtime_from_a_failed_look_to_the_next(text: str) -> None:
    found = probes.downtimes(probes.read(text))
    assert sorted((one.span.until_ms - one.span.from_ms) // 1000 for one in found) == [60, 120, 600]
    spans = union(one.span for one in found)
    assert total(spans) == (120 + 30 + 600) * 1000, "the last look counts for ten minutes"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("time,status\nyesterday,200\n", "line 2"),
        ("time,status\n2027-07-11T10:00:00Z,\n", "line 2"),
        ("time,status\n2027-07-11T10:00:00Z,200\n\n\n2027-07-11T10:01:00Z,\n", "line 5"),
        ('{"time": "2027-07-11T10:00:00Z", "status": 200, "cause": "a\u2028b"}\n{"time"', "line 2"),
        ("when,status\n2027-07-11T10:00:00Z,200\n", "time is missing"),
        ("time,status\n2027-07-11T10:00:00Z,42\n", "not an HTTP status"),
        ('{"time": "2027-07-11T10:00:00Z", "status": 200}\n{"time"', "line 2"),
        ('{"time": "2027-07-11T10:00:00Z", "status": null}\n', "line 1"),
        ('time,status\n"' + "x" * 200_000, "is not CSV: field larger than field limit"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(text: str, told: str) -> None:
    with pytest.raises(probes.ProbeError, match=told):
        probes.read(text)


def call(second: int, path: str = "/oauth/token", status: int | None = 503, **members: object) -> str:
    at = f"2027-07-11T10:{second // 60:02}:{second % 60:02}.000+00:00"
    return json.dumps({"timestamp": at, "partner_id": f"ddr.example.org{path}", "status": status, **members})


@pytest.mark.requirement("OPS-001")
@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([call(at) for at in range(0, 50, 10)] + [call(55, status=400)], [55]),
        ([call(at) for at in range(0, 40, 10)] + [call(55, status=200)], []),
        ([call(at, status=500 if at % 3 else 200) for at in range(60)], []),
        ([call(at, status=429) for at in range(60)], []),
        ([call(at, error_code="throttled") for at in range(60)], []),
        ([call(at, error_code="planned-maintenance") for at in range(60)], []),
        ([call(at, status=None) for at in range(60)], []),
        ([call(at, path="/fhir/metadata") for at in range(60)], []),
        ([call(at, path="/fhir/Observation") for at in range(60)] + [call(at, status=200) for at in range(90)], [59]),
        ([call(at * 300) for at in range(3)] + [call(1500 + at) for at in range(5)], [4]),
    ],
)
def test_the_log_tells_of_rows_of_failed_calls(lines: list[str], seconds: list[int]) -> None:
    found = calls.downtimes(lambda: calls.read(reversed(lines)))
    assert [(one.span.until_ms - one.span.from_ms) // 1000 for one in found] == seconds


def test_of_calls_that_were_answered_few_are_kept() -> None:
    """A month has a hundred million of them, which do not fit into memory."""
    many = 100_000

    def month() -> Iterator[Call]:
        yield from ((at * 25, "token", False) for at in range(many))
        yield from ((1_000_000 + at, "token", True) for at in range(calls.FEW))

    tracemalloc.start()
    try:
        found = calls.downtimes(month)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.span for one in found] == [Span(1_000_000, 1_000_025)]
    assert most < many


def naive(told: list[Call]) -> list[tuple[int, int]]:
    """Rows of failed calls, found by looking at each call."""
    found, row = list[tuple[int, int]](), list[int]()
    for at_ms, _, failed in [*sorted(told), (2**53, "token", False)]:
        if row and (not failed or at_ms - row[-1] > probes.GAP_MS):
            last = row[-1] if at_ms == 2**53 else min(at_ms, row[-1] + probes.GAP_MS)
            found += [(row[0], max(last, row[0] + 1))] if len(row) >= calls.FEW else []
            row = []
        row += [at_ms] if failed else []
    return found


@given(
    st.lists(st.tuples(st.integers(0, 40), st.just("token"), st.booleans()), max_size=60), st.sampled_from((1, 10**5))
)
def test_rows_of_failed_calls_are_those_of_all_calls(some: list[Call], apart: int) -> None:
    told = [(at * apart, function, failed) for at, function, failed in some]
    assert [tuple(one.span) for one in calls.downtimes(lambda: told)] == naive(told)


def test_a_line_that_is_no_record_is_named() -> None:
    for wrong in (
        '{"manifest": {}}',
        '{"manifest": {"filters": {"since_ms": "x"}}}',
        "{}",
        "[]",
        "x",
        call(1).replace("503", "[]"),
    ):
        with pytest.raises(probes.ProbeError, match="line 2"):
            list(calls.read([call(1), wrong]))
