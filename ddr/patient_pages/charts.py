"""Glucose as pictures: the ambulatory glucose profile and one day's curve, as SVG without styles of its own (CSP).

Colours and sizes come from the stylesheet. Words and numbers beside a picture say what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from ddr.patient_pages.numbers import halves_up, local
from ddr.series.glucose import MG_PER_MMOL
from ddr.series.profile import MINUTES, TimeOfDay

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 88, 12, 14, 44
LOWEST, HIGHEST = 40.0, 400.0  # mg/dL; values beyond are drawn at the edge
USUAL_TOP = 300.0
LINES = (70.0, 180.0, 54.0, 250.0, 300.0, 400.0)  # mg/dL; the first two are the ends of the target range
MMOL = dict(zip(LINES, ("3.9", "10.0", "3.0", "13.9", "16.7", "22.2"), strict=True))
STEP = 15  # minutes of the day for each point of the profile
HOURS = (0, 6, 12, 18, 24)
USUAL_DAY = {hour: hour / 24 for hour in HOURS}

Point = tuple[float, float]
"""Part of the day from 0 to 1, and mg/dL."""
Mark = tuple[float, str]
"""Part of the day from 0 to 1, and what happened: "sensor" or "calibration"."""


def profile_chart(steps: Sequence[TimeOfDay], unit: str, lang: str, title: str, text: str) -> Markup:
    """The profile: the median, and the bands that hold half and nine tenths of the values."""
    top = _top(place for one in steps for place in one.percentiles)
    runs = _runs(steps)
    bands = "".join(_band(run, low, high, name, top) for run in runs for low, high, name in BANDS)
    medians = "".join(_line(_points(run, 2), "median", top) for run in runs)
    return picture(_frame(unit, lang, top, USUAL_DAY) + bands + medians + _ends(top), title, text)


BANDS = ((0, 4, "wide"), (1, 3, "narrow"))  # places in ddr.series.profile.PERCENTILES


def day_chart(
    curve: Iterable[Sequence[Point]],
    marks: Iterable[Mark],
    unit: str,
    lang: str,
    title: str,
    text: str,
    hours: Mapping[int, float] = USUAL_DAY,
) -> Markup:
    """The curve of one day, in pieces without a gap; `marks` are changes of the sensor and calibrations.

    `hours`: the part of the day that has passed when clocks show each of HOURS; a day may have 23 or 25 hours.
    """
    pieces = list(curve)
    top = _top(value for piece in pieces for _, value in piece)
    lines = "".join(_line(piece, "curve", top) if len(piece) > 1 else _dot(piece[0], top) for piece in pieces)
    return picture(_frame(unit, lang, top, hours) + _marks(marks) + lines + _ends(top), title, text)


def shown(mg_dl: float, unit: str) -> str:
    """A value in the patient's unit with the usual decimals, and a decimal point."""
    return halves_up(mg_dl / float(MG_PER_MMOL), 1) if unit == "mmol/L" else halves_up(mg_dl, 0)


def picture(content: str, title: str, text: str) -> Markup:
    """`content` as a picture; `title` and `text` describe it for those who cannot see it."""
    opening = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, f"{title}. {text}"
    )
    return opening + Markup(content + "</svg>")  # noqa: S704 - numbers and words of ours


def _top(values: Iterable[float]) -> float:
    return USUAL_TOP if max(values, default=0) <= USUAL_TOP else HIGHEST


def _x(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(mg_dl: float, top: float) -> float:
    part = (min(max(mg_dl, LOWEST), top) - LOWEST) / (top - LOWEST)
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _frame(unit: str, lang: str, top: float, hours: Mapping[int, float]) -> str:
    """Target range, lines with their values, hours."""
    low, high = _y(LINES[0], top), _y(LINES[1], top)
    target = (
        f'<rect class="target" x="{LEFT}" y="{high:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{low - high:.1f}"/>'
    )
    lines = "".join(
        f'<path class="grid" d="M{LEFT} {_y(line, top):.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="value v{line:.0f}" x="{LEFT - 8}" y="{_y(line, top):.1f}">'
        f"{local(lang, axis_value(line, unit))}</text>"
        for line in LINES
        if line == top or line < USUAL_TOP
    )
    times = "".join(
        f'<path class="grid" d="M{_x(part):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text class="hour h{hour}" x="{_x(part):.1f}" y="{HEIGHT - 14}">{hour:02}:00</text>'
        for hour, part in hours.items()
    )
    return target + lines + times


def axis_value(mg_dl: float, unit: str) -> str:
    """The value at one of LINES; the limits of the target range are round in both units (Battelino 2019)."""
    return MMOL[mg_dl] if unit == "mmol/L" else f"{mg_dl:.0f}"


def _ends(top: float) -> str:
    """The limits of the target range, drawn over everything else."""
    return "".join(f'<path class="limit" d="M{LEFT} {_y(line, top):.1f}H{WIDTH - RIGHT}"/>' for line in LINES[:2])


def _runs(steps: Sequence[TimeOfDay]) -> list[list[TimeOfDay]]:
    """Steps of the day that follow each other without a gap."""
    runs: list[list[TimeOfDay]] = [[*steps[:1]]] if steps else []
    for before, after in pairwise(steps):
        if after.minute - before.minute > STEP:
            runs.append([])
        runs[-1].append(after)
    return runs


def _points(run: Sequence[TimeOfDay], place: int) -> list[Point]:
    """A percentile over the day, each value in the middle of its step; a step alone is drawn from its beginning to its
    end."""
    if len(run) == 1:
        return [((run[0].minute + minute) / MINUTES, run[0].percentiles[place]) for minute in (0, STEP)]
    return [((one.minute + STEP / 2) / MINUTES, one.percentiles[place]) for one in run]


def _band(run: Sequence[TimeOfDay], low: int, high: int, name: str, top: float) -> str:
    edge = [*_points(run, high), *reversed(_points(run, low))]
    return f'<path class="{name}" d="M{_path(edge, top)}Z"/>'


def _line(points: Sequence[Point], name: str, top: float) -> str:
    return f'<path class="{name}" d="M{_path(points, top)}"/>'


def _path(points: Iterable[Point], top: float) -> str:
    return "L".join(f"{_x(part):.1f} {_y(value, top):.1f}" for part, value in points)


def _dot(point: Point, top: float) -> str:
    return f'<circle class="dot" cx="{_x(point[0]):.1f}" cy="{_y(point[1], top):.1f}" r="3"/>'


def _marks(marks: Iterable[Mark]) -> str:
    """A vertical line with a sign at its top: a triangle for a new sensor, a drop for a calibration."""
    drawn = ""
    for part, kind in marks:
        x = _x(part)
        sign = f"M{x - 6:.1f} {TOP}h12l-6 10Z" if kind == "sensor" else f"M{x:.1f} {TOP}l5 7a6 6 0 1 1-10 0Z"
        drawn += f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/><path class="sign" d="{sign}"/>'
    return drawn
