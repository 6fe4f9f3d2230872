"""Build and sign a release: wheel, source archive, locked requirements, bill of materials, dossier, and signed sums.

    python -m tools.release VERSION --key PRIVATE.pem --evidence FOLDER [--out DIR]

The tree must be clean, and its pyproject.toml, ddr/__init__.py and CHANGELOG.md must name that version. FOLDER has the
evidence that `make ci` wrote for this very commit, and nothing may be missing in its dossier. Nothing is fetched, and
times in archives are that of the commit, so that two builds of the same commit and evidence give the same bytes. The
key is Ed25519 in PEM (`openssl genpkey -algorithm ed25519 -out PRIVATE.pem`).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ddr import __version__
from ddr.dossier.model import Dossier, as_json
from ddr.dossier.page import html
from ddr.operations.release import ReleaseError, sign, verify
from ddr.reasons import in_words
from tests import conformance
from tools import sbom
from tools.closure import LOCKED, ROOT
from tools.dossier.collect import collected


def main(arguments: list[str] | None = None) -> int:
    """0 when the release is in the folder, verified; otherwise one line says what is not ready."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="Ed25519 private key in PEM")
    parser.add_argument("--evidence", type=Path, metavar="FOLDER", help="the evidence that `make ci` wrote")
    parser.add_argument("--ready", action="store_true", help="only check whether key, tree and version are ready")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a folder that does not exist yet (default: dist/VERSION)"
    )
    args = parser.parse_args(arguments)
    if not args.version or args.key == Path():
        parser.error("name the version and the key: make release VERSION=1.0.0 KEY=release.pem")
    if not (args.evidence or args.ready):
        parser.error("name the evidence, or use --ready")
    try:
        key = private_key(args.key)
        ready(args.version)
        if not args.ready:
            build((args.out or ROOT / "dist" / args.version).absolute(), key, proven(args.evidence))
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        reason = in_words(error, named=True) if isinstance(error, OSError) else error
        print(f"release: {reason}", file=sys.stderr)
        return 1
    return 0


def private_key(file: Path) -> Ed25519PrivateKey:
    """The key that signs. Raises ReleaseError, OSError."""
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ReleaseError(f"{file}: is not a private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{file}: is not an Ed25519 key")
    return key


def ready(wanted: str) -> None:
    """Check that nothing is uncommitted, and that every named version is this one. Raises ReleaseError."""
    if changed := _git("status", "--porcelain"):
        raise ReleaseError(f"the working tree is not clean: {', '.join(line[3:] for line in changed.splitlines()[:5])}")
    named = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "ddr/__init__.py": __version__,
    }
    if wrong := [f"{file} says {found}" for file, found in named.items() if found != wanted]:
        raise ReleaseError(f"{'; '.join(wrong)}, not {wanted}")
    heading = rf"^## {re.escape(wanted)} \(\d{{4}}-\d\d-\d\d\)\n+(?!## |\Z)"
    if not re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no section '## {wanted} (YYYY-MM-DD)' with changes")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    if (here := version("hatchling")) != pinned["hatchling"]:
        raise ReleaseError(f"hatchling {here} is installed, but constraints.txt says {pinned['hatchling']}")


def proven(evidence: Path) -> Dossier:
    """The dossier of this very commit, with nothing missing. Raises ReleaseError, ValueError, OSError."""
    if not conformance.proves(evidence, conformance.commit()):
        raise ReleaseError(f"{evidence}: is not evidence that this commit passed; run make ci")
    dossier = collected(evidence)
    if dossier.missing:
        raise ReleaseError(f"the dossier lacks {len(dossier.missing)} things: {'; '.join(dossier.missing[:3])}")
    return dossier


def build(out: Path, key: Ed25519PrivateKey, dossier: Dossier) -> None:
    """Create the folder, completely or not at all. Raises ReleaseError, ValueError, OSError, CalledProcessError."""
    if out.exists():
        raise ReleaseError(f"{out} already exists")
    out.parent.mkdir(parents=True, exist_ok=True)
    os.environ[sbom.EPOCH] = _git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        folder = Path(work) / "release"
        folder.mkdir()
        command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        (folder / "ddr.cdx.json").write_text(sbom.text())
        (folder / LOCKED.name).write_bytes(LOCKED.read_bytes())
        (folder / "dossier.html").write_text(html(dossier), "utf-8")
        (folder / "dossier.json").write_bytes(as_json(dossier))
        sign(folder, key)
        names = verify(folder, key.public_key())
        folder.rename(out)
    print("\n".join(str(out / name) for name in names))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
