"""The whole dossier of a release, from the results of a test run, the measurements, and docs/evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson

from ddr import __version__
from ddr.dossier import reports
from ddr.dossier.model import Chapter, Dossier, read
from tests import conformance
from tools import sbom
from tools.dossier import measured, parts, requirements, risks

INSTALLATION, KIT, BOM = "installation.json", "kit.json", "ddr.cdx.json"


def collected(folder: Path, bench: Path | None = None) -> Dossier:
    """The dossier from what the tests wrote to `folder`. Raises DossierError, ValueError, OSError."""
    run = conformance.Conformance()
    run.recall(folder)
    covered, mutated = measured.load("coverage"), measured.load("mutation")
    bom = orjson.loads(sbom.text())
    asked = requirements.chapter(run, covered["requirements"] if covered else None)
    risky, made_of = risks.chapters(run.outcomes), parts.chapter(bom)
    chapters = [asked, *risky, made_of, measured.coverage(covered), measured.mutation(mutated)]
    if (file := folder / "documents" / measured.OF_RUN).exists():
        chapters.insert(-1, measured.coverage_of_run(orjson.loads(file.read_bytes())))
    lacking = [*_run(run), *requirements.missing(asked), *risks.missing(risky), *parts.missing(made_of)]
    lacking += measured.missing(mutated)
    facts = {
        "software": f"ddr {__version__}",
        "commit": ", ".join(sorted(run.commits)),
        "tests of this run": f"{', '.join(f'{count} {how}' for how, count in run.counts.items())} (ended {run.made})",
        "requirements": f"{_states(asked)} of {len(asked.rows)}",
        **measured.facts(covered, mutated),
        "packages": f"{len(bom['components'])} locked by hash",
    }
    if (file := folder / "documents" / KIT).exists():
        kit = reports.kit(reports.loaded(file, "checks"))
        chapters.append(kit)
        lacking += reports.failures(kit)
        counts = Counter(row["result"] for row in kit.rows)
        facts["conformance kit"] = ", ".join(f"{count} {name}" for name, count in counts.items())
    else:
        lacking.append("conformance kit: no report of this run")
    chapters.append(_performance(bench))
    release = Dossier(f"Dossier of the HDDT Device Data Recorder {__version__}", facts, chapters, {BOM: bom}, lacking)
    return _with_recorder(release, folder / "documents" / INSTALLATION)


def _run(run: conformance.Conformance) -> Iterator[str]:
    """What is wrong with the run as a whole."""
    if not run.counts["passed"]:
        yield "tests: this run has none"
    yield from (f"test {test}: failed" for test, how in run.outcomes.items() if how == "failed")
    if len({commit.removesuffix("+") for commit in run.commits}) > 1:
        yield "tests: the evidence is of more than one commit"


def _states(asked: Chapter) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(row["result"] for row in asked.rows).items())


def _performance(bench: Path | None) -> Chapter:
    """The figures of `bench`, else the latest ones from the development machine."""
    file = bench or measured.FOLDER / "bench.json"
    if bench or file.exists():
        return reports.performance(reports.loaded(file, "figures"))
    about = "Not measured for this dossier: `make dossier BENCH=FILE` includes the figures that `make bench` wrote."
    return Chapter(reports.PERFORMANCE, about, [{"figure": measured.NOT_MEASURED}])


def _with_recorder(release: Dossier, file: Path) -> Dossier:
    """Add what the tests' recorder says about itself to the outside."""
    if file.exists():
        facts = {"settings, interfaces, TLS": "from a recorder that the tests of this run started"}
        return release.with_installation(replace(read(file), facts=facts))
    return release.with_installation(
        Dossier("", {}, [], {}, ["interfaces, settings and TLS: no recorder ran in this run"])
    )
