"""Different values for the same instants, again and again: a bounded number of them is kept, the rest is counted."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any
from uuid import UUID

import pytest

from ddr.http.core import Core
from ddr.series.packing import ERROR, decode
from ddr.series.rivals import NEWEST
from tests.gateway.conftest import Client
from tests.gateway.test_readings import PERIOD, READINGS, UPLOADS, cgm, corrected, items, send, shown_values
from tests.support.clock import Clock

__all__ = ["cgm"]

FIRST, SHOWN = 300, 50


async def kept(core: Core, patient_id: UUID) -> tuple[list[int], int]:
    """The stored values of instants with several, in the order of arrival, and how many more arrived."""
    rows = await core.pool.fetch(
        "SELECT raw, left_out FROM claim WHERE patient_id = $1 ORDER BY time_ms, claim_no", patient_id
    )
    return [row["raw"] for row in rows], sum(row["left_out"] for row in rows)


async def values_stored(core: Core, patient_id: UUID) -> int:
    """How many readings the chunks hold, shown or not."""
    found: int = await core.pool.fetchval(
        "SELECT sum(octet_length(vals)) / 2 FROM chunk WHERE patient_id = $1", patient_id
    )
    return found


async def test_of_many_values_for_an_instant_the_first_the_shown_and_the_newest_are_kept(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    instants = items(clock, 100, 101, 102)
    await send(cgm, [{**one, "value": FIRST} for one in instants])
    rivals = [SHOWN, *range(100, 160)]
    for value in rivals:
        answer = await send(cgm, [{**one, "value": value} for one in instants])
        shown = value == SHOWN
        assert [(one["status"], one["shown"], one["reason"]) for one in answer["items"]] == [
            ("accepted", shown, "conflict")
        ] * 3
    assert await shown_values(core, patient_id) == [SHOWN] * 3
    assert await kept(core, patient_id) == ([FIRST, SHOWN, *rivals[-NEWEST:]] * 3, 3 * (60 - NEWEST))
    assert await values_stored(core, patient_id) == 3 * (NEWEST + 2)
    version = "SELECT version, updated_ms FROM chunk WHERE patient_id = $1 AND filled = 3"
    before = await core.pool.fetchrow(version, patient_id)
    clock.advance(60)
    for value in (100, FIRST, SHOWN, rivals[-1]):  # only the first of these four is no longer stored
        again = (await send(cgm, [{**instants[0], "value": value}]))["items"][0]
        assert again["status"] == ("accepted" if value == 100 else "duplicate")
    assert await core.pool.fetchrow(version, patient_id) == before


async def test_a_single_upload_of_many_values_for_an_instant_is_answered_and_bounded(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    (one,) = items(clock, 100)
    answer = await send(cgm, [{**one, "value": value} for value in ["E", *range(50, 150)]])
    assert (answer["accepted"], [item["shown"] for item in answer["items"]]) == (101, [False, True] + [False] * 99)
    assert {item["reason"] for item in answer["items"]} == {"conflict"}
    assert await kept(core, patient_id) == ([ERROR, 50, *range(150 - NEWEST, 150)], 101 - NEWEST - 2)
    assert await values_stored(core, patient_id) == NEWEST + 2


@pytest.mark.parametrize("values", list(permutations((SHOWN, FIRST, "E"))))
async def test_what_is_shown_depends_on_no_order(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID, values: tuple[Any, ...]
) -> None:
    (one,) = items(clock, 100)
    for value, more in zip(values, (range(60, 90), range(90, 120), range(120, 150)), strict=True):
        await send(cgm, [{**one, "value": value}])
        for other in more:
            await send(cgm, [{**one, "value": other}])
    assert await shown_values(core, patient_id) == [SHOWN]


async def test_what_comes_behind_a_correction_and_corrections_again_and_again_are_bounded(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    (one,) = items(clock, FIRST)
    await send(cgm, [one])
    await corrected(cgm, [{**one, "value": 55}])
    for value in range(100, 130):
        (item,) = (await send(cgm, [{**one, "value": value}]))["items"]
        assert (item["status"], item["shown"], item["reason"]) == ("accepted", False, "superseded")
    newest = list(range(130 - NEWEST, 130))
    assert await kept(core, patient_id) == ([FIRST, 55, *newest], 30 - NEWEST)
    for value in range(200, 230):
        assert await corrected(cgm, [{**one, "value": value}]) == [{"status": "accepted", "shown": True}]
    corrections = list(range(230 - NEWEST, 230))
    assert await kept(core, patient_id) == ([FIRST, *newest, *corrections], 61 - 2 * NEWEST)
    assert await shown_values(core, patient_id) == [229]
    assert await values_stored(core, patient_id) == 1


async def test_what_was_shown_and_is_taken_back_gives_way_to_the_newest_of_those_that_are_kept(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    (one,) = items(clock, SHOWN)
    body = {"unit": "mg/dL", "readings": [one], "upload": "wrong"}
    assert (await cgm.post(READINGS, json=body)).json()["accepted"] == 1
    for value in range(100, 130):
        await send(cgm, [{**one, "value": value}])
    assert await shown_values(core, patient_id) == [SHOWN]
    await cgm.delete(f"{UPLOADS}/wrong")
    assert await shown_values(core, patient_id) == [129]
    for value in range(130, 160):
        await send(cgm, [{**one, "value": value}])
    assert await shown_values(core, patient_id) == [129]
    raws, left_out = await kept(core, patient_id)
    assert (len(raws) + left_out, raws[0], 129 in raws) == (61, SHOWN, True)
    assert len(raws) <= 2 * NEWEST + 2


async def test_a_flood_over_a_day_of_instants_takes_what_is_said(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID
) -> None:
    readings = items(clock, *[100] * 288)
    await send(cgm, readings)
    for value in range(101, 141):
        assert (await send(cgm, [{**one, "value": value} for one in readings]))["accepted"] == 288
    rows, left_out = await core.pool.fetchrow(
        "SELECT count(*), sum(left_out) FROM claim WHERE patient_id = $1", patient_id
    )
    assert (rows, left_out) == (288 * (NEWEST + 1), 288 * (40 - NEWEST))
    assert await values_stored(core, patient_id) == 288 * (NEWEST + 1)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_sent_what_is_noted_as_stored_is_what_the_chunks_hold(
    cgm: Client, clock: Clock, core: Core, patient_id: UUID, seed: int
) -> None:
    chance, instants = Random(seed), items(clock, 0, 0)
    for step in range(80):
        batch = [{**chance.choice(instants), "value": chance.randint(50, 90)} for _ in range(chance.randint(1, 15))]
        act = chance.random()
        members: dict[str, Any] = {"upload": f"u{step}"} if chance.random() < 0.2 else {}
        if act < 0.15:
            members["correction"] = True
        answer = await cgm.post(READINGS, json={"unit": "mg/dL", "readings": batch, **members})
        assert answer.status_code == 200
        if act > 0.9:
            await cgm.delete(f"{UPLOADS}/u{chance.randint(0, step)}")
        noted: dict[int, set[int]] = {}
        rows = await core.pool.fetch(
            "SELECT time_ms, raw, replaced_ms FROM claim WHERE patient_id = $1 ORDER BY claim_no", patient_id
        )
        for row in rows:
            values = noted.setdefault(row["time_ms"], set())
            if row["replaced_ms"] is None:
                values.add(row["raw"])
        held = await readings_held(core, patient_id)
        for time, values in noted.items():
            taken_back = values - held.get(time, set())  # from an upload that was deleted
            assert held.get(time, set()) <= values
            assert len(taken_back) <= NEWEST + 2
        assert len(rows) <= len(instants) * (3 * NEWEST + 3)


async def readings_held(core: Core, patient_id: UUID) -> dict[int, set[int]]:
    """The values that the chunks hold, by instant."""
    found: dict[int, set[int]] = {}
    for row in await core.pool.fetch("SELECT start_ms, times, vals FROM chunk WHERE patient_id = $1", patient_id):
        for time, raw in decode(row["times"], row["vals"], row["start_ms"], PERIOD):
            found.setdefault(time, set()).add(raw)
    return found
