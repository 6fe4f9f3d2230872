"""Chapters from reports that other commands write as JSON: the conformance kit's, and that of `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from ddr.dossier.model import Chapter, DossierError

KIT, PERFORMANCE = "Conformance kit", "Performance"


def loaded(file: Path, wanted: str) -> Any:
    """The report in a file, which must have the member `wanted`. Raises DossierError, OSError."""
    try:
        report = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError:
        report = None
    if not isinstance(report, dict) or wanted not in report:
        raise DossierError(f"{file}: is not a report with {wanted}")
    return report


def of(file: Path, wanted: str, made: Callable[[Any], Chapter]) -> Chapter:
    """The chapter that `made` builds from such a report. Raises DossierError, OSError."""
    report = loaded(file, wanted)
    try:
        return made(report)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise DossierError(f"{file}: is a report of another kind or version") from None


def kit(report: Any) -> Chapter:
    """The report of `ddr conform --json` without its exchanges: each verdict, and the line that says why, which may
    contain a value or a day of the test patient."""
    rows = [
        {
            "chapter": one["chapter"],
            "check": one["check"],
            "requirements": ", ".join(one["requirements"]),
            "what is checked": one["words"],
            "result": f"{one['verdict']} (a remark)" if one.get("remark") else one["verdict"],
            "why": one["text"],
        }
        for one in sorted(report["checks"], key=lambda one: (one["chapter"], one["check"]))
    ]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report["summary"].items() if count)
    about = (
        f"The conformance kit at {report['recorder']['fhirBase']}, {report['started']}, {report['requests']} requests:"
        f" {counts}."
    )
    return Chapter(KIT, about, rows, by="chapter")


def failures(checks: Chapter) -> list[str]:
    """The kit's failures, one line each, without remarks."""
    wrong = ("failed", "kit error")
    return [f"conformance kit: {row['check']}: {row['result']}" for row in checks.rows if row["result"] in wrong]


def of_another(file: Path, fhir_base: str) -> list[str]:
    """A line when the kit's report in a file is of another recorder. Raises DossierError, OSError."""
    examined = str(loaded(file, "checks")["recorder"]["fhirBase"])
    if examined.rstrip("/") == fhir_base:
        return []
    return [f"conformance kit: the report is about {examined}, but this recorder is {fhir_base}"]


def performance(report: Any) -> Chapter:
    """The report of `make bench ARGS="--json FILE"`."""
    rows = [
        {
            "figure": one["name"],
            "value": f"{one['value']:.4g} {one['unit']}",
            "floor": _number(one["floor"]),
            "ratio": _number(one["ratio"]),
            "target": _target(one),
        }
        for one in report["figures"]
    ]
    about = "Measured on one machine (`make bench`"
    if "made" in report:
        about += f", {report['made']}, {commit(report['commit'])}, {report['processors']} processors"
    about += "); the floor is what the same machine does without the recorder."
    aimed = [one for one in report["figures"] if one["target"]]
    about += f" Of {len(aimed)} figures with a target {sum(map(_missed, aimed))} miss it."
    return Chapter(PERFORMANCE, about, rows)


def commit(name: str) -> str:
    """The commit that was measured, with + at its end if files differed from it."""
    return f"commit {name[:12]}{' with changes' if name.endswith('+') else ''}"


def _target(one: Any) -> str:
    """The target of a figure, and whether it is missed."""
    return f"{one['target'] or ''}{', missed' if _missed(one) else ''}"


def _missed(one: Any) -> bool:
    return one["target"] is not None and not one.get("met", True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
