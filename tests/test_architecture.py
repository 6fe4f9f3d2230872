"""The house: its drawing matches the import contracts, every named file exists, tests do not use the loop's clock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROCESS_CLOCK = re.compile(r"""setattr\(\s*(?:time,\s*"|"[\w.]*\btime\.)(?:monotonic|perf_counter)\b""")
BY_LOCALE = re.compile(r"""\.(?:read_text\((?!\s*["'](?:utf-8|ascii))|write_text\((?!.*["'](?:utf-8|ascii)))""")
PATH = re.compile(r"`((?:ddr|docs|tests|tools|miv_packages)/[\w./-]*)`")


def test_the_drawing_is_that_of_the_contracts() -> None:
    done = subprocess.run([sys.executable, "tools/draw_house.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_path_named_exists() -> None:
    for page in ("docs/architecture.md", "CONTRIBUTING.md", "docs/security.md", "docs/performance.md"):
        named = PATH.findall((ROOT / page).read_text())
        assert [path for path in named if not (ROOT / path).exists()] == [], page


def test_no_test_sets_the_clock_that_the_loop_goes_by() -> None:
    """A server of another test that goes to sleep meanwhile does not wake up: a module is given a `time` of its own."""
    assert PROCESS_CLOCK.search('setattr("ddr.module.time.monotonic", late)')
    assert PROCESS_CLOCK.search('setattr(time, "monotonic", late)')
    own = Path(__file__)
    guilty = [path for path in own.parent.rglob("*.py") if path != own and PROCESS_CLOCK.search(path.read_text())]
    assert guilty == []


def test_no_file_is_read_or_written_by_the_locale_of_who_starts_it() -> None:
    assert BY_LOCALE.search("path.read_text()") and not BY_LOCALE.search('path.read_text("utf-8")')
    assert BY_LOCALE.search("path.write_text(text)") and not BY_LOCALE.search('path.write_text(text, "utf-8")')
    lines = ((path, line) for path in (ROOT / "ddr").rglob("*.py") for line in path.read_text("utf-8").splitlines())
    assert [f"{path}: {line.strip()}" for path, line in lines if BY_LOCALE.search(line)] == []
