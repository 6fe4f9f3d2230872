"""Figures measured apart from the tests' run: shown with commit and target, or with a note that there are none."""

from __future__ import annotations

import json
from pathlib import Path

from tools.dossier import measured

WHEN = {"made": "2026-11-26", "commit": "0123456789abcdef"}
ROOM = {"mutants": 4, "killed": 3, "explained": 0, "untried": 2}


def test_what_was_never_measured_shows_no_figure(tmp_path: Path) -> None:
    covered, mutated = measured.load("coverage", tmp_path), measured.load("mutation", tmp_path)
    assert set(measured.facts(covered, mutated).values()) == {"not measured"}
    for chapter in (measured.coverage(covered), measured.mutation(mutated)):
        assert [row["figure"] for row in chapter.rows] == ["not measured"]
    assert list(measured.missing(mutated)) == []


def test_what_is_below_its_target_is_told(tmp_path: Path) -> None:
    (tmp_path / "coverage.json").write_text(json.dumps({"percent": 96.9, "branch_percent": 95, **WHEN}))
    told = measured.facts(measured.load("coverage", tmp_path), {"score": 90.0, "rooms": {}, **WHEN})
    assert "target 97 % missed" in told["coverage"] and "target 90 % reached" in told["mutation score"]
    assert all("commit 0123456789ab)" in one for one in told.values())


def test_a_measurement_of_files_that_differ_from_their_commit_says_so() -> None:
    changed = {"percent": 97.5, "branch_percent": 95, **WHEN, "commit": "0123456789abcdef0123456789abcdef01234567+"}
    assert "commit 0123456789ab with changes)" in measured.facts(changed, None)["coverage"]


def test_a_target_is_not_reached_by_a_part() -> None:
    told = measured.facts(None, {"score": 100.0, "rooms": {"scopes": ROOM}, **WHEN})["mutation score"]
    assert "of 4 faults" in told and "2 not tried, target 90 % open" in told


def test_survivors_without_explanation_are_missing() -> None:
    found = {"score": 75.0, "rooms": {"scopes": ROOM}, **WHEN}
    survivor = {"function": "f", "lines": ["x = 1"]}
    assert list(measured.missing({**found, "unexplained": [survivor]})) == ["mutation: f: x = 1 is not explained"]
    (row,) = measured.mutation({**found, "unexplained": []}).rows
    assert (row["score"], row["not tried"]) == ("75.0 %", "2")


def test_a_room_of_which_nothing_was_tried_has_no_score() -> None:
    untried = {"mutants": 0, "killed": 0, "explained": 0, "untried": 9}
    (row,) = measured.mutation({"score": 0.0, "rooms": {"oauth": untried}, **WHEN}).rows
    assert row["score"] == "not measured"
