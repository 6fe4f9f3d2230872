"""`make` sets up its environment: again after an interruption, without a network once everything is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("Makefile", "pyproject.toml", "constraints.txt", "tools/venv_fits.py")
PIP = "PIP=echo would install"  # this test fetches nothing


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setting up needs of this project, in a folder of its own."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DDR_", "MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", ".venv/.run", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("left", ["nothing", "no pip", "no interpreter"])
def test_a_half_made_environment_is_made_anew(checkout: Path, left: str) -> None:
    if left == "no pip":
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=checkout, check=True)
    elif left == "no interpreter":
        (checkout / ".venv" / "bin").mkdir(parents=True)
        (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    done = make(checkout, f"PYTHON={sys.executable}", PIP)
    assert done.returncode == 0, done.stderr
    assert "would install" in done.stdout
    pip = subprocess.run([checkout / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True, check=False)
    assert pip.returncode == 0


def test_a_python_without_venv_is_told_in_one_line(checkout: Path) -> None:
    python = checkout / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = make(checkout, f"PYTHON={python}", PIP)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(ours) == 1 and "install python3-venv" in ours[0]
    assert not (checkout / ".venv").exists()


@pytest.fixture
def venv_fits() -> ModuleType:
    spec = spec_from_file_location("venv_fits", ROOT / "tools" / "venv_fits.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_fetched_when_everything_is_there() -> None:
    command = [sys.executable, str(ROOT / "tools" / "venv_fits.py"), "embedded"]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", '"starlette>=1.0"', '"starlette>=1.0", "not-to-be-found>=1"'),
        ("pyproject.toml", '"starlette>=1.0"', '"starlette>=99"'),
        ("constraints.txt", "asyncpg==", "asyncpg==0.0.1\n#"),
    ],
)
def test_what_is_missing_or_of_another_version_is_fetched(
    checkout: Path, venv_fits: ModuleType, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str
) -> None:
    assert not venv_fits.fits(checkout, ["embedded"]), "installed from another folder"
    monkeypatch.setattr(venv_fits, "_editable", lambda name, root: True)
    assert venv_fits.fits(checkout, ["embedded"])
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new))
    assert not venv_fits.fits(checkout, ["embedded"])
