"""The dossier: complete when every row has evidence or an owner, and it says what lacks one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ddr import __version__
from ddr.cli.main import main as ddr
from ddr.dossier import reports
from ddr.dossier.model import Chapter, Dossier, DossierError, read, write
from ddr.dossier.page import html
from ddr.dossier.settings import in_force
from ddr.settings import Settings
from tests import conformance
from tests.docs.dossier import KIT, kept
from tools import evidence
from tools.dossier import parts, requirements
from tools.dossier.__main__ import main


class _Page(HTMLParser):
    """What stands in the page: rows of tables, anchors, and what links lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.anchors, self.links = 0, set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        for name, value in attrs:
            if name in ("id", "href"):
                (self.anchors if name == "id" else self.links).add(str(value))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dossier in which nothing is missing."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["--out", str(folder / "out"), "--evidence", str(kept(folder / "evidence"))]) == 0
    return folder / "out"


def test_it_has_every_chapter_and_row(whole: Path) -> None:
    found = json.loads((whole / "dossier.json").read_text())
    assert found["missing"] == []
    rows = {chapter["name"]: chapter["rows"] for chapter in found["chapters"]}
    assert [row["id"] for row in rows["Requirements"]] == [row["id"] for row in conformance.catalogue()]
    for row in rows["Requirements"]:
        assert row["tests"]
        assert bool(row["operator's task"]) == (row["result"] == "operator")
    places = {place.partition(":")[0] for row in rows["Requirements"] for place in row["code"].splitlines()}
    assert places and [place for place in places if not (evidence.ROOT / place).is_file()] == []
    assert len(rows["Checklist for a backend: 27 points"]) == 27
    made_of = rows["Software of unknown provenance"]
    assert all(row["version"] and row["licence"] and row["used for"] and row["trusted because"] for row in made_of)
    assert len(found["documents"]["ddr.cdx.json"]["components"]) <= len(made_of)
    assert rows["Settings in force"] and rows["Conformance kit"]


def test_the_page_shows_all_rows_and_its_links_lead_somewhere(whole: Path) -> None:
    found = json.loads((whole / "dossier.json").read_text())
    page = _Page((whole / "dossier.html").read_text())
    assert page.rows >= sum(len(chapter["rows"]) for chapter in found["chapters"])
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} == page.anchors


def test_what_lacks_evidence_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    risk = evidence.load("hazards")["hazard"][0]["tests"][0]
    folder = kept(tmp_path / "evidence", "RS-001", f"tests/{risk}")
    (folder / "documents" / "kit.json").unlink()
    assert main(["--out", str(tmp_path / "out"), "--evidence", str(folder)]) == 1
    told = capsys.readouterr().err
    assert "requirement RS-001: not covered" in told
    assert f"test tests/{risk}: failed" in told
    assert "Hazards of wrong data: a value at the wrong time: failed" in told
    assert "conformance kit: no report of this run" in told
    assert "RS-001: not covered" in (tmp_path / "out" / "dossier.html").read_text()


def test_the_limits_of_settings_are_the_narrowest() -> None:
    rows = in_force(Settings(allow_builtin_accounts=True)).rows
    limits = {row["setting"]: row["limits"].splitlines() for row in rows}
    assert limits["consent_days"] == ["must be at least 1", "consent must not exceed one year"]
    assert limits["code_seconds"][-1].startswith("must be at most 600")
    assert limits["gateway_token_days"] == ["must be at least 1", "must be at most 36500"]


def test_every_point_of_the_checklist_has_evidence_or_an_owner() -> None:
    points = evidence.load("checklist")["point"]
    assert len(points) == 27
    for one in points:
        assert one.get("evidence") or one.get("operator")
        assert [place for place in one.get("evidence", ()) if not (evidence.ROOT / place).exists()] == []


def test_every_duty_of_the_operator_is_described() -> None:
    assert all(len(requirements.task(place)) > 60 for place in conformance.duties().values())


