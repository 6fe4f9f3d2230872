"""Curves of single measurements of any kind over days, as SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, log10

from markupsafe import Markup

from ddr.patient_pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, picture
from ddr.patient_pages.numbers import local

LINES = 5  # approximate number of lines with values


@dataclass(frozen=True)
class Course:
    """The measurements of one code: `points` are (part of the time from 0 to 1, value), in order of time."""

    name: str
    points: Sequence[tuple[float, float]]


def trend_chart(
    courses: Sequence[Course], days: Sequence[tuple[float, str]], lang: str, title: str, text: str
) -> Markup:
    """One picture of all `courses`. Each of `days` stands below its middle, the first and the last at the ends."""
    values = [value for course in courses for _, value in course.points]
    lines = scale(min(values), max(values))
    low, high = lines[0], lines[-1]

    def x(part: float) -> float:
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    content = "".join(
        f'<path class="grid" d="M{LEFT} {y(line):.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="value" x="{LEFT - 8}" y="{y(line):.1f}">{local(lang, f"{line:g}")}</text>'
        for line in lines
    )
    for at, (part, name) in enumerate(days):
        anchor, place = ("h0", 0) if at == 0 else ("h24", 1) if at == len(days) - 1 else ("between" * (at % 2), part)
        content += f'<text class="hour {anchor}" x="{x(place):.1f}" y="{HEIGHT - 14}">{Markup.escape(name)}</text>'
    for at, course in enumerate(courses):
        points = [(x(part), y(value)) for part, value in course.points]
        if len(points) > 1:
            path = "L".join(f"{left:.1f} {top:.1f}" for left, top in points)
            content += f'<path class="course c{at}" d="M{path}"/>'
        content += "".join(f'<circle class="dot c{at}" cx="{left:.1f}" cy="{top:.1f}" r="4"/>' for left, top in points)
    return picture(content, title, text)


def scale(lowest: float, highest: float) -> list[float]:
    """Round values at equal distances, from below `lowest` to above `highest`."""
    spread = max(highest - lowest, abs(highest) * 0.1, 0.1)
    rough = spread / LINES
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = floor(lowest / step), floor(highest / step) + 1
    lines = [round(number * step, 6) for number in range(first, last + 1)]
    assert all(after > before for before, after in pairwise(lines))
    return lines
