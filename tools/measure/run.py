"""Writes what the tests of a CI run reached into the evidence of this run, and fails when it is too little.

    python -m tools.measure.run FOLDER

FOLDER contains slipcover.json; coverage.json is written beside it. Only the processes of pytest count: slipcover hardly
slows them down, but does not see the recorders and commands that tests start. `make coverage` counts all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.dossier.measured import OF_RUN
from tools.measure.coverage import figures, told

LEAST = 92.0  # percent of lines and branches; 93.4 on 2026-11-28


def document(report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of slipcover's report."""
    return figures({name: _counted(one) for name, one in report["files"].items() if name.startswith("ddr/")})


def _counted(one: Mapping[str, Any]) -> dict[str, Any]:
    """A file in the form of `coverage json`: slipcover reports the parts, not their sum."""
    summary = one["summary"]
    return {
        **one,
        "summary": {
            **summary,
            "num_statements": summary["covered_lines"] + summary["missing_lines"],
            "num_branches": summary["covered_branches"] + summary["missing_branches"],
        },
    }


def main(folder: Path) -> int:
    """0 when enough is reached."""
    found = document(json.loads((folder / "slipcover.json").read_text()))
    (folder / OF_RUN).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(told(found)))
    if found["percent"] < LEAST:
        print(f"the tests must reach {LEAST:g} % of lines and branches", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
