"""deploy/: every file parses and names only existing commands and settings. No container engine is needed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddr.cli.serving.process import GRACE_SECONDS
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.dsn import shown
from ddr.store.database.sealing import check_keys

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = {f"DDR_{field.name.upper()}" for field in fields(Settings)} | {"DDR_SETTINGS"}
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")
SERVICE_KEYS = frozenset(
    {
        *("annotations", "build", "cap_add", "cap_drop", "command", "configs", "container_name", "cpus", "depends_on"),
        *("deploy", "entrypoint", "env_file", "environment", "expose", "healthcheck", "hostname", "image", "init"),
        *("labels", "logging", "mem_limit", "networks", "pids_limit", "ports", "profiles", "pull_policy", "read_only"),
        *("restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "sysctls", "tmpfs"),
        *("ulimits", "user", "volumes", "working_dir"),
    }
)
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
    """A secret that has gone by now is nothing to a recorder that runs: Kubernetes would end all of them."""
    for path in re.findall(r"\[ddr, probe, ([a-z]+)\]", (DEPLOY / "helm/ddr/templates/recorder.yaml").read_text()):
        run = subprocess.run(
            [sys.executable, "-m", "ddr.cli.main", "probe", path],
            env={"DDR_ADMIN_PORT": "1", "DDR_REGISTRY_TOKEN": "file:/nowhere/registry_token"},
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


def recorder_of_compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]["recorder"]
    return found


def test_compose_keeps_to_its_specification() -> None:
    """Names, forms and references of the Compose Specification, as far as the file goes: a misspelt key is refused."""
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    assert compose.keys() <= {"name", "services", "volumes", "secrets", "configs", "networks"}
    for service in compose["services"].values():
        assert service.keys() <= SERVICE_KEYS and service["restart"] in ("no", "always", "on-failure", "unless-stopped")
        assert all(isinstance(value, str) for value in service["environment"].values()), "quote what YAML would convert"
        assert re.fullmatch(r"\S+:\S+", service["image"])
        for volume in service["volumes"]:
            source, place, *how = volume.split(":")
            assert re.match(r"\./|[a-z]", source) and place.startswith("/") and how in ([], ["ro"])
        for port in service.get("ports", ()):
            assert re.fullmatch(r"\d+:\d+", port)
        if health := service.get("healthcheck"):
            assert health.keys() <= {"test", "interval", "timeout", "retries", "start_period", "disable"}
            assert health["test"][0] in ("CMD", "CMD-SHELL") and DURATION.fullmatch(health["interval"])
            assert isinstance(health["retries"], int)
        for name, how in service.get("depends_on", {}).items():
            assert how.keys() == {"condition"}
            assert how["condition"] != "service_healthy" or "healthcheck" in compose["services"][name]
        assert DURATION.fullmatch(service.get("stop_grace_period", "10s"))
    assert all(one is None for one in compose["volumes"].values()), "plain volumes of the engine"
    assert all(one.keys() == {"file"} for one in compose["secrets"].values())


def test_ports_are_those_of_the_settings() -> None:
    """The unit opens the defaults; the image, compose and the chart name them, and the admin listener's only inside."""
    plain = Settings()
    ports = [plain.diga_port, plain.public_port, plain.gateway_port]
    image = (DEPLOY / "container/Containerfile").read_text()
    assert re.findall(r"^EXPOSE (.*)$", image, re.MULTILINE) == [" ".join(map(str, ports))]
    assert f"http://127.0.0.1:{plain.admin_port}/healthz" in image
    assert recorder_of_compose()["ports"] == [f"{port}:{port}" for port in ports]
    for name, field in (("recorder.yaml", "containerPort"), ("service.yaml", "port")):
        text = (DEPLOY / "helm/ddr/templates" / name).read_text()
        assert list(map(int, re.findall(rf"\b{field}: (\d+)", text))) == ports


def test_a_stop_waits_for_the_requests_in_hand() -> None:
    """Whoever ends the recorder waits for longer than it may take to answer what was asked."""
    unit = (DEPLOY / "systemd/ddr.service").read_text()
    chart = (DEPLOY / "helm/ddr/templates/recorder.yaml").read_text()
    for found in (
        re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE),
        re.fullmatch(r"(\d+)s", recorder_of_compose()["stop_grace_period"]),
        re.search(r"terminationGracePeriodSeconds: (\d+)$", chart, re.MULTILINE),
    ):
        assert found is not None and int(found[1]) > GRACE_SECONDS


def test_what_can_be_written_is_the_state_directory() -> None:
    """The same place in the setting and as the volume: else it would be the layer of a container that goes with it."""
    image = (DEPLOY / "container/Containerfile").read_text()
    (state,) = re.findall(r"\bDDR_STATE_DIR=(\S+)", image)
    assert re.findall(r"^VOLUME (.*)$", image, re.MULTILINE) == [state]
    assert f"state:{state}" in recorder_of_compose()["volumes"]
    chart = (DEPLOY / "helm/ddr/templates/recorder.yaml").read_text()
    assert f"{{name: DDR_STATE_DIR, value: {state}}}" in chart and f"{{name: state, mountPath: {state}}}" in chart
    unit = (DEPLOY / "systemd/ddr.service").read_text()
    (directory,) = re.findall(r"^StateDirectory=(.*)$", unit, re.MULTILINE)
    assert f"Environment=DDR_STATE_DIR={state}\n" in unit and f"/var/lib/{directory}" == state
    (account,) = re.findall(r"^USER (\d+)$", image, re.MULTILINE)
    assert f"--uid {account}" in image and f"runAsUser: {account}" in chart and f"fsGroup: {account}" in chart


def test_the_database_of_compose_is_the_recorders() -> None:
    """init.sh makes the role and the database that the health check asks for; by TCP, as nobody shall connect before
    that: while it runs, the server has its socket only."""
    script = DEPLOY / "compose/init.sh"
    assert script.stat().st_mode & 0o111, "else it would be read into another shell"
    subprocess.run(["sh", "-n", script], check=True)
    postgres = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]["postgres"]
    _, *check = postgres["healthcheck"]["test"]
    options = dict(zip(check[1::2], check[2::2], strict=True))
    text = script.read_text()
    assert options["-h"] == "127.0.0.1" and f"CREATE ROLE {options['-U']} LOGIN NOSUPERUSER" in text
    assert f"CREATE DATABASE {options['-d']} OWNER {options['-U']}" in text


def test_the_secrets_of_compose_are_made_as_it_says(tmp_path: Path) -> None:
    text = (DEPLOY / "compose/compose.yaml").read_text()
    script = "\n".join(re.findall(r"^#     (.*)$", text, re.MULTILINE))
    given = {**os.environ, "REGISTRY_TOKEN": "bfarm", "OIDC_CLIENT_SECRET": "geheim"}
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, env=given, check=True)
    made = {f"./secrets/{path.name}": path for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == {one["file"] for one in yaml.safe_load(text)["secrets"].values()}
    assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o444}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    names = {name: f"file:{made[f'./secrets/{name}']}" for name in recorder_of_compose()["secrets"]}
    settings = load_settings(
        {f"DDR_{name.upper()}": where for name, where in names.items()}, allow_builtin_accounts=True
    )
    check_keys(settings)
    assert shown(settings.database_url) == "postgres/ddr" and settings.registry_token == "bfarm"
