"""Writes docs/evidence/measured/coverage.json from the report of `make coverage`.

    python -m tools.measure.coverage REPORT.json [--part]

With --part the figures are of some tests only: they are printed, and not written.
Besides the figures: by requirement, the code that its tests reach and those of most other requirements do not. A line
counts the more, the fewer requirements reach it: what each request passes through says nothing about one of them.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests import conformance
from tools.closure import ROOT
from tools.dossier.measured import FOLDER

LOWEST = 25  # files that are listed
PLACES = 4  # in the code, per requirement
_SHARE = 0.25  # of the weight of the first place; places below it are incidental

Report = Mapping[str, Any]  # written by `coverage json --show-contexts`


def document(report: Report) -> dict[str, Any]:
    """The figures of all files below ddr/, and the code behind each requirement."""
    files = {name: one for name, one in report["files"].items() if name.startswith("ddr/")}
    return {**figures(files), "requirements": dict(sorted(answering(files).items()))}


def figures(files: Mapping[str, Report]) -> dict[str, Any]:
    """The share that is reached, and the files with the lowest one."""
    totals: Counter[str] = Counter()
    for one in files.values():
        totals.update({key: value for key, value in one["summary"].items() if isinstance(value, int)})
    branches, lines = totals["num_branches"], totals["num_statements"]
    reached = totals["covered_branches"] + totals["covered_lines"]
    lowest = sorted(files, key=lambda name: (files[name]["summary"]["percent_covered"], name))[:LOWEST]
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": conformance.commit(),
        "percent": round(100 * reached / (branches + lines), 2),
        "branch_percent": round(100 * totals["covered_branches"] / branches, 2),
        "branches": branches,
        "lines": lines,
        "files": len(files),
        "lowest": [_row(name, files[name]) for name in lowest],
    }


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures, one line per file."""
    yield f"{found['percent']} % of lines and branches, {found['branch_percent']} % of branches"
    for row in found["lowest"]:
        yield f"{row['percent']:6.1f} %  {row['file']}  {row['missing']}"


def answering(files: Mapping[str, Report]) -> dict[str, list[str]]:
    """Requirement → "file: function, function", the weightiest file first."""
    by_file = {
        name: {int(line): _named(all_of) for line, all_of in one["contexts"].items()} for name, one in files.items()
    }
    known = set().union(*(named for lines in by_file.values() for named in lines.values()))
    weights: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for name, lines in by_file.items():
        functions = _functions((ROOT / name).read_text("utf-8"))
        for line in lines.keys() & functions.keys():
            for one in lines[line]:
                weights[one][name, functions[line]] += math.log(len(known) / len(lines[line]))
    return {one: list(_places(found)) for one, found in weights.items()}


def _named(contexts: list[str]) -> set[str]:
    """The requirements in the names of contexts (tests/support/contexts.py)."""
    return {word for context in contexts for word in context.partition("|")[0].split()}


def _places(found: Mapping[tuple[str, str], float]) -> Iterator[str]:
    files: dict[str, float] = defaultdict(float)
    for (name, _), weight in found.items():
        files[name] += weight
    top = sorted(files.items(), key=lambda one: -one[1])[:PLACES]
    ordered = sorted((one for one in found if found[one] > 0), key=lambda one: -found[one])
    for name, weight in top:
        if weight > 0 and weight >= _SHARE * top[0][1]:
            functions = [function for file, function in ordered if file == name]
            yield f"{name}: {', '.join(functions[:3])}"


def _functions(source: str) -> dict[int, str]:
    """Line → its function; lines outside functions run at import, and prove nothing."""
    found = {}
    for node in ast.walk(ast.parse(source)):  # outer functions before inner ones
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1):
                found[line] = node.name
    return found


def _row(name: str, one: Report) -> dict[str, Any]:
    lines = one["missing_lines"]
    branches = [
        f"{source}→{target}" for source, target in one["missing_branches"] if source not in lines and target > 0
    ]
    return {
        "file": name,
        "percent": round(one["summary"]["percent_covered"], 1),
        "missing": ", ".join([*_ranges(lines), *branches]),
    }


def _ranges(lines: list[int]) -> Iterator[str]:
    """10, 11, 12, 20 as 10-12 and 20."""
    edges = [at for at, (one, next_one) in enumerate(pairwise(lines), 1) if next_one > one + 1]
    for start, end in pairwise([0, *edges, len(lines)]):
        if part := lines[start:end]:
            yield f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0])


def main(arguments: list[str]) -> int:
    """0 when the figures were printed, and, unless they are partial, written."""
    parser = argparse.ArgumentParser(prog="python -m tools.measure.coverage")
    parser.add_argument("report", type=Path, metavar="REPORT.json")
    parser.add_argument(
        "--part", action="store_true", help="measure only some tests: print the result, and do not write it"
    )
    args = parser.parse_args(arguments)
    found = document(json.loads(args.report.read_text()))
    if not args.part:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "coverage.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(told(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
