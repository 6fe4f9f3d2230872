"""`make bench ARGS="[--json FILE] [SECTION …]"`: runs the sections one after another and prints one table.

Exit status 1 when a promise is broken, that is, one that does not depend on the machine; other missed targets are
shown.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.figure import Figure
from tests.bench.sections import SECTIONS, Options, options_of
from tests.conformance import commit

console = Console(width=None if sys.stdout.isatty() else 160)


def main(arguments: Sequence[str]) -> int:
    """0 when every promise was kept."""
    options = options_of(arguments)
    figures: list[Figure] = []
    for name in options.sections:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ddr-bench-") as temporary:
            figures += asyncio.run(SECTIONS[name](Path(temporary), options))
        console.print(f"{name}: {time.monotonic() - begun:.0f} s")
        _write(figures, options)
    table = Table("figure", "measured", "floor", "ratio", "target")
    for figure in figures:
        table.add_row(*figure.cells(), style="" if figure.met else "red")
    console.print(table)
    missed = [figure.name for figure in figures if not figure.met]
    console.print(f"{len(figures)} figures, {len(missed)} miss their target: {', '.join(missed)}" if missed else "")
    return 1 if any(figure.broken for figure in figures) else 0


def _write(figures: Sequence[Figure], options: Options) -> None:
    if options.json:
        made = {"made": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "processors": os.cpu_count()}
        content = {**made, "figures": [figure.as_json() for figure in figures]}
        options.json.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
