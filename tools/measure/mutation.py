"""Writes docs/evidence/measured/mutation.json from what `mutmut run` left in mutants/.

    python -m tools.measure.mutation

A fault that no test finds must be explained in docs/evidence/mutants.toml: by its function and by the line as it was
changed. Exit status 1 when one is not.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests import conformance
from tools.closure import ROOT
from tools.dossier.measured import FOLDER

EXPLAINED = ROOT / "docs" / "evidence" / "mutants.toml"
UNTRIED = "not checked"  # of a run that was stopped before its end
FOUND = ("killed", "timeout", "segfault")  # by a test that failed, never ended, or crashed the process
ROOMS = ("fhir/search", "scopes", "series", "oauth")


@dataclass(frozen=True)
class Mutant:
    """One fault: its function and its result; for a survivor, `lines` are the changed lines, after the change."""

    room: str
    function: str
    ended: str
    lines: tuple[str, ...] = ()


def mutants() -> Iterator[Mutant]:
    """All faults in the folder mutants/. Raises OSError, ValueError when it cannot be read."""
    # Imported here, since only `make mutation` installs it: judging the results does not need it.
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            module, _, function = name.partition("__mutmut_")[0].rpartition(".")
            room = next(one for one in ROOMS if module.startswith(f"ddr.{one.replace('/', '.')}"))
            place = f"{module}.{function.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"
            ended = status_by_exit_code[code]
            lines = () if ended in (*FOUND, UNTRIED) else _changed(get_diff_for_mutant(name, path=path))
            yield Mutant(room, place, ended, lines)


def document(found: list[Mutant], explained: dict[str, list[str]]) -> dict[str, Any]:
    """The figures; `explained`: by function the explained lines, "*" for all. Raises ValueError."""
    rooms: dict[str, dict[str, int]] = {}
    unexplained = []
    for one in found:
        room = rooms.setdefault(one.room, {"mutants": 0, "killed": 0, "explained": 0, "untried": 0})
        if one.ended == UNTRIED:
            room["untried"] += 1
            continue
        room["mutants"] += 1
        if one.ended in FOUND:
            room["killed"] += 1
        elif {"*", *one.lines} & set(explained.get(one.function, ())):
            room["explained"] += 1
        else:
            unexplained.append({"function": one.function, "ended": one.ended, "lines": list(one.lines)})
    killed, every = (sum(room[name] for room in rooms.values()) for name in ("killed", "mutants"))
    if not every:
        raise ValueError("no fault was tried")
    return {
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": conformance.commit(),
        "score": round(100 * killed / every, 2),
        "rooms": rooms,
        "unexplained": unexplained,
    }


def explanations() -> dict[str, list[str]]:
    """Function → lines, from docs/evidence/mutants.toml."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in tomllib.loads(EXPLAINED.read_text())["survivor"]:
        found[one["function"]] += one["lines"]
    return found


def _changed(diff: str) -> tuple[str, ...]:
    return tuple(line[1:].strip() for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++"))


def main() -> int:
    """0 when every fault is found or explained."""
    found = document(list(mutants()), explanations())
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "mutation.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, room in found["rooms"].items():
        told = f"{room['killed']} of {room['mutants']} found, {room['explained']} explained"
        print(f"{name}: {told}, {room['untried']} not tried")
    print(f"{found['score']} %")
    for one in found["unexplained"]:
        print(f"{one['ended']}: {one['function']}: {' / '.join(one['lines'])}", file=sys.stderr)
    return 1 if found["unexplained"] else 0


if __name__ == "__main__":
    sys.exit(main())
