"""Rivals, the different values of one instant: which of them are kept, so that no gateway fills the disk with them.

A bridge that recalculates its values with each poll, without saying that it corrects them, sends new values for the
same instants all day. The first value, the shown one and the last ones tell the story; the others are only counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from ddr.series.packing import Reading
from ddr.series.slots import shown_of

NEWEST = 8  # how many of the last values of an instant are kept, beside the first one and the shown one
_MOST = NEWEST + 2


def surplus(
    stored: Sequence[Reading], new: Collection[Reading], came: Mapping[int, Sequence[int]]
) -> Iterator[Reading]:
    """The readings in `stored` that are not kept beside others of their instant. `stored` ascends and includes `new`.

    `came`: the raw values of each instant with several known ones, in order of arrival. The shown value is kept.
    """
    crowded = {one[0] for one, other in zip(stored, stored[_MOST:], strict=False) if one[0] == other[0]}
    if not crowded:
        return
    for time, readings in groupby(stored, itemgetter(0)):
        if time in crowded:
            yield from ((time, raw) for raw in _surplus(_in_order(readings, new, came.get(time, ()))))


def _in_order(readings: Iterable[Reading], new: Collection[Reading], came: Sequence[int]) -> list[int]:
    """The raw values of one instant in order of arrival; those that arrived together ascend."""
    place = {raw: at for at, raw in enumerate(came)}
    ordered = sorted(readings, key=lambda one: (one in new, place.get(one[1], -1), one[1]))
    return [raw for _, raw in ordered]


def _surplus(raws: Sequence[int]) -> Iterator[int]:
    shown = shown_of(raws)
    return (raw for raw in raws[1:-NEWEST] if raw != shown)
