"""Write a version into everything that names one, for a commit that can be released.

    python -m tools.prepare_release VERSION

pyproject.toml, ddr/__init__.py, and CHANGELOG.md: what is under *Unreleased* becomes the section of this version, with
today's date. Look at it, commit it, and run `make release`.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from tools.closure import ROOT

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def prepare(root: Path, version: str, day: str) -> None:
    """Change the three files below `root`. Raises ValueError, with nothing changed, when one is not as expected."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version!r} is not a version MAJOR.MINOR.PATCH")
    changes = {
        "pyproject.toml": (r'^version = ".*"$', f'version = "{version}"'),
        "ddr/__init__.py": (r'^__version__ = ".*"$', f'__version__ = "{version}"'),
        "CHANGELOG.md": (r"^## Unreleased.*$", f"## Unreleased\n\n## {version} ({day})"),
    }
    written = {}
    for name, (pattern, line) in changes.items():
        text = (root / name).read_text("utf-8")
        if name == "CHANGELOG.md" and f"\n## {version} (" in text:
            raise ValueError(f"CHANGELOG.md already has a section for {version}")
        written[name], count = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        if not count:
            raise ValueError(f"{name} has no line like {pattern}")
    for name, text in written.items():
        (root / name).write_text(text, "utf-8")


def main(arguments: list[str]) -> int:
    """0 when the files name the version; otherwise one line says why not."""
    try:
        prepare(ROOT, arguments[0] if len(arguments) == 1 else "", f"{datetime.now(UTC):%Y-%m-%d}")
    except (ValueError, OSError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print("check CHANGELOG.md, commit, and run make release")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
