"""docs/diga-guide.md as a reader uses it: both halves, in order, against a running demonstration."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddr.client.pairing import DEVICE_SCOPES, canonical
from ddr.demo.browser_user import BrowserUser
from ddr.demo.tls import client_context
from tests.demo.test_demo import COMMAND, SECONDS, environment

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "diga-guide.md"
MIVS = ("continuous-glucose-measurement", "blood-glucose-measurement")
SCOPES = [*(f"patient/Observation.rs?code:in={canonical(one)}" for one in MIVS), *DEVICE_SCOPES]


@pytest.mark.slow
def test_every_command_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*COMMAND, "--state-dir", str(tmp_path / ".ddr"), "--patients", "2", "--days", "6"]
    with subprocess.Popen(
        [*command, "--grace-seconds", "10"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as demo:
        assert demo.stdout is not None
        assert any("Ctrl-C ends it" in line for line in demo.stdout)
        shown = read(tmp_path, monkeypatch)
        done = followed(tmp_path)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(SECONDS) == 0
    assert "count" in shown[1] and re.fullmatch(r"[6-9] observations, and [01] more a little later", shown[2])
    assert shown[0].startswith("Send the patient's browser to https://") and shown[3] == "left: []"
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    assert "This answers our request" in told
    assert "HTTP/1.1 429" in told
    # Six chunks, or seven when one began meanwhile, and what they need; then the meter's first value and its Device.
    first, second = re.findall(r"\d+ resources received, (\d+) of them new or changed", told)
    assert (first in ("8", "9"), second) == (True, "2")
    assert "\n1\nObservation 107931-8" in told
    assert told.endswith("Device\n200\n401\n")


def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the first half prints, run in `folder`; whoever is asked where the browser landed plays the patient."""
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    demo, printed = json.loads((folder / ".ddr" / "demo.json").read_text()), list[str]()
    patient, redirect = demo["patients"][0], demo["digas"][0]["redirect_uri"]

    async def browse() -> str:
        async with httpx.AsyncClient(verify=client_context(Path(demo["ca"])), trust_env=False) as http:
            user = BrowserUser(http, patient["username"], patient["password"])
            return await user.decide(names["started"].url, redirect, SCOPES)

    names: dict[str, Any] = {
        "input": lambda _: asyncio.run(browse()),
        "print": lambda *words: printed.append(" ".join(map(str, words))),
    }
    monkeypatch.chdir(folder)
    exec("".join(blocks), names)
    return printed


def followed(folder: Path) -> subprocess.CompletedProcess[str]:
    """The guide's commands, run by one shell in `folder`."""
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={name: value for name, value in environment().items() if not name.upper().endswith("_PROXY")}
        | {"REPOSITORY": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
