"""Different values of one instant, rivals: which of them are kept, so that no gateway fills the disk with them.

A bridge that works its values out anew with each poll, and does not say that it corrects them, sends another value for
the same instants all day. What came first, what is shown and what came last tell the story; the rest is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from ddr.series.packing import Reading
from ddr.series.slots import shown_of

NEWEST = 8  # values of an instant that came last, kept beside the first one and the one that is shown
_MOST = NEWEST + 2


def surplus(
    stored: Sequence[Reading], new: Collection[Reading], came: Mapping[int, Sequence[int]]
) -> Iterator[Reading]:
    """Those of `stored`, which ascend and hold `new` ones, that are not kept beside others of their instant.

    `came`: raw values of instants with several known ones, in the order in which they came. What is shown is kept.
    """
    crowded = {one[0] for one, other in zip(stored, stored[_MOST:], strict=False) if one[0] == other[0]}
    if not crowded:
        return
    for time, readings in groupby(stored, itemgetter(0)):
        if time in crowded:
            yield from ((time, raw) for raw in _surplus(_in_order(readings, new, came.get(time, ()))))


def _in_order(readings: Iterable[Reading], new: Collection[Reading], came: Sequence[int]) -> list[int]:
    """The raw values of one instant in the order in which they came, those that came together from the lowest."""
    place = {raw: at for at, raw in enumerate(came)}
    ordered = sorted(readings, key=lambda one: (one in new, place.get(one[1], -1), one[1]))
    return [raw for _, raw in ordered]


def _surplus(raws: Sequence[int]) -> Iterator[int]:
    shown = shown_of(raws)
    return (raw for raw in raws[1:-NEWEST] if raw != shown)
