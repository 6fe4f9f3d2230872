"""`ddr demo` as a user runs it: a process of its own with everything real, ended by itself or by a signal."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddr.demo.recorder import free_ports

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "ddr.cli.main", "demo", "--ports", "auto")
SECONDS = 400


PROXY = "http://127.0.0.1:9"  # of a company, say: it reaches nothing on this machine


def demo(state: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--once", "--state-dir", str(state), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment() | settings)


def environment() -> dict[str, str]:
    """Ours with a proxy, and without settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DDR_")}
    return {**inherited, "HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY, "ALL_PROXY": "socks5://127.0.0.1:9"}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of a real sensor's habits: its own seconds, a slow clock, gaps, a pause."""
    rng, at, lines = random.Random(1), datetime(2015, 6, 6, 21, 50, 27), ["id,time,gl"]
    for _ in range(700):
        at += timedelta(seconds=300 + (rng.random() < 0.1), minutes=5 * rng.choice((0,) * 15 + (1, 2, 40)))
        lines.append(f"Subject 1,{at},{rng.randrange(60, 250)}")
    file = tmp_path_factory.mktemp("trace") / "trace.csv"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def replayed(
    tmp_path_factory: pytest.TempPathFactory, trace: Path
) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """Two runs with the same trace on the same state directory."""
    state = tmp_path_factory.mktemp("state")
    return state, [demo(state, "--readings", str(trace), "--workers", "2") for _ in range(2)]


def test_all_readings_of_a_trace_come_back(replayed: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    first = replayed[1][0]
    assert first.returncode == 0, first.stdout + first.stderr
    assert "700 readings accepted, 0 duplicates, 0 rejected" in first.stdout
    assert "hold 700 values: every value is as sent" in first.stdout


def test_a_replay_changes_nothing(replayed: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    second = replayed[1][1]
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 readings accepted, 700 duplicates, 0 rejected" in second.stdout
    assert "chunks unchanged since the last run" in second.stdout


def test_demo_json_describes_the_scene(replayed: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    state = replayed[0]
    described = json.loads((state / "demo.json").read_text())
    names = [
        "fhir_base",
        "oauth_issuer",
        "gateway_base",
        "admin_base",
        "ca",
        "digas",
        "patients",
        "status_url",
        "terms",
    ]
    assert list(described) == names
    assert all(described[name].startswith("http") for name in list(described)[:4])
    paths = [described["ca"], *(diga[name] for diga in described["digas"] for name in ("cert", "key"))]
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)
    assert len({tuple(diga["mivs"]) for diga in described["digas"]}) >= 2
    assert all({"client_id", "redirect_uri"} <= set(diga) for diga in described["digas"])
    patients: list[dict[str, Any]] = described["patients"]
    assert len(patients) >= 2 and all(set(one) == {"username", "password", "gateway_token"} for one in patients)
    assert [(state / name).stat().st_mode & 0o077 for name in ("demo.json", "serve.toml")] == [0, 0]


def test_a_port_that_is_taken_is_told_with_the_way_round(tmp_path: Path) -> None:
    (base,) = free_ports(1)
    with socket.create_server(("127.0.0.1", base)):
        done = demo(tmp_path, "--ports", "default", "--port-base", str(base))
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f":{base}: Address already in use; --ports auto takes free ones")


def test_it_serves_on_until_it_is_ended(tmp_path: Path) -> None:
    command = [*COMMAND, "--state-dir", str(tmp_path), "--patients", "2", "--days", "1", "--grace-seconds", "0"]
    ours = {**environment(), "DDR_OPERATOR_NAME": "Muster & Söhne", "DDR_OPERATOR_CONTACT": "ddr@muster.example"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ours) as process:
        assert process.stdout is not None
        output = next(line for line in process.stdout if "Ctrl-C ends it" in line)
        described = json.loads((tmp_path / "demo.json").read_text())
        context = ssl.create_default_context(cafile=described["ca"])
        metadata = httpx.get(described["oauth_issuer"] + "/.well-known/oauth-authorization-server", verify=context)
        assert output and metadata.json()["issuer"] == described["oauth_issuer"]
        page = httpx.get(described["oauth_issuer"] + "/login", verify=context).text
        assert "Muster &amp; Söhne" in page and "ddr@muster.example" in page
        assert demo(tmp_path).stderr.strip().endswith("is in use by another demonstration")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(described["admin_base"] + "/healthz")


@pytest.mark.parametrize(
    ("name", "value"), [("DDR_OPERATOR_COLOUR", "#ffffff"), ("DDR_DATABASE_STATEMENT_CACHE", "none")]
)
def test_a_wrong_setting_is_one_clear_line(tmp_path: Path, name: str, value: str) -> None:
    done = demo(tmp_path, **{name: value})
    assert done.returncode == 1
    assert (
        done.stderr.startswith(f"ddr: setting {name.removeprefix('DDR_').lower()}: ") and done.stderr.count("\n") == 1
    )


def test_a_broken_trace_is_one_clear_line(tmp_path: Path) -> None:
    done = demo(tmp_path, "--readings", str(tmp_path / "none.csv"))
    assert done.returncode == 1
    assert done.stderr.startswith("ddr: ") and done.stderr.count("\n") == 1


def test_what_a_file_lacks_is_told_and_everybody_in_it_is_kept(tmp_path: Path) -> None:
    """Persons, rows that cannot be read or are rejected, each with line and reason, and how many have no value."""
    at, lines = datetime(2015, 6, 6, 21, 50, 27), ["id,time,gl"]
    for number in range(40):
        at += timedelta(minutes=5)
        value = {7: "nan", 9: "99999999", 11: "x"}.get(number, str(100 + number))
        lines += [f"One,{at},{value}", f"Two,{at},{200 - number}"]
    file = tmp_path / "two.csv"
    file.write_text("\n".join(lines))
    done = demo(tmp_path / "state", "--readings", str(file), "--grace-seconds", "0")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "line 24: not a number: 'x'" in done.stdout
    assert "without a value (left out): 1" in done.stdout
    assert re.search(r"line 20: [a-z-]+: ", done.stdout)
    assert "trace of One: 37 readings accepted, 0 duplicates, 1 rejected" in done.stdout
    assert "trace of Two: 40 readings accepted, 0 duplicates, 0 rejected" in done.stdout
