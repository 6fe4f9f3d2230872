"""Times in files: formats, order of day and month, and the hour that occurs twice."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.imports.times import instants

BERLIN = ZoneInfo("Europe/Berlin")
CHANGE = datetime(2026, 10, 25, 1, tzinfo=UTC)  # 3:00 summer time becomes 2:00 winter time


def read(*texts: str) -> list[str | None]:
    found = instants(texts, [""] * len(texts), BERLIN)
    return [time if time is None else f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%dT%H:%M:%S}" for time in found]


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-03T08:30:00",
        "2026-04-03 08:30",
        "2026/04/03 08:30:00",
        "03.04.2026 08:30",
        "03-04-2026 08:30",
        "3.4.26 8:30",
        "03.04.2026, 08:30 Uhr",
        "3 Apr 2026 08:30",
        "Apr 3, 2026 8:30 AM",
        "2026-04-03T06:30:00Z",
        "2026-04-03T08:30:00.000+02:00",
        "2026-04-03T06:30:00+00",
    ],
)
def test_usual_forms(text: str) -> None:
    assert read(text) == ["2026-04-03T06:30:00"]


def test_the_column_tells_whether_days_come_first() -> None:
    assert read("03-04-2026 08:30", "13-04-2026 08:30")[0] == "2026-04-03T06:30:00"
    assert read("04-03-2026 08:30", "04-13-2026 08:30")[0] == "2026-04-03T06:30:00"
    assert read("04-03-2026 08:30 AM")[0] == "2026-04-03T06:30:00"


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M", "%m-%d-%y %I:%M %p", "%d-%m-%Y %I:%M %p", "%d/%m/%Y %H:%M"])
def test_neighbours_at_midnight_tell_it_where_no_day_is_above_the_twelfth(form: str, falling: bool) -> None:
    """Before: such days of June were the sixth of each month, or those of a.m. and p.m. in days first."""
    texts = [f"{datetime(2026, 6, 9, 21) + timedelta(minutes=15 * step):{form}}" for step in range(4 * 4)]
    found = read(*(reversed(texts) if falling else texts))
    assert (min(map(str, found)), max(map(str, found))) == ("2026-06-09T19:00:00", "2026-06-09T22:45:00")


@pytest.mark.parametrize(
    "text", ["", "x", "2026-13-45 08:00", "31.02.2026 08:00", "2026-04-03 25:00", "12", "2026-04-03", "3. Apr 2026"]
)
def test_what_is_no_time(text: str) -> None:
    assert read(text) == [None]


steps = st.lists(st.sampled_from([1, 5, 15]), min_size=1, max_size=1)


@given(step=st.sampled_from([1, 5, 15]), falling=st.booleans(), whole=st.integers(30, 200))
def test_the_doubled_hour_is_read_as_it_was(step: int, falling: bool, whole: int) -> None:
    """A sensor that goes on measuring through the night of the change, listed up or down."""
    times = [CHANGE + timedelta(minutes=step * at) for at in range(-whole, whole)]
    if falling:
        times.reverse()
    local = [f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M}" for time in times]
    found = instants(local, [""] * len(local), BERLIN)
    assert found == [int(time.timestamp() * 1000) for time in times]


def test_both_hours_sorted_together() -> None:
    assert read("2026-10-25 02:00", "2026-10-25 02:00", "2026-10-25 02:15", "2026-10-25 02:15") == [
        "2026-10-25T00:00:00",
        "2026-10-25T01:00:00",
        "2026-10-25T00:15:00",
        "2026-10-25T01:15:00",
    ]


@given(step=st.sampled_from([5, 15]), drift=st.integers(0, 3), whole=st.integers(30, 60))
def test_both_hours_sorted_together_after_a_drift(step: int, drift: int, whole: int) -> None:
    """The second hour's minutes are others than the first one's, so no time stands there twice."""
    times = [CHANGE + timedelta(minutes=step * at + (drift if at >= 0 else 0)) for at in range(-whole, whole)]
    told = sorted((f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M}", time) for time in times)
    found = instants([text for text, _ in told], [""] * len(told), BERLIN)
    assert found == [int(time.timestamp() * 1000) for _, time in told]


@pytest.mark.parametrize("present", [range(-24, 0), range(-24, 24), [*range(-36, -12), *range(12)]])
def test_a_clock_that_nobody_sets_settles_the_doubled_hour(present: Iterable[int]) -> None:
    times = [CHANGE + timedelta(minutes=5 * at) for at in (*present, *range(12, 24))]
    told = sorted((f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M}", time) for time in times)
    ticks = [int((time - CHANGE).total_seconds()) + 1_000_000 for _, time in told]
    found = instants([text for text, _ in told], [""] * len(told), BERLIN, ticks)
    assert found == [int(time.timestamp() * 1000) for _, time in told]


def test_a_column_that_does_not_count_is_no_clock() -> None:
    times = [CHANGE + timedelta(minutes=5 * at) for at in range(24, -24, -1)]
    local = [f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M}" for time in times]
    found = instants(local, [""] * len(local), BERLIN, [100] * len(local))
    assert found == [int(time.timestamp() * 1000) for time in times]


@pytest.mark.parametrize("begins", range(12))
@pytest.mark.parametrize("falling", [False, True])
def test_a_file_that_begins_in_the_second_hour_goes_on_from_there(begins: int, falling: bool) -> None:
    """A new sensor, or an export that starts there: nothing before it tells which hour it is, what follows does."""
    times = [CHANGE + timedelta(minutes=5 * at) for at in range(begins, 40)]
    if falling:
        times.reverse()
    local = [f"{time.astimezone(BERLIN):%Y-%m-%d %H:%M}" for time in times]
    assert instants(local, [""] * len(local), BERLIN) == [int(time.timestamp() * 1000) for time in times]


def test_one_hour_alone_belongs_to_its_neighbours() -> None:
    assert read("2026-10-25 01:55", "2026-10-25 02:00", "2026-10-25 03:30")[1] == "2026-10-25T00:00:00"
    assert read("2026-10-25 00:30", "2026-10-25 02:55", "2026-10-25 03:00")[1] == "2026-10-25T01:55:00"


@pytest.mark.parametrize("before", ["19:00", "22:00", "23:30"])
def test_measurements_a_minute_apart_stay_so_in_the_doubled_hour(before: str) -> None:
    """A cuff or a meter is used a few times a day: there are no steps that tell the two hours apart."""
    days = [f"2026-10-{day} {clock}" for day in (21, 22, 23) for clock in ("07:00", "19:00")]
    found = read(*days, f"2026-10-24 {before}", "2026-10-25 02:10", "2026-10-25 02:11", "2026-10-25 07:00")
    first, second = (datetime.fromisoformat(str(text)) for text in found[-3:-1])
    assert second - first == timedelta(minutes=1)
