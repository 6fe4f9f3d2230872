"""Pytest plugin: which requirement of the catalogue is proven by which test, and the report docs/conformance.md.

A requirement counts as passed when at least one test carries its id and all tests that do have passed; everything
else is failed or not covered. What the table `[operator]` of decisions.toml lists is a duty of the operator of the
recorder: no test of this software proves it, so it never counts as passed, and the report links to how we help.
`--evidence FOLDER` keeps what a run proved; `python -m tests.conformance FOLDER` counts all runs with that folder,
`--write FILE` writes their report, `--check FILE` fails when FILE is not that report. Reports carry the ids as user
properties: they arrive here from the workers of a parallel run, too. The folder also has how each test ended, of which
commit, and the documents that tests keep for the dossier (tools/dossier).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "conformance"
STATES = ("passed", "failed", "operator", "not covered")
OPERATOR = "operator"


@dataclass
class Evidence:
    """The tests that carry one requirement id, and how they ended."""

    tests: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    @property
    def state(self) -> str:
        """passed, failed or not covered."""
        return "not covered" if not self.tests else "failed" if self.failed else "passed"


class Conformance:
    """Collects the outcome of every test that carries a requirement marker, and counts all."""

    def __init__(self) -> None:
        self.evidence: dict[str, Evidence] = defaultdict(Evidence)
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.outcomes: dict[str, str] = {}  # test without parameters → passed, or how the first other one ended
        self.commits: set[str] = set()
        self.made = ""  # when the newest run ended

    def add(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        if report.when != "call" and report.passed:
            return
        self.counts[report.outcome] += 1
        test = report.nodeid.split("[")[0]
        if self.outcomes.get(test, "passed") == "passed":
            self.outcomes[test] = report.outcome
        for name in (value for key, value in report.user_properties if key == PROPERTY):
            evidence = self.evidence[str(name)]
            evidence.tests.add(test)
            if not report.passed:
                evidence.failed.add(report.nodeid)

    def keep(self, folder: Path) -> None:
        """Write what this run proved into `folder`."""
        proven = {name: [sorted(each.tests), sorted(each.failed)] for name, each in self.evidence.items()}
        folder.mkdir(parents=True, exist_ok=True)
        told = {
            "commit": commit(),
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "counts": self.counts,
            "outcomes": self.outcomes,
            "evidence": proven,
        }
        (folder / f"{uuid4().hex}.json").write_text(json.dumps(told))

    def recall(self, folder: Path) -> None:
        """Add what earlier runs wrote into `folder`."""
        for file in sorted(folder.glob("*.json")):
            run = json.loads(file.read_text())
            for name, count in run["counts"].items():
                self.counts[name] += count
            self.outcomes |= {name: how for name, how in run["outcomes"].items() if self.outcomes.get(name) != "failed"}
            self.commits.add(run["commit"])
            self.made = max(self.made, run["made"])
            for name, (tests, failed) in run["evidence"].items():
                self.evidence[name].tests.update(tests)
                self.evidence[name].failed.update(failed)


def commit() -> str:
    """The commit that is tested, with + when files differ from it; empty where there is no repository."""
    git = ["git", "-C", str(FOLDER)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout.strip()
    return head + ("+" if changed else "")


def proves(folder: Path, wanted: str) -> bool:
    """True when the evidence in `folder` is of the commit `wanted` alone, unchanged, and nothing failed."""
    run = Conformance()
    run.recall(folder)
    return (
        run.commits == {wanted} and not wanted.endswith("+") and bool(run.counts["passed"]) and not run.counts["failed"]
    )


def keep_document(config: pytest.Config, name: str, content: bytes) -> None:
    """Keep what a test got from the running recorder, when this run keeps evidence."""
    if folder := config.getoption("--evidence"):
        (folder / "documents").mkdir(parents=True, exist_ok=True)
        (folder / "documents" / name).write_bytes(content)


def catalogue() -> list[dict[str, str]]:
    """The rows of the requirements catalogue, in its order."""
    with (FOLDER / "requirements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def decisions() -> dict[str, str]:
    """Requirement id → what this project decided, for every MAY and for what no test of a server can prove."""
    return {name: text for name, text in _decided().items() if isinstance(text, str)}


def duties() -> dict[str, str]:
    """Requirement id of what the operator has to do → the place below docs/ that tells how: FILE#HEADING."""
    found: dict[str, str] = _decided().get(OPERATOR, {})
    return found


