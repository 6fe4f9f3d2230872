"""Renders the data of docs/evidence into the pages for people: docs/data-protection.md,
docs/hazards.md and docs/security.md.

`python -m tools.evidence` writes the pages, `--check` only says whether they are up to date (exit status 1 when not).
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "evidence"


def load(name: str) -> dict[str, Any]:
    """One file of docs/evidence."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def columns(data: dict[str, Any], table: str) -> dict[str, str]:
    """The descriptions of the columns of a table, including those in [common]."""
    own: dict[str, str] = data["tables"][table]["columns"]
    return {**data["common"], **own}


def retention() -> str:
    """Every table: purpose, whose data, how long it is kept, deleted by what."""
    rows = (
        (f"`{name}`", one["purpose"], one["whose"], one["personal"], one["kept"], one["deleted_by"])
        for name, one in load("data")["tables"].items()
    )
    return _table(("table", "purpose", "whose data", "personal", "kept", "deleted by"), rows)


def every_column() -> str:
    """Every table with the purpose of each of its own columns."""
    data = load("data")
    parts = [_table(("in any table", "what for"), ((f"`{name}`", text) for name, text in data["common"].items()))]
    for name, one in data["tables"].items():
        parts += [f"### {name}\n", _table(("column", "what for"), ((f"`{k}`", v) for k, v in one["columns"].items()))]
    return "\n".join(parts)


def threats() -> str:
    """Every threat with its target, countermeasures, tests and residual risk."""
    rows = (
        (
            one["name"],
            one["asset"],
            ", ".join([*one["stride"], *one["linddun"]]),
            one["measure"],
            ", ".join(f"`{name}`" for name in one["tests"]),
            one["residual"],
        )
        for one in load("threats")["threat"]
    )
    return _table(("threat", "asset", "kind", "what stands against it", "shown by", "what is left"), rows)


def hazards() -> str:
    """Every hazard with cause, harm, measure, tests and residual risk."""
    rows = (
        (
            one["id"],
            one["name"],
            one["cause"],
            one["harm"],
            one["measure"],
            ", ".join(f"`{name}`" for name in one["tests"]),
            one["residual"],
        )
        for one in load("hazards")["hazard"]
    )
    return _table(("", "hazard", "cause", "harm", "measure", "shown by", "what is left"), rows)


def _table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(heading)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "retention": ("docs/data-protection.md", retention),
    "columns": ("docs/data-protection.md", every_column),
    "threats": ("docs/security.md", threats),
    "hazards": ("docs/hazards.md", hazards),
}


def rendered(page: str, text: str) -> str:
    """The text of a page with its blocks filled in."""
    for name, (where, render) in BLOCKS.items():
        if where == page:
            block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            filled = render()
            text = block.sub(lambda match, filled=filled: f"{match[1]}{filled}{match[2]}", text)  # type: ignore[misc]
    return text


def main() -> int:
    """Write or check; returns the exit status."""
    outdated = []
    for page in sorted({where for where, _ in BLOCKS.values()}):
        text = (ROOT / page).read_text()
        if (new := rendered(page, text)) != text:
            outdated.append(page)
            if "--check" not in sys.argv:
                (ROOT / page).write_text(new)
    if outdated and "--check" in sys.argv:
        sys.stderr.write(f"{', '.join(outdated)} differ from docs/evidence: run make evidence\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
