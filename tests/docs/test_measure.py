"""What `make coverage`, `make mutation` and CI make of their tools' reports, tested without these tools."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tools import evidence
from tools.dossier import measured
from tools.measure import coverage, mutation, run


def _report(contexts: dict[str, list[str]]) -> dict[str, Any]:
    summary = {
        "num_branches": 4,
        "num_statements": 10,
        "covered_branches": 3,
        "covered_lines": 9,
        "percent_covered": 85.7,
    }
    one = {
        "summary": summary,
        "missing_lines": [3, 4, 9],
        "missing_branches": [[3, 4], [7, -1], [7, 9]],
        "contexts": contexts,
    }
    return {"files": {"ddr/oauth/pkce.py": one, "tests/x.py": {}}}


def test_code_that_few_requirements_reach_answers_for_them() -> None:
    lines = Path(evidence.ROOT, "ddr/oauth/pkce.py").read_text().splitlines()
    own, shared = (
        next(at for at, line in enumerate(lines, 1) if text in line) for text in ("_CHALLENGE.full", "return encoded")
    )
    found = coverage.document(_report({str(own): ["AS-015", "|"], str(shared): ["AS-015|", "AS-044"]}))
    assert found["requirements"]["AS-015"] == ["ddr/oauth/pkce.py: well_formed"]
    assert (found["percent"], found["branch_percent"]) == (85.71, 75.0)
    assert found["lowest"] == [{"file": "ddr/oauth/pkce.py", "percent": 85.7, "missing": "3-4, 9, 7→9"}]


@pytest.mark.parametrize(("covered", "percent", "status"), [(28, 92.5, 0), (27, 90.0, 1)])
def test_a_run_must_reach_enough(covered: int, percent: float, status: int, tmp_path: Path) -> None:
    """Of 30 lines and 10 branches."""
    summary = {"covered_lines": covered, "missing_lines": 30 - covered, "covered_branches": 9, "missing_branches": 1}
    one = {
        "summary": {**summary, "percent_covered": percent},
        "missing_lines": [7],
        "missing_branches": [[3, 4], [7, 9], [3, 0]],
    }
    (tmp_path / "slipcover.json").write_text(json.dumps({"files": {"ddr/oauth/pkce.py": one, "tests/x.py": {}}}))
    assert run.main(tmp_path) == status
    found = json.loads((tmp_path / measured.OF_RUN).read_text())
    assert (found["percent"], found["files"]) == (percent, 1)
    (row,) = measured.coverage_of_run(found).rows
    assert row == {"file": "ddr/oauth/pkce.py", "covered": f"{percent} %", "lines not reached": "7, 3→4"}


def test_survivors_are_explained_one_by_one() -> None:
    one = mutation.Mutant("scopes", "ddr.scopes.parse.parse", "survived", ("x = 1",))
    other = replace(one, lines=("x = 2",))
    killed, untried = (replace(one, ended=ended, lines=()) for ended in ("killed", "not checked"))
    found = mutation.document([one, other, killed, untried], {one.function: ["x = 1"]})
    assert found["rooms"] == {"scopes": {"mutants": 3, "killed": 1, "explained": 1, "untried": 1}}
    assert (found["score"], [line["lines"] for line in found["unexplained"]]) == (33.33, [["x = 2"]])


@pytest.mark.parametrize("name", mutation.explanations())
def test_what_explains_a_survivor_is_of_a_function_that_there_is(name: str) -> None:
    *module, function = name.split(".")
    file = Path(evidence.ROOT, *takewhile(str.islower, module)).with_suffix(".py")  # without the class of a method
    assert f"def {function}(" in file.read_text("utf-8")
