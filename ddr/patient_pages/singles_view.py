"""What the patient's page says about single measurements: a curve for each kind and unit, and all of them in a list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from markupsafe import Markup

from ddr.aside import aside
from ddr.http.core import Core
from ddr.patient_pages.dates import ZONE, short_day
from ddr.patient_pages.names import title_of
from ddr.patient_pages.numbers import local
from ddr.patient_pages.single_values import values
from ddr.patient_pages.texts import text
from ddr.patient_pages.trend import Course, trend_chart
from ddr.series.days import local_day, midnight
from ddr.store.database.pool import Row
from ddr.store.patients import export

MARKED = 5  # days written below a curve
LARGE_ROWS = 20  # rows that are read and drawn in a thread


@dataclass(frozen=True)
class Trend:
    """One kind of single measurement over a period."""

    title: str
    unit: str
    first: date
    last: date
    count: int
    names: tuple[str, ...]  # of the curves, in their order; empty for a single one
    chart: Markup


class _Point(NamedTuple):
    """A value: part of the time from 0 to 1, number, and its text in lists, with its comparator if any."""

    part: float
    number: float
    text: str

    def rank(self) -> tuple[float, int]:
        """The sort key: `<20` comes before 20, and `>600` after 600."""
        return self.number, {"<": -1, ">": 1}.get(self.text[0], 0)


async def trends(core: Core, patient_id: UUID, last: date, days: int, lang: str) -> list[Trend]:
    """The curves of the `days` up to `last`, one for each kind and unit that has more than one value."""
    first = last - timedelta(days=days - 1)
    from_ms, until_ms = midnight(first, ZONE), midnight(last + timedelta(days=1), ZONE)
    rows = await export.measurements_between(core.pool, patient_id, from_ms, until_ms)
    return await aside(len(rows) > LARGE_ROWS, _drawn, core, rows, first, last, lang)


def _drawn(core: Core, rows: Sequence[Row], first: date, last: date, lang: str) -> list[Trend]:
    from_ms, until_ms = midnight(first, ZONE), midnight(last + timedelta(days=1), ZONE)
    days = (last - first).days + 1
    found: dict[tuple[str, str], dict[str, list[_Point]]] = defaultdict(lambda: defaultdict(list))
    names: dict[str, str] = {}
    for row in rows:
        part = (row["effective_ms"] - from_ms) / (until_ms - from_ms)
        for value in values(row, lang):
            if value.text:
                point = _Point(part, float(value.text.lstrip("<>")), value.text)
                found[row["miv_url"], value.unit][value.code].append(point)
                names[value.code] = value.name
    written = [min(days - 1, days * at // (MARKED - 1)) for at in range(MARKED)]
    marked = [((on + 0.5) / days, short_day(lang, first + timedelta(days=on))) for on in written]
    told = []
    for (valueset, unit), courses in found.items():
        count = max(map(len, courses.values()))
        if count > 1:
            title = title_of(core, valueset, lang)
            drawn = [Course(names[code], [one[:2] for one in points]) for code, points in courses.items()]
            words = " ".join(_words(names[code], points, unit, lang) for code, points in courses.items())
            chart = trend_chart(drawn, marked, lang, title, words)
            labels = tuple(course.name for course in drawn if course.name)
            told.append(Trend(title, unit, first, last, count, labels, chart))
    return told


def _words(name: str, points: Sequence[_Point], unit: str, lang: str) -> str:
    lowest, highest = (pick(points, key=_Point.rank) for pick in (min, max))
    return text(
        lang,
        "data.trend_words" if len(points) > 1 else "data.trend_words_of_one",
        course=f"{name}: " if name else "",
        count=len(points),
        lowest=local(lang, lowest.text),
        highest=local(lang, highest.text),
        unit=unit,
    )


def last_day(rows: Sequence[Row], now_ms: int) -> date | None:
    """The German day of the newest of `rows` up to now: a reference value may apply from next year on."""
    return next((local_day(row["effective_ms"], ZONE) for row in rows if row["effective_ms"] <= now_ms), None)