def test_an_installation_takes_the_release_in(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens: the dossier says so, and has the release's chapters nevertheless."""
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    for listener in ("DIGA", "PUBLIC", "GATEWAY"):
        monkeypatch.setenv(f"DDR_{listener}_BASE_URL", "https://127.0.0.1:9")
    release = whole / "dossier.json"
    assert ddr(["dossier", "--out", str(tmp_path / "out"), "--release", str(release)]) == 1
    assert "missing: DiGA listener: " in capsys.readouterr().err
    both = read(tmp_path / "out" / "dossier.json")
    assert {one.name for one in read(release).chapters} <= {one.name for one in both.chapters}
    (tmp_path / "no.json").write_text("[]")
    assert ddr(["dossier", "--out", str(tmp_path / "out"), "--release", str(tmp_path / "no.json")]) == 1
    assert "no.json: is not a dossier.json\n" in capsys.readouterr().err


def test_a_report_that_is_not_of_this_installation_is_told(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the dossier of an installation took the report of any recorder, with whatever had failed, and the dossier
    of any release, and called nothing missing."""
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    for listener in ("DIGA", "PUBLIC", "GATEWAY"):
        monkeypatch.setenv(f"DDR_{listener}_BASE_URL", "https://127.0.0.1:9")
    release, kit = json.loads((whole / "dossier.json").read_text()), json.loads(KIT)
    release["facts"]["software"] = "ddr 0.0.9"
    (one,) = kit["checks"]
    kit["checks"] = [
        one | {"check": name, "verdict": verdict, "remark": remark}
        for name, verdict, remark in (
            ("bad", "failed", False),
            ("advised", "failed", True),
            ("odd", "kit error", False),
        )
    ]
    files = {"--release": tmp_path / "release.json", "--kit": tmp_path / "kit.json"}

    def told() -> list[str]:
        for name, content in (("--release", release), ("--kit", kit)):
            files[name].write_text(json.dumps(content))
        given = [str(part) for pair in files.items() for part in pair]
        assert ddr(["dossier", "--out", str(tmp_path / "out"), *given]) == 1
        lines = capsys.readouterr().err.splitlines()
        return [line.removeprefix("ddr: missing: ") for line in lines if "listener" not in line]

    assert [line for line in told() if line.startswith(("conformance kit", "release"))] == [
        "conformance kit: the report is about https://recorder.example/fhir, but this recorder is https://127.0.0.1:9/fhir",
        "conformance kit: bad: failed",
        "conformance kit: odd: kit error",
        f"release: the dossier is of ddr 0.0.9, but ddr {__version__} is installed",
    ]
    release["facts"]["software"] = f"ddr {__version__}"
    kit["checks"], kit["recorder"]["fhirBase"] = [one], "https://127.0.0.1:9/fhir/"
    assert not [line for line in told() if line.startswith(("conformance kit", "release"))]


def test_a_report_of_another_version_is_told(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    for wanted, made in (("checks", reports.kit), ("figures", reports.performance)):
        file.write_text(json.dumps({wanted: [{}]}))
        with pytest.raises(DossierError, match=r"report\.json: is a report of another kind or version"):
            reports.of(file, wanted, made)


def test_what_a_cell_says_is_shown_as_it_is(tmp_path: Path) -> None:
    rows = [
        {"kind": "a", "text": "<script>x</script>", "result": "failed"},
        {"kind": "b", "text": "", "result": "passed"},
    ]
    one = Dossier(
        "t", {}, [Chapter("c", "about", rows, by="kind"), Chapter("empty", "", [])], {"d.json": {"title": "D"}}
    )
    text = html(one)
    assert "<script" not in text and 'class="bad"' in text and "<h3 " in text and ">D</td>" in text
    write(one, tmp_path)
    assert asdict(read(tmp_path / "dossier.json")) == asdict(replace(one, missing=[]))
    assert 'class="missing"' in html(replace(one, missing=["x"]))


def test_a_package_that_nobody_describes_is_told() -> None:
    """One that another needs is trusted as that is; `whole` shows that all of ours are described."""
    components: list[dict[str, Any]] = [
        {"bom-ref": name, "name": name, "version": "1", "licenses": []} for name in ("new", "needed")
    ]
    uses = [{"ref": "ddr", "dependsOn": ["new"]}, {"ref": "new", "dependsOn": ["needed"]}]
    bom = {"metadata": {"component": {"bom-ref": "ddr"}}, "components": components, "dependencies": uses}
    assert list(parts.missing(parts.chapter(bom))) == ["package new: docs/dependencies.md does not describe it"]
