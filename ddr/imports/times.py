"""Times in files: in any usual form, with a zone or local, also in the hour that occurs twice in autumn. Pure.

A column is read as a whole: only its other rows tell whether 03-04 is 3 April or 4 March, and to which of the two hours
with the same name a row belongs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from statistics import median_low

from ddr.durations import HOUR_MS

_CLOCK = (
    r"(?P<h>\d{1,2})[:.h](?P<m>\d{2})(?:[:.](?P<s>\d{2}))?(?:[.,](?P<f>\d{1,9}))?"
    r"\s*(?P<ap>[AaPp]\.?\s?[Mm]\.?)?(?:\s*Uhr)?"
)
_ZONE = r"\s*(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
_NUMERIC = re.compile(rf"(?P<a>\d{{1,4}})[-./](?P<b>\d{{1,2}})[-./](?P<c>\d{{1,4}})[T,;\s]+{_CLOCK}{_ZONE}")
_NAMED = re.compile(
    rf"(?:(?P<a>\d{{1,2}})\.?\s+(?P<n>[A-Za-zÄä]{{3,9}})\.?|(?P<n2>[A-Za-zÄä]{{3,9}})\.?\s+(?P<a2>\d{{1,2}})),?\s+"
    rf"(?P<c>\d{{4}})[T,\s]+{_CLOCK}{_ZONE}"
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan", "feb", "mar mär mrz", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov", "dec dez"), 1
    )
    for name in names.split()
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND, _HOUR = timedelta(milliseconds=1), timedelta(hours=1)


def instants(
    texts: Sequence[str],
    groups: Sequence[Hashable],
    zone: tzinfo,
    ticks: Sequence[int | None] = (),
    zones: Mapping[Hashable, tzinfo] | None = None,
) -> list[int | None]:
    """Each text as milliseconds since 1970 (UTC); None where it is not a time; a date alone is not.

    Local times are those of `zone`, or of the zone that `zones` has for their group. `groups` names the device of each
    text. Within a group, times ascend or descend, which decides the doubled hour; so do `ticks`, the seconds of a
    device clock that nobody sets, where a file has them.
    """
    ticks = ticks or [None] * len(texts)
    days_first = _days_first(map(_match, texts))  # matched twice, since matches take more memory than the rest of a row
    moments = [match and _moment(match, days_first) for match in map(_match, texts)]
    found: list[int | None] = [None] * len(texts)
    local: dict[Hashable, list[tuple[int, datetime]]] = defaultdict(list)
    for at, moment in enumerate(moments):
        if moment is None:
            continue
        if moment.tzinfo is not None:
            found[at] = (moment - _EPOCH) // _MILLISECOND
        else:
            local[groups[at]].append((at, moment))
    for group, rows in local.items():
        own, there = [moment for _, moment in rows], (zones or {}).get(group, zone)
        times = _by_ticks(own, _placed(own, there), [ticks[at] for at, _ in rows], there)
        for (at, _), time in zip(rows, times, strict=True):
            found[at] = time
    return found


def _by_ticks(local: Sequence[datetime], placed: Sequence[int], ticks: Sequence[int | None], zone: tzinfo) -> list[int]:
    """`placed`, with times in the doubled hour moved to where the device's own clock puts them."""
    found = list(placed)
    twice = [_twice(moment, zone) for moment in local]
    if not any(twice):
        return found
    sure = sorted(
        (tick, time)
        for doubled, time, tick in zip(twice, placed, ticks, strict=True)
        if tick is not None and not doubled
    )
    if not sure or len({tick for tick, _ in sure}) < len(sure):
        return found  # no such column, or an unusable one
    for at, (moment, tick) in enumerate(zip(local, ticks, strict=True)):
        if tick is None or not twice[at]:
            continue
        near = bisect_left(sure, (tick, 0))
        beside, then = min(sure[max(0, near - 1) : near + 1], key=lambda one: abs(one[0] - tick))
        expected = then + (tick - beside) * 1000
        fold = min((0, 1), key=lambda fold: abs(_ms(moment, zone, fold) - expected))
        found[at] = _ms(moment, zone, fold)
    return found


