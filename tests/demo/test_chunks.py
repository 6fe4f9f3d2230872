"""Reading pulled chunks back, and comparing them with what was sent and with earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddr.demo import memory
from ddr.demo.chunks import compare, samples_of, up_to

BEGIN = 1_795_341_600_000


def chunk(data: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "meta": {"versionId": "1"},
        "status": "preliminary",
        "effectivePeriod": {"start": "2026-11-22T11:00:00+01:00"},
        "valueSampledData": {"period": 300000, "data": data},
        **changes,
    }


def test_values_come_back_at_the_times_of_their_slots() -> None:
    assert samples_of([chunk("100 E L 5.5 U")]) == [
        (BEGIN, 100),
        (BEGIN + 600_000, "L"),
        (BEGIN + 900_000, 5.5),
        (BEGIN + 1_200_000, "U"),
    ]
    assert samples_of([{**chunk(""), "valueSampledData": None}]) == []


def test_differences_are_told() -> None:
    sent = [(BEGIN, 100), (BEGIN + 450_000, 101)]
    assert compare([(BEGIN, 100), (BEGIN + 300_000, 101)], sent, 300_000) == (0, None)
    assert compare([(BEGIN, 100)], sent, 300_000) == (0, "reading 2 of 2 did not come back")
    assert compare([(BEGIN, 99), (BEGIN + 300_000, 101)], sent, 300_000)[1] == "reading 1 of 2 did not come back"
    assert compare([(BEGIN, 100), (BEGIN + 601_000, 101)], sent, 300_000)[1] == "reading 2 of 2 did not come back"
    assert compare([*sent, (BEGIN + 900_000, 7)], sent, 300_000)[1] == "1 values came back that were never sent"


def test_what_an_earlier_start_has_sent_is_no_difference() -> None:
    """Before: `ddr demo --time-lapse` on a folder that had the last day already said that it was never sent."""
    sent = [(BEGIN, 100), (BEGIN + 450_000, 101)]
    pulled = [(BEGIN, 100), (BEGIN + 600_000, 101)]
    assert up_to([*pulled, (BEGIN + 900_000, 7)], sent, 300_000) == pulled
    assert up_to(pulled, [], 300_000) == []


def test_a_slot_shows_the_nearer_of_two_readings() -> None:
    sent = [(BEGIN, 100), (BEGIN + 60_000, 101), (BEGIN + 300_000, 102)]
    assert compare([(BEGIN, 100), (BEGIN + 300_000, 102)], sent, 300_000) == (1, None)


def test_memory_of_the_last_run(tmp_path: Path) -> None:
    before = [chunk("1"), chunk("2", id="b")]
    assert memory.recall(tmp_path, "t") == {}
    memory.remember(tmp_path, "t", before)
    recalled = memory.recall(tmp_path, "t")
    assert memory.changed(recalled, before) == []
    assert memory.changed(recalled, [chunk("1", meta={"versionId": "2"}), chunk("2", id="b")]) == ["a"]
    assert memory.changed(recalled, [chunk("1", status="final", meta={"versionId": "2"})]) == ["b"]
