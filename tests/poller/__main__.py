"""python -m tests.poller [PAIRINGS [MINUTES [REPEAT-SECONDS]]]: 1,000 pairings for ten minutes, and what failed.

REPEAT-SECONDS: how long the recorder repeats the response to a refresh, 10 by default; more where the machine is
shared.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.poller.scene import Size, endure

INTERVAL_SECONDS, TOKEN_SECONDS, PAUSE_SECONDS = 60.0, 120, 8.0


def main(arguments: list[str]) -> int:
    """0 when everything held."""
    pairings = int(arguments[0]) if arguments else 1000
    minutes = float(arguments[1]) if len(arguments) > 1 else 10.0
    repeat_seconds = int(arguments[2]) if len(arguments) > 2 else 10
    size = Size(pairings, minutes * 60, INTERVAL_SECONDS, TOKEN_SECONDS, PAUSE_SECONDS, repeat_seconds)
    with tempfile.TemporaryDirectory(prefix="ddr-poller-") as folder:
        report = asyncio.run(endure(Path(folder), size))
    for name, count in sorted(report.done.items()):
        print(f"{count:>9}  {name}")
    for line in report.broken:
        print(f"BROKEN: {line}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
