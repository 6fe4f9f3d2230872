"""docs/diga-guide.md as a reader uses it: every command of it, in order, against a running demonstration."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.demo.test_demo import COMMAND, SECONDS, environment

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "diga-guide.md"


@pytest.mark.slow
def test_every_command_works(tmp_path: Path) -> None:
    command = [*COMMAND, "--state-dir", str(tmp_path / ".ddr"), "--patients", "2", "--days", "6"]
    with subprocess.Popen(
        [*command, "--grace-seconds", "10"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as demo:
        assert demo.stdout is not None
        assert any("Ctrl-C ends it" in line for line in demo.stdout)
        done = followed(tmp_path)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(SECONDS) == 0
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    assert "This answers our request" in told
    assert "HTTP/1.1 429" in told
    # Six chunks, or seven when one began meanwhile, and what they need; then the meter's first value and its Device.
    first, second = re.findall(r"\d+ resources received, (\d+) of them new or changed", told)
    assert (first in ("8", "9"), second) == (True, "2")
    assert "\n1\nObservation 107931-8" in told
    assert told.endswith("Device\n200\n401\n")


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
