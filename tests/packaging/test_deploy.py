"""deploy/: every file parses and names only commands and settings that there are. No container engine is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from ddr.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = {f"DDR_{field.name.upper()}" for field in fields(Settings)} | {"DDR_SETTINGS"}
FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(path: Path) -> None:
    found = set(re.findall(r"\bDDR_[A-Z_]+\b", path.read_text())) - {"DDR_PASSWORD_FILE"}
    assert found <= NAMES


def test_the_chart_takes_settings_that_there_are() -> None:
    values = (DEPLOY / "helm/ddr/values.yaml").read_text()
    named = re.findall(r"^  ([a-z_]+): \"\"$", values.partition("\nsettings:\n")[2], re.MULTILINE)
    assert named and {f"DDR_{name.upper()}" for name in named} <= NAMES


def test_the_probes_of_the_chart_are_commands() -> None:
    for path in re.findall(r"\[ddr, probe, ([a-z]+)\]", (DEPLOY / "helm/ddr/templates/recorder.yaml").read_text()):
        run = subprocess.run(
            [sys.executable, "-m", "ddr.cli.main", "probe", path],
            env={"DDR_ADMIN_PORT": "1", "DDR_ALLOW_BUILTIN_ACCOUNTS": "true"},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1 and run.stderr.startswith("ddr: probe: "), run.stderr


def test_the_unit_is_known_to_systemd() -> None:
    """Each line is a section, a comment, or a directive with a value; the service runs what the wheel installs."""
    lines = (DEPLOY / "systemd/ddr.service").read_text().splitlines()
    assert all(not line or re.fullmatch(r"#.*|\[(Unit|Service|Install)\]|[A-Z]\w+=.*", line) for line in lines)
    assert "ExecStart=/opt/ddr/bin/ddr serve" in lines and "ExecReload=/bin/kill -HUP $MAINPID" in lines
