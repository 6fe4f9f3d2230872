"""`ddr verify-release DIR --key PUB`: whether the files of a release are those that its makers signed."""

from __future__ import annotations

import argparse
from pathlib import Path

from ddr.cli.errors import CommandError
from ddr.operations.release import ReleaseError, public_key, verify

HELP = "check the signature of a release"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="directory with wheel, archive, SBOM, SHA256SUMS and its signature"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="PUB", help="Ed25519 public key in PEM")


def run(args: argparse.Namespace) -> int:
    """Print the names of the files that were signed; one line and status 1 when anything is different."""
    try:
        names = verify(args.folder, public_key(args.key))
    except ReleaseError as error:
        raise CommandError(f"release {args.folder}: {error}") from None
    print("\n".join(names))
    return 0
