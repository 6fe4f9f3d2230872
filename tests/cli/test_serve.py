"""`ddr serve` as a process: starts, answers, survives a worker's crash, stops in order."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from ddr import __version__
from tests import conformance
from tests.cli.recorder import START_SECONDS, Recorder, command, ddr, environment, settings_for
from tests.support.processes import alive


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recorder")
    yield folder
    shutil.rmtree((folder / "postgres").resolve(), ignore_errors=True)


@pytest.fixture(scope="module")
def recorder(folder: Path) -> Iterator[Recorder]:
    """Two workers on an embedded database, started where a crash leaves a core file."""
    limit, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    recorder = Recorder(settings_for(folder, workers=2))
    resource.setrlimit(resource.RLIMIT_CORE, (limit, most))
    deadline = time.monotonic() + START_SECONDS
    while "serve.ready" not in recorder.log():  # until then one of them may serve alone
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield recorder
    if recorder.process.poll() is None:
        recorder.stop()


def test_it_says_what_it_lacks(recorder: Recorder) -> None:
    answer = recorder.admin("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": True, "diga-vz": False, "zts": False}


def test_a_worker_stays_small(recorder: Recorder) -> None:
    peaks = [value for name, value in recorder.figures().items() if name.startswith("ddr_worker_peak_memory_bytes")]
    assert 0 < max(peaks) < 200_000_000


def test_every_listener_answers(recorder: Recorder) -> None:
    context = ssl.create_default_context(cafile=recorder.settings["state_dir"] / "authority.pem")
    with httpx.Client(verify=context) as client:
        for listener, path in (
            ("public", "/.well-known/oauth-authorization-server"),
            ("gateway", "/gateway/v1/openapi.json"),
        ):
            answer = client.get(f"https://localhost:{recorder.settings[f'{listener}_port']}{path}")
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"]
            assert "server" not in answer.headers
        with pytest.raises(httpx.TransportError):
            client.get(f"https://localhost:{recorder.settings['diga_port']}/fhir/metadata")


def test_the_dossier_of_an_installation(recorder: Recorder, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Everything is asked of the running recorder; secrets stay where they are."""
    out, ca = tmp_path / "dossier", recorder.settings["state_dir"] / "authority.pem"
    ports = {name: recorder.settings[f"{name}_port"] for name in ("diga", "public", "gateway")}
    outside = {f"{name}_base_url": f"https://localhost:{port}" for name, port in ports.items()}
    done = ddr("dossier", "--out", str(out), "--ca", str(ca), settings={**recorder.settings, **outside})
    assert (done.returncode, done.stderr) == (0, "")
    content = (out / "dossier.json").read_bytes()
    found = orjson.loads(content)
    rows = {chapter["name"]: chapter["rows"] for chapter in found["chapters"]}
    assert {row["document"] for row in rows["Interfaces"]} == set(found["documents"])
    assert [row["versions"] for row in rows["TLS scan"]] == ["TLS 1.2\nTLS 1.3"] * 3
    limits = {row["setting"]: (row["in force"], row["limits"]) for row in rows["Settings in force"]}
    assert limits["workers"] == ("2", "must be at least 1\nmust be at most 2147483647")
    assert "one year" in limits["consent_days"][1]
    assert len(rows["Registered values"]) == 4
    assert {one.name for one in (out / "documents").iterdir()} == set(found["documents"])
    conformance.keep_document(pytestconfig, "installation.json", content)


def test_a_second_recorder_on_the_same_state_is_refused(recorder: Recorder, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, state_dir=recorder.settings["state_dir"])
    done = ddr("serve", settings=settings)
    assert done.returncode == 1
    assert "in use by another recorder" in done.stderr


def test_other_commands_share_the_database(recorder: Recorder) -> None:
    done = ddr("db", "migrate", settings=recorder.settings)
    assert done.stdout == "the schema is up to date\n"


def test_the_log_of_the_database_names_no_account(recorder: Recorder) -> None:
    add = command("patient", "add", "--username", "zoe.zimmer", "--password-stdin")
    for status in (0, 1):
        done = subprocess.run(
            add, input="correct horse\n", env=environment(recorder.settings), text=True, capture_output=True
        )
        assert done.returncode == status
    assert done.stderr == "ddr: patient 'zoe.zimmer': username is already taken\n"
    assert "zoe.zimmer" not in (recorder.settings["state_dir"] / "postgres" / "log").read_text("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody is told the limits of another process")
def test_no_crash_leaves_an_image_of_the_memory(recorder: Recorder) -> None:
    for pid in (recorder.process.pid, *recorder.workers()):
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process says when it is ended")
def test_a_lack_of_memory_ends_a_worker_before_the_supervisor(recorder: Recorder) -> None:
    supervisor, *workers = (
        int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (recorder.process.pid, *recorder.workers())
    )
    assert [score > supervisor or supervisor == 1000 for score in workers] == [True, True]  # the most there is


def test_a_crashed_worker_is_replaced(recorder: Recorder) -> None:
    before = set(recorder.workers())
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    deadline = time.monotonic() + 120
    while len(after := set(recorder.workers())) < 2 or after == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert max(before) in after
    assert [recorder.admin("/healthz").status_code for _ in range(8)] == [200] * 8


def test_sigterm_ends_everything_in_order(recorder: Recorder) -> None:
    workers = recorder.workers()
    status, log = recorder.stop()
    assert status == 0
    assert not any(alive(worker) for worker in workers)
    assert not (recorder.settings["state_dir"] / "postgres.url").exists()
    events = [orjson.loads(line)["event"] for line in log.splitlines()]
    assert "serve.ready" in events
    starting = orjson.loads(log.splitlines()[0])
    assert (starting["event"], starting["version"], starting["embedded"]) == ("serve.starting", __version__, True)
    assert starting["listeners"]["diga"] == f"127.0.0.1:{recorder.settings['diga_port']}"
    assert starting["database"] == "local socket/postgres"
    assert events[-2:] == ["serve.stopping", "serve.stopped"]
    assert set(events[1:-2]) <= {
        "serve.ready",
        "serve.worker_ended",
        "serve.operator_unnamed",
        "registry.fault",
        "registry.report",
        "request_log.sealed",  # where the tests before took longer than until then
    }
