"""Whether the environment of this Python has everything in pyproject.toml and constraints.txt: then nothing is fetched.

    python tools/venv_fits.py [EXTRA …]

Status 0 when everything is there, so that `make demo` works without a network once it has been set up; else 1. It uses
only the standard library and pip, which contains the rules for versions.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def fits(root: Path, extras: list[str]) -> bool:
    """True when this project is installed from `root` with all that it needs."""
    from pip._vendor.packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in _lines(project, extra))]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (root / "constraints.txt").read_text(), re.MULTILINE))
    pinned = [f"{name}=={version}" for name, version in pins.items() if _installed(name)]
    needed = [Requirement(line) for line in [*wanted, *pinned]]
    return _editable(project["name"], root) and all(
        (there := _installed(one.name)) is not None and one.specifier.contains(there, prereleases=True)
        for one in needed
        if one.marker is None or one.marker.evaluate()
    )


def _lines(project: dict[str, Any], extra: str) -> Iterator[str]:
    """The requirements of an extra, including those of extras that it includes."""
    for line in project["optional-dependencies"][extra]:
        if included := re.fullmatch(rf"{project['name']}\[([\w-]+)\]", line):
            yield from _lines(project, included[1])
        else:
            yield line


def _installed(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _editable(name: str, root: Path) -> bool:
    """The project itself, as `pip install -e` leaves it, and its command."""
    try:
        origin = distribution(name).read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return False
    return f'"url": "{root.as_uri()}"' in origin and (Path(sys.executable).parent / name).exists()


if __name__ == "__main__":
    try:
        sys.exit(0 if fits(ROOT, sys.argv[1:]) else 1)
    except ImportError:  # an environment without pip, or with a broken one
        sys.exit(1)
