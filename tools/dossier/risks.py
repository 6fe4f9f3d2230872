"""Checklist, threats, hazards and the register of data (docs/evidence), with the results of their tests in this very
run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ddr.dossier.model import Chapter, Row
from tools import evidence
from tools.closure import ROOT

NO_RESULT = "no result"


def chapters(outcomes: Mapping[str, str]) -> list[Chapter]:
    """`outcomes`: test without parameters (tests/…::name) → its result."""
    return [
        Chapter(
            "Checklist for a backend: 27 points",
            "What is required of the backend of a DiGA or a device: where the evidence is, and what the operator does.",
            [_point(number, one, outcomes) for number, one in enumerate(evidence.load("checklist")["point"], 1)],
        ),
        Chapter(
            "Threats",
            "By STRIDE (security) and LINDDUN (privacy): the countermeasures against each, their tests, and"
            " what is left.",
            [_risk(one, outcomes) for one in evidence.load("threats")["threat"]],
        ),
        Chapter(
            "Hazards of wrong data",
            "What can harm a patient without an attack. The manufacturer assesses severity and probability"
            " for the device (ISO 14971).",
            [_risk(one, outcomes) for one in evidence.load("hazards")["hazard"]],
        ),
        Chapter(
            "Data: what for, whose, how long",
            "Every table of the database; a test fails if one is not described (docs/data-protection.md).",
            [
                {"table": name, **{key: str(text) for key, text in one.items() if key != "columns"}}
                for name, one in evidence.load("data")["tables"].items()
            ],
        ),
    ]


def missing(found: Sequence[Chapter]) -> Iterator[str]:
    """Rows without a passed test, or with neither evidence nor owner."""
    for chapter in found:
        for row in chapter.rows:
            name = row.get("name") or row.get("question", "")
            if "tests" in row and row["result"] != "passed":
                yield f"{chapter.name}: {name}: {row['result']}"
            if "question" in row and not (row["evidence"] or row["operator"]):
                yield f"{chapter.name}: {name}: neither evidence nor owner"


def _risk(one: Mapping[str, Any], outcomes: Mapping[str, str]) -> Row:
    texts = {key: ", ".join(text) if isinstance(text, list) else str(text) for key, text in one.items()}
    row = {key.upper() if key in ("stride", "linddun") else key: text for key, text in texts.items()}
    ended = {test: outcomes.get(f"tests/{test}", NO_RESULT) for test in one["tests"]}
    wrong = {how for how in ended.values() if how != "passed"}
    told = (test if how == "passed" else f"{test}: {how}" for test, how in ended.items())
    return {**row, "tests": "\n".join(told), "result": ", ".join(sorted(wrong)) or "passed"}


def _point(number: int, one: Mapping[str, Any], outcomes: Mapping[str, str]) -> Row:
    places = one.get("evidence", [])
    return {
        "no": str(number),
        "question": one["question"],
        "evidence": "\n".join(f"{place}{_counted(place, outcomes)}" for place in places if (ROOT / place).exists()),
        "operator": one.get("operator", ""),
    }


def _counted(place: str, outcomes: Mapping[str, str]) -> str:
    """How many tests of a file passed."""
    ended = [how for test, how in outcomes.items() if test.partition("::")[0] == place]
    return f": {ended.count('passed')} of {len(ended)} passed" if ended else ""
