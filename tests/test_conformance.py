"""The conformance report: its four verdicts, and that the places it refers to exist."""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conformance import Evidence, catalogue, decisions, duties, render, state

DOCS = Path(__file__).parent.parent / "docs"
PROVEN, BROKEN, NOTHING = Evidence({"tests/a.py::t"}), Evidence({"tests/a.py::t"}, {"tests/a.py::t"}), Evidence()


def anchors(file: Path) -> set[str]:
    """The headings of a document as links name them (GitHub's rule, for plain words)."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("evidence", "ours", "operators"),
    [(PROVEN, "passed", "operator"), (BROKEN, "failed", "failed"), (NOTHING, "not covered", "operator")],
)
def test_a_duty_of_the_operator_never_counts_as_passed(evidence: Evidence, ours: str, operators: str) -> None:
    assert state("OBS-001", evidence) == ours
    assert state("OPS-001", evidence) == operators


def test_an_id_means_one_requirement() -> None:
    names = [row["id"] for row in catalogue()]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


def test_every_duty_links_to_a_place_that_exists() -> None:
    known = {row["id"] for row in catalogue()}
    for name, place in duties().items():
        file, _, heading = place.partition("#")
        assert name in known
        assert heading in anchors(DOCS / file), f"{name}: no such place: docs/{place}"
    assert decisions().keys() <= known


@pytest.mark.parametrize(("arguments", "written"), [((), True), (("ARGS=-k obs",), False)])
def test_a_part_writes_no_report(arguments: tuple[str, ...], written: bool) -> None:
    """It took the place of the whole one, and called not covered what had not been run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARGS", "MAKE", "MFLAGS"))}
    told = subprocess.run(
        ["make", "--dry-run", "conformance", *arguments],
        cwd=DOCS.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ("--write docs/conformance.md" in told.stdout) is written, told.stderr
    assert "-m tests.conformance" in told.stdout


def test_the_report_shows_the_verdict_and_the_link() -> None:
    report = render(defaultdict(Evidence, {"OPS-001": PROVEN}))
    assert (
        "| OPS-001 | MUST | operator | `a.py::t` | The operator's duty: [availability](operations.md#availability) |"
        in report
    )
    totals = dict(
        zip(("passed", "failed", "operator", "not covered"), re.findall(r"\*\*(\d+)\*\*", report), strict=True)
    )
    assert (totals["passed"], totals["operator"]) == ("0", str(len(duties())))
