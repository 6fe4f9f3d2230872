"""Which epochs and chunks may cover an instant or later ones, as conditions that an index can answer.

An epoch is bounded by its end (index epoch_by_end), its stored chunks by their numbers (the primary key): chunks follow
one another at the distance of a span, give or take half a sampling period (ddr.series.chain), and the last one is
known.
"""

from __future__ import annotations

from ddr.series.grid import SECOND

SHORTEST_MS = SECOND  # the least that a chunk covers, wherever its series was cut

# No chunk of epoch `e` extends beyond this: the epoch's end, or the end of the span of a chunk that a late event
# withdrew.
LAST = "greatest(coalesce(e.until_ms, 9223372036854775807), e.last_withdrawn_ms)"


def first_k(epoch: str, from_ms: str) -> str:
    """A number as SQL: all stored chunks of the epoch below it end before `from_ms`, and so do at most a few above it.

    `epoch` has tail_k and tail_start_ms, the sensor `s` span_ms and period_ms.
    """
    between = f"(s.span_ms - s.period_ms / 2 - {SECOND})"
    before = f"greatest(0, {epoch}.tail_start_ms + s.span_ms - {from_ms}) / greatest({between}, 1) + 1"
    return f"coalesce({epoch}.tail_k - ({before}), 0)"
