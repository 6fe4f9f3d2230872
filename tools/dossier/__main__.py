"""Writes the dossier of a release for a quality system: one printable HTML page and the same as JSON, from facts only.

    python -m tools.dossier --out DIR --evidence FOLDER [--bench FILE]

FOLDER is what a run of the tests with `--evidence FOLDER` has written. Exit status 1 when a row has neither evidence
nor an owner, or when a test failed: the dossier is written nevertheless, and says which.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ddr.dossier.model import write
from tools.dossier.collect import collected


def main(arguments: Iterable[str] | None = None) -> int:
    """Write dossier.html, dossier.json and documents/; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.dossier")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evidence", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--bench", type=Path, metavar="FILE", help="figures of `make bench --json`")
    args = parser.parse_args(None if arguments is None else list(arguments))
    dossier = collected(args.evidence, args.bench)
    write(dossier, args.out)
    for one in dossier.missing:
        print(f"dossier: missing: {one}", file=sys.stderr)
    return 1 if dossier.missing else 0


if __name__ == "__main__":
    sys.exit(main())
