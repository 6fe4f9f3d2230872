"""Measurements, with date and commit: branch coverage and the faults that tests find.

`make coverage` and `make mutation` write the figures to docs/evidence/measured, since both take too long for CI. While
such a file is missing, the dossier says that it was not measured, and shows no figure. CI also measures what the tests
of the very run reach in their own processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddr.dossier import reports
from ddr.dossier.model import Chapter
from tools.closure import ROOT

FOLDER = ROOT / "docs" / "evidence" / "measured"
COVERED, SCORE = 97.0, 90.0  # percent: the targets
NOT_MEASURED = "not measured"
OF_RUN = "coverage.json"  # among the documents of a run

Measured = Mapping[str, Any]


def load(name: str, folder: Path = FOLDER) -> Measured | None:
    """One of coverage, mutation; None if it was never measured. Raises OSError, ValueError."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    found: Measured = json.loads(file.read_text("utf-8"))
    return found


def when(one: Measured) -> str:
    """Date and commit of a measurement, and whether files differed from it."""
    return f"{one['made']}, {reports.commit(one['commit'])}"


def coverage(one: Measured | None) -> Chapter:
    """The files with the lowest coverage."""
    if one is None:
        return _not_measured("Branch coverage", "make coverage", COVERED)
    return _coverage("Branch coverage", "that the tests reach, processes that they start included", one)


def coverage_of_run(one: Measured) -> Chapter:
    """The same for the run that the dossier describes."""
    what = "that the tests of this run reach in their own processes, without what they start and without a browser"
    return _coverage("Branch coverage of this run", what, one)


def _coverage(name: str, what: str, one: Measured) -> Chapter:
    rows = [
        {"file": row["file"], "covered": f"{row['percent']:.1f} %", "lines not reached": row["missing"]}
        for row in one["lowest"]
    ]
    about = (
        f"Lines and branches of ddr/ {what}: {one['percent']:.2f} %"
        f" of {one['lines']} lines and {one['branches']} branches, {one['branch_percent']:.2f} % of the branches alone"
        f" ({when(one)}). The lowest files of {one['files']}:"
    )
    return Chapter(name, about, rows)


def mutation(one: Measured | None) -> Chapter:
    """The score of each room."""
    if one is None:
        return _not_measured("Mutation testing", "make mutation", SCORE)
    rows = [
        {
            "room": name,
            "faults": str(room["mutants"]),
            "found": str(room["killed"]),
            "score": _score(room),
            "explained": str(room["explained"]),
            "not tried": str(room["untried"]),
        }
        for name, room in one["rooms"].items()
    ]
    about = (
        f"Faults put into the rooms that decide, one at a time: {one['score']:.1f} % of the {_count(one, 'mutants')}"
        f" that were tried were found by a test; {_count(one, 'untried')} were not tried ({when(one)})."
        " Faults that no test finds are explained in docs/evidence/mutants.toml, or named on the first page as missing."
    )
    return Chapter("Mutation testing", about, rows)


def facts(covered: Measured | None, mutated: Measured | None) -> dict[str, str]:
    """Both figures for the first page, with their targets."""
    found = {"coverage": NOT_MEASURED, "mutation score": NOT_MEASURED}
    if covered is not None:
        found["coverage"] = (
            f"{covered['percent']:.2f} % of lines and branches of ddr/, {covered['branch_percent']:.2f} % of"
            f" branches ({_against(covered['percent'], COVERED)}; {when(covered)})"
        )
    if mutated is not None:
        tried, untried = _count(mutated, "mutants"), _count(mutated, "untried")
        verdict = f"{untried} not tried, target {SCORE:g} % open" if untried else _against(mutated["score"], SCORE)
        found["mutation score"] = f"{mutated['score']:.1f} % of {tried} faults ({verdict}; {when(mutated)})"
    return found


def missing(mutated: Measured | None) -> Iterator[str]:
    """Survivors without an explanation."""
    for one in mutated["unexplained"] if mutated else ():
        yield f"mutation: {one['function']}: {' / '.join(one['lines'])} is not explained"


def _not_measured(name: str, command: str, target: float) -> Chapter:
    return Chapter(
        name, f"Not measured for this state; run `{command}`.", [{"figure": NOT_MEASURED, "target": f"{target:g} %"}]
    )


def _score(room: Mapping[str, int]) -> str:
    return f"{100 * room['killed'] / room['mutants']:.1f} %" if room["mutants"] else NOT_MEASURED


def _count(one: Measured, what: str) -> int:
    """The number of faults in all rooms."""
    return sum(room[what] for room in one["rooms"].values())


def _against(found: float, wanted: float) -> str:
    return f"target {wanted:g} % {'reached' if found >= wanted else 'missed'}"
