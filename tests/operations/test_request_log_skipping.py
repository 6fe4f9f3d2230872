"""A packed seal is skipped only if it contains no wanted record, and then almost always."""

from __future__ import annotations

from dataclasses import fields

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from ddr.http.request_log.record import at_ms_of
from ddr.operations.request_log import packing
from ddr.operations.request_log.export import Filters
from ddr.operations.request_log.packing import Learning, Words, pack
from tests.operations.test_request_log_packing import odd_lines
from tests.support.day import today
from tests.support.request_log import some_lines

LINES = some_lines(today(), 300)
USUAL = [line for line in LINES if orjson.dumps(orjson.loads(line)) == line]
NAMES = ["client", "pairing", "endpoint", "status", "transaction"]
ATTRIBUTE = {
    "client": "client_id",
    "pairing": "pairing_id",
    "endpoint": "partner_id",
    "status": "status",
    "transaction": "transaction_id",
}


def fits(filters: Filters, line: bytes) -> bool:
    """The result of an export that reads each line; a line that is not a record is never wanted."""
    try:
        record = orjson.loads(line)
        return filters.fit(record, at_ms_of(record))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return False


@st.composite
def some_filters(draw: st.DrawFn) -> Filters:
    """Conditions from one record, or from several, which then match none."""
    wanted = {name: orjson.loads(draw(st.sampled_from(USUAL)))[ATTRIBUTE[name]] for name in NAMES}
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    return Filters(**{name: wanted[name] for name in chosen})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(LINES) | odd_lines, min_size=1, max_size=4), min_size=1, max_size=8),
    some_filters(),
)
def test_nothing_that_is_wanted_is_skipped(seals: list[list[bytes]], filters: Filters) -> None:
    learning = Learning()
    bodies = [pack(lines, learning) for lines in seals]
    if (skipping := filters.skipping(learning.words)) is None:
        assert {getattr(filters, field.name) for field in fields(filters)} == {None}
        return
    kept = [line for lines, body in zip(seals, bodies, strict=True) if not skipping.skips(body) for line in lines]
    everything = [line for lines in seals for line in lines]
    assert [line for line in kept if fits(filters, line)] == [line for line in everything if fits(filters, line)]


def test_what_holds_nothing_is_skipped() -> None:
    """For each condition, with seals of one record; a damaged one, or one with unknown words, is left to the reader."""
    learning = Learning()
    bodies = [pack([line], learning) for line in USUAL]
    for name in NAMES:
        named = [value for line in USUAL if (value := orjson.loads(line)[ATTRIBUTE[name]]) is not None]
        filters = Filters(**{name: named[7]})
        skipping, without = filters.skipping(learning.words), filters.skipping(Words())
        assert skipping is not None
        assert without is not None
        wanted = [fits(filters, line) for line in USUAL]
        assert [not skipping.skips(body) for body in bodies] == wanted
        assert 0 < sum(wanted) < len(USUAL)
        assert not any(without.skips(body) for body in bodies)
        assert not any(skipping.skips(body[: len(body) // 2]) for body in bodies)
        assert not skipping.skips(packing._closed(bytes([0, 0, 0, 0, *[1] * 9]), b"")), "none is packed without lines"
    assert Filters(since_ms=1, until_ms=2).skipping(learning.words) is None
