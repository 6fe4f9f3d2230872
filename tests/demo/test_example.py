"""The DiGA of examples/ passes its own tests with the fixtures for a DiGA's makers, against a recorder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.sandbox import environment

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "diga"


def test_the_example_passes_its_own_tests(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "its")]
    done = subprocess.run(command, cwd=EXAMPLE, env=environment(), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
