"""Pytest plugin: which requirement of the catalogue is proven by which test, and the report docs/conformance.md.

A requirement counts as passed when at least one test carries its id and all tests that do have passed; everything
else is failed or not covered. `--conformance FILE` writes the report, `--conformance-check FILE` fails when it is out
of date.
"""

from __future__ import annotations

import csv
import os
import tomllib
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "conformance"
STATES = ("passed", "failed", "not covered")


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
    """Collects the outcome of every test that carries a requirement marker."""

    def __init__(self) -> None:
        self.evidence: dict[str, Evidence] = defaultdict(Evidence)
        self.ids_by_test: dict[str, set[str]] = {}
        self.skipped = 0

    def collect(self, items: Iterable[pytest.Item]) -> None:
        """Remember the requirement ids of `items`; an id that the catalogue does not know is an error."""
        known = {row["id"] for row in catalogue()}
        for item in items:
            ids = {name for mark in item.iter_markers("requirement") for name in mark.args}
            if unknown := ids - known:
                raise pytest.UsageError(f"{item.nodeid}: no such requirement: {', '.join(sorted(unknown))}")
            if ids:
                self.ids_by_test[item.nodeid] = ids

    def add(self, report: pytest.TestReport) -> None:
        """Count one phase of one test."""
        self.skipped += report.skipped
        if report.when != "call" and report.passed:
            return
        for name in self.ids_by_test.get(report.nodeid, ()):
            evidence = self.evidence[name]
            evidence.tests.add(report.nodeid.split("[")[0])
            if not report.passed:
                evidence.failed.add(report.nodeid)


def catalogue() -> list[dict[str, str]]:
    """The rows of the requirements catalogue, in its order."""
    with (FOLDER / "requirements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def decisions() -> dict[str, str]:
    """Requirement id → what this project decided, for every MAY and for what no test of a server can prove."""
    return tomllib.loads((FOLDER / "decisions.toml").read_text())


def render(evidence: dict[str, Evidence]) -> str:
    """The report as Markdown."""
    rows = catalogue()
    decided = decisions()
    lines = [
        "# Conformance with HDDT 1.0.1",
        "",
        "Written by `make conformance`; do not edit. *passed*: black-box tests over HTTP carry the id and all passed.",
        "Rows of level NOTE are contradictions in the specification with the reading this project follows.",
        "",
        "| area | passed | failed | not covered |",
        "|---|---|---|---|",
    ]
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["area"], dict.fromkeys(STATES, 0))[evidence[row["id"]].state] += 1
    lines += [f"| {area} | {' | '.join(str(count[state]) for state in STATES)} |" for area, count in counts.items()]
    total = {state: sum(count[state] for count in counts.values()) for state in STATES}
    lines += [f"| **all** | {' | '.join(f'**{total[state]}**' for state in STATES)} |"]
    for area in counts:
        lines += ["", f"## {area}", "", "| id | level | state | tests | decision |", "|---|---|---|---|---|"]
        lines += [_row(row, evidence[row["id"]], decided.get(row["id"], "")) for row in rows if row["area"] == area]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, str], evidence: Evidence, decision: str) -> str:
    tests = "<br>".join(f"`{name.removeprefix('tests/')}`" for name in sorted(evidence.tests))
    return f"| {row['id']} | {row['level']} | {evidence.state} | {tests} | {decision} |"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The two options of this plugin."""
    group = parser.getgroup("conformance")
    group.addoption("--conformance", metavar="FILE", help="write the conformance report to FILE")
    group.addoption("--conformance-check", metavar="FILE", help="fail when FILE is not the current report")


def pytest_configure(config: pytest.Config) -> None:
    """Start with nothing proven."""
    config.stash[KEY] = Conformance()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs after deselection, so only tests that will run count."""
    config.stash[KEY].collect(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count each report."""
    report = yield
    item.config.stash[KEY].add(report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write or check the report; in CI a skip is a failure."""
    config = session.config
    conformance = config.stash[KEY]
    if conformance.skipped and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if path := config.getoption("--conformance"):
        Path(path).write_text(render(conformance.evidence))
    if (path := config.getoption("--conformance-check")) and Path(path).read_text() != render(conformance.evidence):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        config.stash[STALE] = path


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what made the run fail besides failed tests."""
    if config.stash.get(STALE, ""):
        terminalreporter.write_line(f"{config.stash[STALE]} is out of date: run make conformance", red=True)
    if config.stash[KEY].skipped and os.environ.get("CI"):
        terminalreporter.write_line("a skip in CI is a failure", red=True)


KEY = pytest.StashKey[Conformance]()
STALE = pytest.StashKey[str]()
