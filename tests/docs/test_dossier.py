"""The dossier: complete when every requirement has evidence or an owner, and it says what lacks one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from tests import conformance
from tools import dossier, evidence


def _kept(folder: Path, left_out: str = "") -> None:
    names = {row["id"] for row in conformance.catalogue()} - {left_out}
    proven = {name: [["tests/spec/test_rs_errors.py::test_malformed_bodies"], []] for name in names}
    folder.mkdir()
    run = {
        "commit": "0123abc",
        "made": "2026-11-26 22:00 UTC",
        "counts": {"passed": 1},
        "outcomes": {},
        "evidence": proven,
    }
    (folder / "one.json").write_text(json.dumps(run))


class _Rows(HTMLParser):
    rows = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.rows += tag == "tr"


def test_it_has_every_chapter_and_row(tmp_path: Path) -> None:
    _kept(tmp_path / "evidence")
    assert dossier.main(["--out", str(tmp_path / "out"), "--evidence", str(tmp_path / "evidence")]) == 0
    chapters = json.loads((tmp_path / "out" / "dossier.json").read_text())
    assert len(chapters["Requirements"]) == len(conformance.catalogue())
    assert all(row["tests"] for row in chapters["Requirements"])
    assert all(row["version"] for row in chapters["Software of unknown provenance"])
    page = _Rows()
    page.feed((tmp_path / "out" / "dossier.html").read_text())
    assert page.rows == sum(len(rows) + 1 for rows in chapters.values())


def test_a_requirement_without_evidence_is_told(tmp_path: Path) -> None:
    _kept(tmp_path / "evidence", "RS-001")
    assert dossier.main(["--out", str(tmp_path / "out"), "--evidence", str(tmp_path / "evidence")]) == 1
    assert "without evidence: RS-001." in (tmp_path / "out" / "dossier.html").read_text()


def test_every_point_of_the_checklist_has_evidence_or_an_owner() -> None:
    points = evidence.load("checklist")["point"]
    assert len(points) == 27
    for one in points:
        assert one.get("evidence") or one.get("operator")
        assert [place for place in one.get("evidence", ()) if not (evidence.ROOT / place).exists()] == []
