"""Attacks on exports for research (docs/research.md): linking two of them, singling out, using a known day.

Each attack is shown to work where its defence is missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from ddr.http.core import Core
from ddr.operations.research import Export
from ddr.research.tables import ERA, ValueRow
from ddr.research.weeks import monday
from ddr.store.authorization import research
from ddr.store.patients import research as store
from tests.diga_api.world import PRESSURE, Body
from tests.support.volunteers import (
    LEAST,
    agree,
    approved,
    exported,
    last_monday,
    moment,
    prepared,
    recorder_with_research,
    volunteer,
)

PEOPLE = 8
MOST = 30  # weeks of the one who has more than all others


@pytest.fixture
async def core(core: Core, database_url: str) -> AsyncIterator[Core]:
    async with recorder_with_research(core, database_url) as own:
        yield own


def rows(export: Export) -> list[ValueRow]:
    return [row for part in export.parts for row in part.values()]


def days_of(found: Iterable[ValueRow]) -> dict[str, dict[date, tuple[float, ...]]]:
    """The values of each day of each person."""
    days: dict[str, dict[date, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        assert row.weekday is not None
        days[row.person][row.week + timedelta(days=row.weekday - 1)].append(row.value)
    return {person: {day: tuple(values) for day, values in own.items()} for person, own in days.items()}


def linked(first: Export, second: Export) -> int:
    """How many people of the first export an attacker finds in the second: by id, or by a day with the same values."""
    one, other = days_of(rows(first)), days_of(rows(second))
    there = {values for own in other.values() for values in own.values()}
    return sum(person in other or not there.isdisjoint(own.values()) for person, own in one.items())


async def test_two_exports_are_not_linked_by_ids_or_values(core: Core) -> None:
    people = [await volunteer(core, seed, 6) for seed in range(PEOPLE)]
    again, once_more = await prepared(core, 6), await prepared(core, 6)
    assert linked(again, once_more) == PEOPLE, "the attack works on exports that have weeks in common"
    first, second = await exported(core, 3), await exported(core, 3)
    assert len(days_of(rows(first))) == len(days_of(rows(second))) == PEOPLE
    assert linked(first, second) == 0
    for one in people:
        a, b = (export.weeks[one.patient_id] for export in (first, second))
        assert all(a[kind].isdisjoint(b[kind]) for kind in a)
    assert not (await prepared(core, 3)).parts, "each week has left"


async def test_of_two_exports_at_once_one_takes_a_week(core: Core) -> None:
    for seed in range(PEOPLE):
        await volunteer(core, seed, 2)
    one = await prepared(core, 2)
    notes = (store.note(core.pool, uuid4(), approved(2), "Team Daten", one.weeks, moment(core)) for _ in range(3))
    assert sorted(await asyncio.gather(*notes)) == [False, False, True]
    assert await core.pool.fetchval("SELECT count(*) FROM research_export") == 1
    assert await core.pool.fetchval("SELECT count(*) FROM research_given") == PEOPLE


async def test_ids_and_weeks_are_drawn_anew_and_order_tells_nothing(core: Core) -> None:
    for seed in range(PEOPLE):
        await volunteer(core, seed, 2)
    exports = [await prepared(core, 2) for _ in range(6)]
    ids = [row.person for export in exports for part in export.parts for row in part.persons()]
    assert len(set(ids)) == len(ids) == 6 * PEOPLE
    orders, starts = [], []
    for export in exports:
        (part,) = export.parts
        assert list(part.weeks) == sorted(part.weeks)
        orders.append(tuple(round(sum(week.numbers), 3) for weeks in part.weeks.values() for week in weeks[:1]))  # type: ignore[union-attr]
        starts.append(tuple(part.starts.values()))
    assert len(set(orders)) > 1 and len(set(starts)) == 6
    assert all(ERA <= start < ERA + 105 for each in starts for start in each)


async def test_nobody_is_singled_out_by_extreme_values(core: Core) -> None:
    def fallen(day: int, values: list[int]) -> list[int]:
        return [41 if 100 <= slot < 130 else 396 if slot > 200 else value for slot, value in enumerate(values)]

    await volunteer(core, 0, 2, fallen)
    for seed in range(1, PEOPLE):
        await volunteer(core, seed, 2)
    reached: dict[str, list[float]] = defaultdict(list)
    for row in rows(await prepared(core, 2)):
        reached[row.person].append(row.value)
    for extreme in (min, max):
        each = [extreme(values) for values in reached.values()]
        assert each.count(extreme(each)) >= LEAST
        assert 41 < extreme(each) < 396


async def test_nobody_is_singled_out_by_gaps(core: Core) -> None:
    """A holiday, a sensor that failed for a day or an hour, a day without nights: the tables look the same for all."""

    def away(day: int, values: list[int]) -> list[int]:
        return [] if 7 <= day < 21 or day == 30 else values

    def silent(day: int, values: list[int]) -> list[int]:
        return values[:40] if day % 9 == 3 else values

    everybody = [volunteer(core, seed, 6) for seed in range(PEOPLE)]
    for one in (*everybody, volunteer(core, 20, 6, away), volunteer(core, 21, 6, silent)):
        await one
    found: dict[str, dict[date, list[tuple[int | None, str, int]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows(await prepared(core, 6)):
        found[row.person][row.week].append((row.weekday, row.time, row.item))
    assert len(found) == PEOPLE + 2
    grid = [
        (day, f"{half // 2:02}:{half % 2 * 30:02}", (day - 1) * 48 + half + 1)
        for day in range(1, 8)
        for half in range(48)
    ]
    for weeks in found.values():
        assert all(one == grid for one in weeks.values())
        first = min(weeks)
        assert set(weeks) == {first + timedelta(weeks=n) for n in range(len(weeks))}, "no week is missing"
    assert all(count >= LEAST for count in Counter(map(len, found.values())).values())


async def test_nobody_is_singled_out_by_how_long_there_are_readings(core: Core) -> None:
    await volunteer(core, 0, MOST)
    for seed in range(1, PEOPLE):
        await volunteer(core, seed, 2)
    export = await prepared(core, 52)
    (part,) = export.parts
    assert Counter(row.weeks for row in part.persons()) == {2: PEOPLE}


async def test_a_known_day_finds_nobody(core: Core) -> None:
    """Somebody knows: on that Wednesday at 14:00 she had 390, and her sensor began the Monday before."""

    def known(day: int, values: list[int]) -> list[int]:
        return [390 if day == 2 and 168 <= slot < 174 else value for slot, value in enumerate(values)]

    await volunteer(core, 0, 2, known)
    for seed in range(1, PEOPLE):
        await volunteer(core, seed, 3)
    export = await prepared(core, 2)
    found = rows(export)
    real = {last_monday(core, ago) for ago in range(60)}
    assert {row.week for row in found}.isdisjoint(real), "the date itself is nowhere"
    assert max(row.week for row in found) < min(real)
    there: dict[str, float] = defaultdict(float)
    for row in found:
        if (row.weekday, row.time) == (3, "14:00"):
            there[row.person] = max(there[row.person], row.value)
    highest = max(there.values())
    assert highest < 390 and sum(value == highest for value in there.values()) >= LEAST
    firsts = Counter(min(row.week for row in found if row.person == one) for one in there)
    assert len(firsts) > 1 and monday(ERA) <= min(firsts)


async def test_a_rare_unit_code_or_kind_is_left_out(core: Core) -> None:
    """One of those who measure blood pressure measures blood glucose, too, and has had a very high pressure."""
    for seed in range(LEAST + 1):
        body = Body(core)
        await core.pool.execute(
            "INSERT INTO patient (patient_id, created_ms) VALUES ($1, $2)", body.patient_id, core.clock()
        )
        await agree(core, body.patient_id)
        for day in range(7 + seed):
            at_ms = core.clock() - (8 + day) * 86_400_000 + seed * 60_000
            await body.pressure(at_ms, 110 + 10 * (day % 4), 80)
        if seed == 0:
            await body.measurement("blood-glucose-measurement", "2339-0", core.clock() - 20 * 86_400_000, "100")
            await body.pressure(core.clock() - 9 * 86_400_000, 240, 130)
    export = await prepared(core, 4, PRESSURE, "blood-glucose-measurement")
    (part,) = export.parts
    assert part.kind == PRESSURE
    (glucose,) = [one for one in export.counts if one["kind"] == "blood-glucose-measurement"]
    assert glucose["given"] == 0 and "fewer than 5 people" in glucose["why"] and "people" not in glucose
    found = list(part.values())
    assert {row.code for row in found} == {"8480-6", "8462-4"} and {row.weekday for row in found} == {None}
    assert {row.value for row in found if row.code == "8480-6"} == {110, 120, 130, 140}, "240 is nowhere"
    assert all(row.time.endswith(":00") for row in found)


async def test_who_did_not_agree_is_in_no_table(core: Core) -> None:
    people = [await volunteer(core, seed, 2) for seed in range(PEOPLE)]
    before = await prepared(core, 2)
    assert len(before.weeks) == PEOPLE
    await research.withdraw(core.pool, people[0].patient_id, "consent-withdrawn", core.clock())
    await core.pool.execute("UPDATE patient SET disabled_ms = 1 WHERE patient_id = $1", people[1].patient_id)
    after = await prepared(core, 2)
    assert after.weeks.keys() == {one.patient_id for one in people[2:]}
    assert after.agreed == PEOPLE - 2
    for one in people[2:4]:
        await research.withdraw(core.pool, one.patient_id, "consent-withdrawn", core.clock())
    assert not (await prepared(core, 2)).parts, "fewer than five are nobody"


async def test_a_value_is_not_exact(core: Core) -> None:
    """Rounded to two digits, one of six: a list of exact readings is not found by looking for it."""
    one = await volunteer(core, 0, 2)
    for seed in range(1, PEOPLE):
        await volunteer(core, seed, 2)
    found = rows(await prepared(core, 2))
    assert all(Decimal(str(row.value)).normalize().as_tuple().digits[2:] == () for row in found)
    runs = {tuple(values[at : at + 6]) for values in one.days.values() for at in range(len(values) - 6)}
    given = [row.value for row in found]
    assert not any(
        tuple(given[at : at + 6]) in runs for at in range(len(given) - 6) if len(set(given[at : at + 6])) > 3
    )
