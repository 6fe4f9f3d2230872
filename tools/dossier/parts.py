"""The parts of the recorder: software of unknown provenance (IEC 62304), from docs/dependencies.md and the SBOM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from packaging.utils import canonicalize_name

from ddr.dossier.model import Chapter, Row
from tools.closure import ROOT

ANOMALIES = "https://osv.dev/list?ecosystem=PyPI&q="


def described(text: str) -> dict[str, tuple[str, str, str]]:
    """Package → used for, instead of, trusted because: the table of runtime packages in docs/dependencies.md."""
    found: dict[str, tuple[str, str, str]] = {}
    for line in text.split("## For tests", 1)[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and cells[0] not in ("package", "---"):
            for name in re.sub(r"\(.*?\)", "", cells[0]).split(","):
                found[canonicalize_name(name.strip())] = (cells[1], cells[2], cells[3])
    return found


def chapter(bom: Mapping[str, Any]) -> Chapter:
    """Each package of the bill of materials, and the optional ones in docs/dependencies.md."""
    told = described((ROOT / "docs" / "dependencies.md").read_text())
    rows = list(_locked(bom, told))
    known = {canonicalize_name(row["package"]) for row in rows}
    rows += [_row(name, "optional", [], "", told) for name in told if name not in known]
    about = (
        "Software of unknown provenance in the sense of IEC 62304: each package that the server uses, in the"
        " version that is locked by SHA-256 and with which this run was tested. The operator looks up known"
        " anomalies each month; the"
        " bill of materials with licences and hashes (CycloneDX) is among the documents."
        f" Anomalies: {ANOMALIES} and the package's name."
    )
    return Chapter("Software of unknown provenance", about, rows)


def missing(one: Chapter) -> Iterator[str]:
    """Packages whose purpose, or reason to trust them, is missing."""
    for row in one.rows:
        if not (row["used for"] and row["trusted because"]):
            yield f"package {row['package']}: docs/dependencies.md does not describe it"


def _locked(bom: Mapping[str, Any], told: Mapping[str, tuple[str, str, str]]) -> Iterator[Row]:
    names = {one["bom-ref"]: one["name"] for one in bom["components"]}
    own = bom["metadata"]["component"]["bom-ref"]
    for one in sorted(bom["components"], key=lambda one: one["name"].lower()):
        users = [
            by["ref"] for by in bom["dependencies"] if one["bom-ref"] in by.get("dependsOn", ()) and by["ref"] != own
        ]
        licences = [
            part.get("expression") or part["license"].get("id") or part["license"]["name"] for part in one["licenses"]
        ]
        yield _row(one["name"], one["version"], [names[ref] for ref in users], ", ".join(licences), told)


def _row(package: str, version: str, users: list[str], licence: str, told: Mapping[str, tuple[str, str, str]]) -> Row:
    name = canonicalize_name(package)
    through = ", ".join(users)
    used, instead, trusted = told.get(name) or (
        (f"needed by {through}", "", f"as {through}, which chose it and is tested with it") if users else ("", "", "")
    )
    return {
        "package": package,
        "version": version,
        "licence": licence or _licence(name),
        "used for": used,
        "instead of": instead,
        "trusted because": trusted,
        "anomalies": ANOMALIES + name,
    }


def _licence(name: str) -> str:
    """The licence of an optional package, if it is installed here."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return "see its package"
    said = [*about.get_all("License-Expression", []), *about.get_all("License", [])]
    return said[0].splitlines()[0][:60] if said else "see its package"
