"""Everything at once: python -m tests.soak [SECONDS [SEED]]. Exit status 1 when something failed."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.soak import endure


def main() -> None:
    """Soak for as many seconds as the command line says, and print what was seen."""
    given = sys.argv[1:]
    seconds, seed = float(given[0]) if given else 120.0, int(given[1]) if len(given) > 1 else int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="ddr-soak-"))
    try:
        print(f"soak of {seconds:.0f} s, seed {seed}", flush=True)
        report, findings = asyncio.run(endure(folder, seconds, seed))
        for line in report:
            print(line, flush=True)
        print("\n".join(f"DOES NOT HOLD ({times} times): {kind}" for kind, times in findings.items()) or "all held")
        sys.exit(1 if findings else 0)
    finally:
        shutil.rmtree((folder / "postgres").resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