def _decided() -> dict[str, Any]:
    return tomllib.loads((FOLDER / "decisions.toml").read_text())


def render(evidence: dict[str, Evidence]) -> str:
    """The report as Markdown."""
    rows = catalogue()
    decided = {**decisions(), **{name: _linked(place) for name, place in duties().items()}}
    states = {row["id"]: state(row["id"], evidence[row["id"]]) for row in rows}
    lines = [
        "# Conformance with HDDT 1.0.1",
        "",
        "Written by `make conformance`; do not edit. *passed*: black-box tests over HTTP carry the id and all passed.",
        "*operator*: a duty of the operator, with the page that explains it; never counted as passed.",
        "Rows of level NOTE are contradictions in the specification with the reading this project follows.",
        "",
        f"| area | {' | '.join(STATES)} |",
        "|---|---|---|---|---|",
    ]
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["area"], dict.fromkeys(STATES, 0))[states[row["id"]]] += 1
    lines += [f"| {area} | {' | '.join(str(count[state]) for state in STATES)} |" for area, count in counts.items()]
    total = {state: sum(count[state] for count in counts.values()) for state in STATES}
    lines += [f"| **all** | {' | '.join(f'**{total[state]}**' for state in STATES)} |"]
    for area in counts:
        lines += ["", f"## {area}", "", "| id | level | state | tests | decision |", "|---|---|---|---|---|"]
        lines += [
            _row(row, states[row["id"]], evidence[row["id"]], decided.get(row["id"], ""))
            for row in rows
            if row["area"] == area
        ]
    return "\n".join(lines) + "\n"


def state(name: str, evidence: Evidence) -> str:
    """passed, failed, operator or not covered. A duty of the operator is none of ours to pass; its tests can fail."""
    return OPERATOR if name in duties() and not evidence.failed else evidence.state


def _linked(place: str) -> str:
    file, _, heading = place.partition("#")
    return f"The operator's duty: [{heading.replace('-', ' ')}]({file}#{heading})"


def _row(row: dict[str, str], state: str, evidence: Evidence, decision: str) -> str:
    tests = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in sorted(evidence.tests))
    return f"| {row['id']} | {row['level']} | {state} | {tests} | {decision} |"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of this plugin."""
    group = parser.getgroup("conformance")
    group.addoption("--evidence", metavar="FOLDER", type=Path, help="keep what this run proves in FOLDER")


def pytest_configure(config: pytest.Config) -> None:
    """Start with nothing proven."""
    config.stash[KEY] = Conformance()
    config.pluginmanager.register(_Reports(config.stash[KEY]))


class _Reports:
    """Sees each report: of this process, or of the workers of a parallel run."""

    def __init__(self, conformance: Conformance) -> None:
        self.conformance = conformance

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count each report."""
        self.conformance.add(report)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the requirement ids into what is reported of a test; one that the catalogue does not know is an error."""
    known = {row["id"] for row in catalogue()}
    for item in items:
        ids = {name for mark in item.iter_markers("requirement") for name in mark.args}
        if unknown := ids - known:
            raise pytest.UsageError(f"{item.nodeid}: no such requirement: {', '.join(sorted(unknown))}")
        item.user_properties += [(PROPERTY, name) for name in sorted(ids)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the evidence; in CI a skip is a failure."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    conformance = config.stash[KEY]
    if conformance.counts["skipped"] and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if folder := config.getoption("--evidence"):
        conformance.keep(folder)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what made the run fail besides failed tests."""
    if config.stash[KEY].counts["skipped"] and os.environ.get("CI"):
        terminalreporter.write_line("a skip in CI is a failure", red=True)


KEY = pytest.StashKey[Conformance]()
PROPERTY = "requirement"


def main() -> None:
    """The command line of this module; see above."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument("--proves-this-commit", action="store_true", help="say it by the exit status, and nothing else")
    args = parser.parse_args()
    if args.proves_this_commit:
        sys.exit(not proves(args.folder, commit()))
    conformance = Conformance()
    conformance.recall(args.folder)
    report = render(conformance.evidence)
    if args.write:
        args.write.write_text(report)
    stale = args.check and args.check.read_text() != report
    if stale:
        print(f"{args.check} is out of date: run make conformance")
    counts = conformance.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(bool(stale or counts["failed"] or not counts["passed"]))


if __name__ == "__main__":
    main()