def _match(text: str) -> re.Match[str] | None:
    stripped = text.strip()
    return _NUMERIC.fullmatch(stripped) or _NAMED.fullmatch(stripped)


def _days_first(matches: Iterable[re.Match[str] | None]) -> Callable[[re.Match[str]], bool]:
    """Whether the day precedes the month in a time.

    It does, unless the column shows that months come first: a second number above 12, neighbours around midnight that
    would otherwise be months apart, or else hours with a.m. and p.m. Two exports in one file may use two formats, each
    with its own order.
    """
    days, months, halves = set[tuple[str, bool]](), set[tuple[str, bool]](), set[tuple[str, bool]]()
    nights, before = Counter[tuple[str, bool]](), None
    for match in filter(None, matches):
        if match.re is _NUMERIC and 12 < int(match["a"]) < 100:
            days.add(_way(match))
        elif match.re is _NUMERIC and len(match["a"]) < 4 and int(match["b"]) > 12:
            months.add(_way(match))
        elif match["ap"]:
            halves.add(_way(match))
        if before is not None and before.group("a", "b") != match.group("a", "b") and _way(before) == _way(match):
            nights[_way(match)] += _night(before, match)
        before = match if match.re is _NUMERIC else None
    for way in nights.keys() - days - months:
        if nights[way]:
            (days if nights[way] > 0 else months).add(way)
    months |= halves - days
    otherwise = bool(days) or not months

    def first(match: re.Match[str]) -> bool:
        way = _way(match)
        return way in days or (otherwise and way not in months)

    return first


def _night(before: re.Match[str], match: re.Match[str]) -> int:
    """1 when two neighbours are less than an hour apart with days first only, -1 with months first only, else 0."""
    return _near(before, match, True) - _near(before, match, False)


def _near(before: re.Match[str], match: re.Match[str], days_first: bool) -> bool:
    times = [time.replace(tzinfo=None) for one in (before, match) if (time := _moment(one, lambda _: days_first))]
    return len(times) == 2 and abs(times[1] - times[0]) < _HOUR


def _way(match: re.Match[str]) -> tuple[str, bool]:
    """The separator in a date, and whether its hours have a.m. or p.m."""
    return match.string[match.end("a")] if match.re is _NUMERIC else "", bool(match["ap"])


def _moment(match: re.Match[str], days_first: Callable[[re.Match[str]], bool]) -> datetime | None:
    if match.re is _NAMED:
        month = _MONTHS.get((match["n"] or match["n2"])[:3].casefold(), 0)
        year, day = int(match["c"]), int(match["a"] or match["a2"])
    elif len(match["a"]) == 4:
        year, month, day = int(match["a"]), int(match["b"]), int(match["c"])
    else:
        day, month = (int(match["a"]), int(match["b"])) if days_first(match) else (int(match["b"]), int(match["a"]))
        year = int(match["c"]) + (2000 if len(match["c"]) == 2 else 0)
    try:
        return datetime(
            year, month, day, _hour(match), int(match["m"]), int(match["s"] or 0), _micro(match), _zone(match)
        )
    except ValueError:
        return None


def _hour(match: re.Match[str]) -> int:
    hour = int(match["h"])
    if not match["ap"]:
        return hour
    return hour % 12 + (12 if match["ap"][0] in "Pp" else 0) if 1 <= hour <= 12 else 99


def _micro(match: re.Match[str]) -> int:
    return int((match["f"] or "0").ljust(6, "0")[:6])


def _zone(match: re.Match[str]) -> tzinfo | None:
    text = match["z"]
    if not text:
        return None
    if text[0] not in "+-":
        return UTC
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _placed(local: Sequence[datetime], zone: tzinfo) -> list[int]:
    """The instants of local times in file order, which ascends or descends."""
    falling = sum(after < before for before, after in pairwise(local)) * 2 > sum(
        after != before for before, after in pairwise(local)
    )
    return _ascending(local[::-1], zone)[::-1] if falling else _ascending(local, zone)


