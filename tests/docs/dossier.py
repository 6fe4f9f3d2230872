"""A made-up result of all tests for the dossier: everything passed."""

from __future__ import annotations

import json
from pathlib import Path

from ddr.dossier.model import Chapter, Dossier, as_json
from tests import conformance
from tools import evidence

TEST = "tests/spec/test_rs_errors.py::test_malformed_bodies"
KIT = json.dumps(
    {
        "recorder": {"fhirBase": "https://recorder.example/fhir"},
        "started": "2026-11-26T20:00:00Z",
        "requests": 1,
        "summary": {"passed": 1, "failed": 0},
        "checks": [
            {
                "chapter": "page",
                "check": "one",
                "requirements": ["RS-001"],
                "words": "Is it?",
                "verdict": "passed",
                "remark": False,
                "text": "",
            }
        ],
    }
)


def kept(folder: Path, left_out: str = "", failed: str = "", commit: str = "0123456789abcdef") -> Path:
    """`folder` with the evidence of a run in which no test carried the id `left_out`, and the test `failed` failed."""
    names = {row["id"] for row in conformance.catalogue()} - {left_out}
    risks = [*evidence.load("threats")["threat"], *evidence.load("hazards")["hazard"]]
    outcomes = {TEST: "passed"} | {f"tests/{test}": "passed" for one in risks for test in one["tests"]}
    told = {
        "commit": commit,
        "made": "2026-11-26 20:00 UTC",
        "counts": {"passed": len(outcomes), "failed": int(bool(failed)), "skipped": 0},
        "outcomes": outcomes | ({failed: "failed"} if failed else {}),
        "evidence": {name: [[TEST], []] for name in names},
    }
    (folder / "documents").mkdir(parents=True)
    (folder / "one.json").write_text(json.dumps(told))
    (folder / "documents" / "kit.json").write_text(KIT)
    seen = Dossier(
        "", {"installation": "https://recorder.example"}, [Chapter("Settings in force", "", [{"setting": "x"}])]
    )
    (folder / "documents" / "installation.json").write_bytes(as_json(seen))
    return folder
