"""The examples for several recorders in docs/operations.md are consistent: file, proxy, unit, commands' short name."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ddr.settings import Settings
from ddr.settings_sources import SECRETS, load_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
PROXY = (ROOT / "deploy/proxy/haproxy.cfg").read_text()
FILE = re.search(r"^```ini\n# (\S+/glucose\.env)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
assert FILE


def shown(folder: Path) -> Settings:
    """The settings of the example, with its secrets below `folder`."""
    assert FILE
    text = FILE[2].replace("file:/", f"file:{folder}/")
    for name in re.findall(rf"file:({re.escape(str(folder))}\S+)", text):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("postgresql://glucose@/ddr" if name.endswith("database_url") else "c" * 43 + "=")
    (folder / "glucose.env").write_text(text)
    return load_settings({"DDR_RECORDERS": str(folder), "DDR_RECORDER": "glucose"})


def test_the_file_is_that_of_a_recorder_behind_the_proxy(tmp_path: Path) -> None:
    settings = shown(tmp_path)
    for room, port, base in (
        ("diga", settings.diga_port, settings.diga_base_url),
        ("public", settings.public_port, settings.public_base_url),
        ("gateway", settings.gateway_port, settings.gateway_base_url),
    ):
        (address,) = re.findall(
            rf"^backend {room}-glucose\n    server recorder (\S+):{port} send-proxy-v2", PROXY, re.M
        )
        assert settings.proxy_protocol_from.split() == [address]  # else each connection is a broken handshake
        host, outside = base.removeprefix("https://").split(":")
        assert re.search(rf"^frontend {room}\n    bind :{outside}\n(?: .*\n)*?.*-glucose if .*-i {host} ", PROXY, re.M)


def test_the_file_has_what_registries_and_patients_ask_for(tmp_path: Path) -> None:
    settings = shown(tmp_path)
    assert settings.registry_token and settings.patient_login == "oidc" and settings.key_encryption_key
    assert not [name for name in SECRETS if re.search(rf"^DDR_{name.upper()}=(?!file:)", PAGE, re.MULTILINE)]


def test_the_short_name_of_commands_finds_the_recorders_of_the_unit(tmp_path: Path) -> None:
    """Before: the name that the guide makes said one settings file only, and `--recorder` found no directory."""
    assert FILE
    (unit,) = re.findall(r"^Environment=DDR_RECORDERS=(\S+)$", PAGE, re.MULTILINE)
    assert unit == str(Path(FILE[1]).parent)
    (script,) = re.findall(r"^sudo tee /usr/local/bin/ddr .*\n(#!/bin/sh\n.*?)^END$", PAGE, re.DOTALL | re.MULTILINE)
    for name, text in (("sudo", 'shift 2; exec "$@"'), ("ddr", 'echo "$DDR_RECORDERS|$DDR_RECORDER|$*"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = script.replace("/opt/ddr/bin/ddr", str(tmp_path / "ddr"))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for chosen, told in (({}, f"{unit}||--recorder a b\n"), ({"DDR_RECORDER": "c"}, f"{unit}|c|--recorder a b\n")):
        command = ["sh", "-eu", "-c", script, "ddr", "--recorder", "a", "b"]
        said = subprocess.run(command, env=environment | chosen, capture_output=True, text=True)
        assert (said.stdout, said.stderr) == (told, "")