def _ascending(local: Sequence[datetime], zone: tzinfo) -> list[int]:
    times, twice = [_ms(moment, zone, 0) for moment in local], [_twice(moment, zone) for moment in local]
    at, step = 0, _usual_step(local, twice)
    while at < len(local):
        if not twice[at]:
            at += 1
            continue
        end = at
        while end < len(local) and twice[end] and local[end].date() == local[at].date():
            end += 1
        before = times[at - 1] if at else None
        folds = _interleaved(local[at:end], zone, before, step) or _folds(
            local[at:end], zone, before, _after(local, end, zone)
        )
        for number, fold in enumerate(folds):
            times[at + number] = _ms(local[at + number], zone, fold)
        at = end
    return times


def _after(local: Sequence[datetime], end: int, zone: tzinfo) -> int | None:
    return _ms(local[end], zone, 0) if end < len(local) else None


def _usual_step(local: Sequence[datetime], twice: Sequence[bool]) -> int | None:
    """The most frequent interval outside the doubled hour, in milliseconds; None when there are too few."""
    pairs = zip(pairwise(local), pairwise(twice), strict=True)
    steps = [(other - one) // _MILLISECOND for (one, other), doubled in pairs if other > one and not any(doubled)]
    return median_low(steps) if len(steps) > 1 else None


def _interleaved(doubled: Sequence[datetime], zone: tzinfo, before: int | None, step: int | None) -> list[int]:
    """The folds of two hours that a file has merged by local time; [] when it has not.

    There are then more times than the sensor measures in an hour, and each of the two hours continues in steps of its
    own. Measurements taken a few times a day, as with a meter, have no such steps.
    """
    rising = all(after >= earlier for earlier, after in pairwise(doubled))
    if step is None or step > HOUR_MS // 2 or not rising or len(doubled) * step < 1.25 * HOUR_MS:
        return []
    last = [before if before is not None and _ms(doubled[0], zone, 0) - before <= 2 * step else None, None]
    found = []
    for moment in doubled:
        times = [_ms(moment, zone, fold) for fold in (0, 1)]
        off = [None if since is None else abs(time - since - step) for time, since in zip(times, last, strict=True)]
        if off[0] is None or off[1] is None:
            fold = int(off[0] is not None and off[0] >= step / 4)
        else:
            fold = int(off[1] < off[0])
        last[fold] = times[fold]
        found.append(fold)
    return found


def _folds(doubled: Sequence[datetime], zone: tzinfo, before: int | None, after: int | None) -> list[int]:
    """For each time in the doubled hour 0 (the first one, still summer time) or 1.

    Where the clock jumps back, the second hour begins. A time that occurs twice in a row, or a list in which both hours
    are merged, has one of each. Otherwise the neighbours decide.
    """
    for at in range(1, len(doubled)):
        if doubled[at] < doubled[at - 1]:
            return [0] * at + [1] * (len(doubled) - at)
    if len(set(doubled)) < len(doubled):
        return [int(at > 0 and doubled[at] == doubled[at - 1]) for at in range(len(doubled))]
    if after is None:
        return [0] * len(doubled)
    if before is None:  # it begins within this hour: in the second one if the times continue from there
        return [int(after - _ms(doubled[-1], zone, 1) < HOUR_MS)] * len(doubled)
    gap_before = _ms(doubled[0], zone, 0) - before
    gap_after = after - _ms(doubled[-1], zone, 1)
    return [int(gap_before > gap_after)] * len(doubled)


def _twice(moment: datetime, zone: tzinfo) -> bool:
    return _ms(moment, zone, 0) < _ms(moment, zone, 1)


def _ms(moment: datetime, zone: tzinfo, fold: int) -> int:
    return (moment.replace(tzinfo=zone, fold=fold) - _EPOCH) // _MILLISECOND
