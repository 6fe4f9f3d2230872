"""The wheel works outside the checkout: built, put into a clean environment, and the demonstration run from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_demonstration_runs_from_an_installed_wheel(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("ddr-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    installed = tmp_path / "venv" / "bin"
    constraints = ROOT / "constraints.txt"
    run(installed / "pip", "install", "--quiet", "-c", constraints, f"{wheel}[embedded]", cwd=tmp_path)
    # The DiGA of examples/ is tested from the wheel as its makers would do it.
    shutil.copytree(ROOT / "examples" / "diga", tmp_path / "diga")
    run(installed / "pip", "install", "--quiet", "-c", constraints, "pytest", cwd=tmp_path)
    assert "2 passed" in run(installed / "python", "-m", "pytest", "-q", cwd=tmp_path / "diga")
    empty = tmp_path / "empty"
    empty.mkdir()
    shown = run(installed / "ddr", "demo", "--once", "--ports", "auto", cwd=empty)
    assert "Everything worked" in shown
    assert [path.name for path in empty.iterdir()] == [".ddr"]
