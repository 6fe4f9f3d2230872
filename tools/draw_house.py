"""Draws the rooms of the house from the import contracts of pyproject.toml into docs/architecture.md.

`python tools/draw_house.py` writes the drawing, `--check` only says whether it is up to date (exit status 1 when not).
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(<!-- drawing -->\n)```\n.*?```\n", re.DOTALL)


def drawing() -> str:
    """The floors of `ddr`, top first, and the wings of `ddr.store`: each room with the first line of its docstring."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [contract for contract in contracts if contract["type"] == "layers"]
    rooms = next(contract for contract in layers if "containers" not in contract)
    wings = next(contract for contract in layers if contract.get("containers") == ["ddr.store"])
    return "\n".join(
        [*_floors(rooms["layers"], ""), "", "the wings of ddr.store:", "", *_floors(wings["layers"], "ddr.store.")]
    )


def _floors(layers: list[str], prefix: str) -> list[str]:
    lines: list[str] = []
    for number, layer in zip(range(len(layers), 0, -1), layers, strict=True):
        for at, room in enumerate(name.strip() for name in layer.split("|")):
            full = prefix + room
            label = f"{number:>2} " if at == 0 else "   "
            lines.append(f"{label}{full.removeprefix('ddr.'):<22} {_purpose(full)}".rstrip())
    return lines


def _purpose(module: str) -> str:
    path = ROOT / module.replace(".", "/")
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    text = (ast.get_docstring(ast.parse(source.read_text())) or "").split("\n")[0]
    return text.rstrip(".")


def main() -> int:
    """Write or check; returns the exit status."""
    page = PAGE.read_text()
    drawn = BLOCK.sub(lambda match: f"{match[1]}```\n{drawing()}\n```\n", page)
    if "--check" not in sys.argv:
        PAGE.write_text(drawn)
    elif drawn != page:
        sys.stderr.write("docs/architecture.md differs from the import contracts: run python tools/draw_house.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
