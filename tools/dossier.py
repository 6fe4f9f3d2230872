"""Writes the dossier of a release for a quality system: one printable HTML page and the same as JSON, from facts only.

    python -m tools.dossier --out DIR --evidence FOLDER

FOLDER is what a run of the tests with `--evidence FOLDER` kept. Exit status 1 when a requirement has neither evidence
nor an owner, or when a test of one failed: the dossier is written nevertheless, and says which.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import orjson

from ddr.cli.settings import markdown
from tests import conformance
from tools import evidence
from tools.closure import LOCKED, ROOT, locked

Row = dict[str, str]

_STYLE = """
body { font: 10pt/1.4 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #111; background: #fff }
table { border-collapse: collapse; width: 100%; font-size: 8pt } td, th { border: 1px solid #999; padding: .25em .4em;
text-align: left; vertical-align: top; overflow-wrap: break-word } th { background: #eee }
thead { display: table-header-group }
tr { break-inside: avoid } h2 { break-before: page } nav + h2 { break-before: auto }
"""


def collected(folder: Path) -> dict[str, list[Row]]:
    """Every chapter as rows of texts."""
    run = conformance.Conformance()
    run.recall(folder)
    return {
        "Requirements": requirements(run),
        "Checklist": checklist(),
        "Threats": [_texts(one) for one in evidence.load("threats")["threat"]],
        "Hazards": [_texts(one) for one in evidence.load("hazards")["hazard"]],
        "Data": [
            {"table": name, **_texts({key: text for key, text in one.items() if key != "columns"})}
            for name, one in evidence.load("data")["tables"].items()
        ],
        "Software of unknown provenance": soup(),
        "Settings": settings(),
    }


def requirements(run: conformance.Conformance) -> list[Row]:
    """Requirement, the reading that was chosen, the tests, and their result in this very run."""
    decided, duties = conformance.decisions(), conformance.duties()
    return [
        {
            "id": row["id"],
            "level": row["level"],
            "requirement": row["requirement"],
            "reading": decided.get(row["id"], ""),
            "tests": ", ".join(sorted(run.evidence[row["id"]].tests)),
            "result": conformance.state(row["id"], run.evidence[row["id"]]),
            "operator": duties.get(row["id"], ""),
        }
        for row in conformance.catalogue()
    ]


def checklist() -> list[Row]:
    """The 27 points, each with the place of its evidence or the operator's task."""
    return [
        {
            "": str(number),
            "question": one["question"],
            "evidence": ", ".join(one.get("evidence", ())),
            "operator": one.get("operator", ""),
        }
        for number, one in enumerate(evidence.load("checklist")["point"], 1)
    ]


def soup() -> list[Row]:
    """The packages at run time in the sense of IEC 62304: version, purpose, why this one (docs/dependencies.md)."""
    versions = {str(pin.name): pin.version for pin in locked(LOCKED.read_text()).values()}
    text = (ROOT / "docs" / "dependencies.md").read_text().split("## For tests", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    found = []
    for names, purpose, instead in rows[1:]:
        for name in re.sub(r"\(.*?\)", "", names).split(","):
            key = name.strip()
            version = versions.get(key.lower().replace("_", "-"), "optional, not locked")
            found.append({"package": key, "version": version, "purpose": purpose, "instead of": instead})
    return found


def settings() -> list[Row]:
    """Every setting with its default and limits; those in force are an operator's (`ddr settings`)."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", markdown(), re.MULTILINE)
    return [{"setting": name, "default": default, "meaning": meaning} for name, default, meaning in rows]


def missing(chapters: dict[str, list[Row]]) -> list[str]:
    """The requirements of which a test failed, and those with neither a test, nor an owner, nor a reason given."""
    return [
        row["id"]
        for row in chapters["Requirements"]
        if row["result"] == "failed"
        or (row["result"] == "not covered" and not row["reading"] and row["level"] != "NOTE")
    ]


def html(chapters: dict[str, list[Row]]) -> str:
    """One page with a table of contents."""
    links = "".join(f'<li><a href="#c{at}">{escape(name)}</a></li>' for at, name in enumerate(chapters))
    parts = [f'<h2 id="c{at}">{escape(name)}</h2>{_table(rows)}' for at, (name, rows) in enumerate(chapters.items())]
    lacking = ", ".join(missing(chapters)) or "none"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Dossier</title>'
        f"<style>{_STYLE}</style><h1>Dossier of the HDDT Device Data Recorder</h1>"
        f"<p>Requirements without evidence: {escape(lacking)}.</p><nav><ol>{links}</ol></nav>{''.join(parts)}</html>"
    )


def _table(rows: Sequence[Row]) -> str:
    heading = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_cell(text)}</td>' for text in row.values())}</tr>" for row in rows)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    """Escaped, and with places where names of tests may break."""
    return re.sub(r"(::|[/_])", r"\1<wbr>", escape(text))


def _texts(one: dict[str, Any]) -> Row:
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in one.items()}


def main(arguments: Iterable[str] | None = None) -> int:
    """Write dossier.html and dossier.json; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.dossier")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evidence", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args(None if arguments is None else list(arguments))
    chapters = collected(args.evidence)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "dossier.html").write_text(html(chapters))
    (args.out / "dossier.json").write_bytes(orjson.dumps(chapters, option=orjson.OPT_INDENT_2))
    if lacking := missing(chapters):
        sys.stderr.write(f"{len(lacking)} requirements without evidence: {', '.join(lacking[:10])} …\n")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
