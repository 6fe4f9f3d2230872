"""deploy/: every file parses and names only commands and settings that there are. No container engine is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

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
    named = yaml.safe_load(values)["settings"]
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


def unit(folder: Path) -> Path:
    """The unit as on a host where the recorder is installed: what it starts is there."""
    copy = folder / "ddr.service"
    copy.write_text((DEPLOY / "systemd/ddr.service").read_text().replace("/opt/ddr/bin/ddr ", "/bin/true "))
    return copy


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    lines = (DEPLOY / "systemd/ddr.service").read_text().splitlines()
    assert "ExecStart=/opt/ddr/bin/ddr serve" in lines and "ExecReload=/bin/kill -HUP $MAINPID" in lines
    done = subprocess.run(["systemd-analyze", "verify", unit(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """`systemd-analyze security` rates exposure from 0 to 10; the threshold is ten times that."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_container_installs_what_is_locked() -> None:
    """By hash, wheels only; the recorder finds all that it needs there, and asks no index for more."""
    text = (DEPLOY / "container/Containerfile").read_text()
    assert "--only-binary :all: --require-hashes -r /tmp/requirements.txt" in text
    assert "--no-index --find-links /tmp 'ddr[server]'" in text
    copied = re.findall(r"^COPY (?!--from)(.*) /tmp/$", text, re.MULTILINE)
    assert [name for line in copied for name in line.split() if not name.startswith("dist/")] == [
        "deploy/container/requirements.txt"
    ]
    assert (DEPLOY.parent / "deploy/container/requirements.txt").is_file()


def test_only_what_is_copied_goes_to_the_builder() -> None:
    """An environment or a key in the context would end up in a layer with the first `COPY .`."""
    lines = (DEPLOY / "container/Containerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    copied = re.search(r"^COPY (?!--from)(.*) /tmp/$", (DEPLOY / "container/Containerfile").read_text(), re.MULTILINE)
    assert copied is not None and rules == ["*", *(f"!{name}" for name in copied[1].split())]


def test_compose_names_only_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    for service in compose["services"].values():
        assert set(service["secrets"]) <= compose["secrets"].keys()
        read = {value for value in service["environment"].values() if "/run/secrets/" in value}
        assert {value.rpartition("/")[2] for value in read} <= set(service["secrets"])
        for source, _, _ in (volume.partition(":") for volume in service["volumes"]):
            assert source in compose["volumes"] or source == "./config" or (DEPLOY / "compose" / source).exists()
    build = compose["services"]["recorder"]["build"]
    assert (DEPLOY / "compose" / build["context"] / build["dockerfile"]).is_file()
