"""Each requirement, its chosen reading, its tests, their result in this very run, and the code behind it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from ddr.dossier.model import Chapter
from tests import conformance
from tools.closure import ROOT

EXPLAINED = "explained"  # no test of a server can prove it, or it is a choice: the reading says which
_CODE = (("ddr", "*.py"), ("ddr", "*.html"), ("ddr", "*.json"), ("miv_packages", "*.toml"))
_MOST = 6  # places in the code per row
_AND_REACHED = ", then those that only its tests reach."
_NOT_REACHED = "; which code its tests reach was not measured for this state."


def chapter(run: conformance.Conformance, reached: Mapping[str, Sequence[str]] | None) -> Chapter:
    """Every row of the catalogue. `reached`: by requirement, the code that its tests reach more than others do, or None
    if that was not measured."""
    decided, duties, named = conformance.decisions(), conformance.duties(), _named()
    rows = []
    for row in conformance.catalogue():
        evidence = run.evidence[row["id"]]
        state = conformance.state(row["id"], evidence)
        if state == "not covered" and (row["id"] in decided or row["level"] == "NOTE"):
            state = EXPLAINED
        places = dict.fromkeys([*named[row["id"]], *(reached or {}).get(row["id"], ())])
        rows.append(
            {
                "area": row["area"],
                "id": row["id"],
                "level": row["level"],
                "requirement": row["requirement"],
                "reading": decided.get(row["id"], ""),
                "operator's task": task(duties[row["id"]]) if row["id"] in duties else "",
                "tests": "\n".join(_told(evidence)),
                "result": state,
                "code": "\n".join([*places][:_MOST]),
            }
        )
    about = (
        "Every row of the catalogue of HDDT 1.0.1. passed: all tests that carry the id passed in this run."
        " operator: a duty of the operator, with the place that says how. explained: the reading says why no"
        " test of a server can prove it. Code: the places that name the id"
        + (_NOT_REACHED if reached is None else _AND_REACHED)
    )
    return Chapter("Requirements", about, rows, by="area")


def missing(one: Chapter) -> Iterator[str]:
    """Requirements with a failed test, and those with neither a test, nor an owner, nor a reason."""
    for row in one.rows:
        if row["result"] in ("failed", "not covered"):
            yield f"requirement {row['id']}: {row['result']}"


def task(place: str) -> str:
    """The operator's duty: the heading and the first sentences at FILE#HEADING. Raises ValueError."""
    file, _, wanted = place.partition("#")
    parts = re.split(r"^#+ (.+)$", (ROOT / "docs" / file).read_text(), flags=re.MULTILINE)
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        if re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") == wanted:
            first = next(iter(text.strip().split("\n\n")), "")
            return f"{heading}: {' '.join(first.split())}\ndocs/{place}"
    raise ValueError(f"docs/{place}: there is no such heading")


def _told(evidence: conformance.Evidence) -> Iterator[str]:
    for test in sorted(evidence.tests):
        failed = any(one.split("[")[0] == test for one in evidence.failed)
        yield test.removeprefix("tests/") + (" FAILED" if failed else "")


@cache
def _named() -> Mapping[str, list[str]]:
    """Requirement id → the files of the recorder that name it."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder, pattern in _CODE:
        for file in sorted((ROOT / folder).rglob(pattern)):
            if not file.is_relative_to(ROOT / "ddr" / "conform"):  # it tests, but does not implement
                for name in sorted(set(re.findall(r"\b[A-Z]{2,4}-\d{3}\b", file.read_text("utf-8")))):
                    found[name].append(str(file.relative_to(ROOT)))
    return found
