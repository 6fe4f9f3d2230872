"""docs/architecture.md: the drawing is that of the import contracts, and every file it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATH = re.compile(r"`((?:ddr|docs|tests|tools|miv_packages)/[\w./-]*)`")


def test_the_drawing_is_that_of_the_contracts() -> None:
    done = subprocess.run([sys.executable, "tools/draw_house.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_path_named_exists() -> None:
    for page in ("docs/architecture.md", "CONTRIBUTING.md", "docs/security.md", "docs/performance.md"):
        named = PATH.findall((ROOT / page).read_text())
        assert [path for path in named if not (ROOT / path).exists()] == [], page
