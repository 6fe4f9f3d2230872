"""When clients could send requests: absences seen by checks, and what remains of a period without them."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.http.core import Core
from ddr.http.presence import BACK_MS, GAP_MS, Presence
from ddr.store.database.faults import FAULTS
from ddr.store.database.pool import connect
from ddr.store.outages import reports
from tests.support.postgres import own_server

DAY_MS = 86_400_000

instants = st.integers(0, 10 * BACK_MS)
spans = st.lists(st.tuples(instants, instants).map(sorted).map(tuple), max_size=4)


def seen(*instants_ms: int) -> Presence:
    presence = Presence()
    for instant in instants_ms:
        presence.seen(instant)
    return presence


def test_all_time_counts_without_absence() -> None:
    assert Presence().there_ms(0, 50_000) == 50_000
    assert seen(0, GAP_MS, 2 * GAP_MS).there_ms(0, 3 * GAP_MS) == 3 * GAP_MS


def test_an_absence_and_the_way_back_do_not_count() -> None:
    presence = seen(0, 1_000, 31_000, 32_000)
    assert presence.there_ms(500, 31_500) == 500
    assert presence.there_ms(10_000, 31_000 + BACK_MS) == 0
    presence.seen(31_000 + BACK_MS + 2_000)
    assert presence.there_ms(40_000, 41_000) == 0, "it was told to wait, and is not back yet"


def test_one_that_still_lasts_does_not_count() -> None:
    assert seen(0, 1_000).there_ms(900, 1_000 + GAP_MS + 1) == 100


@given(st.lists(instants, max_size=4).map(sorted), spans, st.tuples(instants, instants).map(sorted))
def test_it_is_the_time_outside_of_all_absences(
    looks: list[int], closed: list[tuple[int, int]], span: list[int]
) -> None:
    presence, (since, until) = seen(*looks), span
    gone = [(a, b) for a, b in pairwise(looks) if b - a > GAP_MS]
    gone += [(looks[-1], until)] if looks and until - looks[-1] > GAP_MS else []
    edges = sorted({since, until, *(at for a, b in (*gone, *closed) for at in (a, b + BACK_MS) if since < at < until)})
    expected = sum(
        b - a for a, b in pairwise(edges) if not any(x <= a and b <= y + BACK_MS for x, y in (*gone, *closed))
    )
    assert presence.there_ms(since, until, closed) == expected


async def test_a_database_that_was_killed_was_away(tmp_path: Path) -> None:
    """What was before the first look is known from the workers' reports."""
    with own_server(tmp_path / "server") as server:
        pool = await connect(server.url, size=1)
        await pool.execute("CREATE TABLE worker_report (seen_ms bigint, served_ms bigint)")
        await pool.execute("INSERT INTO worker_report VALUES (1000), (5000)")
        presence = Presence()
        await presence.look(pool, 65_000)
        assert presence.there_ms(4_000, 66_000) == 1_000
        server.kill()
        with pytest.raises(FAULTS):
            await presence.look(pool, 166_000)
        server.start()
        with suppress(*FAULTS):  # finds the lost connection, if it is not known to be lost
            await presence.look(pool, 190_000)
        await presence.look(pool, 190_000)
        await pool.close()
    assert presence.there_ms(125_000, 190_000) == 0
    assert presence.there_ms(4_000, 190_000) == 1_000


async def test_maintenance_by_the_setting_is_an_absence(core: Core) -> None:
    """For the worker that is closed, and for the one that is started after it."""
    host, begun = uuid4().hex, core.clock() + DAY_MS  # later than what other tests reported
    for at_ms, closed in ((begun, False), (begun + 60_000, True), (begun + 120_000, True)):
        await reports.write(core.pool, host, 1, at_ms, [], closed)
    try:
        closed_worker, later_worker = Presence(), Presence()
        await closed_worker.look(core.pool, begun + 120_000, closed=True)
        await later_worker.look(core.pool, begun + 180_000)
        for presence in (closed_worker, later_worker):
            assert presence.there_ms(begun - 5_000, begun + 180_000) == 5_000
    finally:
        await core.pool.execute("DELETE FROM worker_report WHERE host = $1", host)
