"""Several recorders on one installation: one tree of processes, one database, and nothing of one at another.

The tests run in order on the same installation, like an operator's days.
"""

from __future__ import annotations

import os
import re
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ddr.demo.certs import client_certificate
from ddr.demo.recorder import free_ports
from tests.cli.recorder import Recorder, ddr, settings_for
from tests.cli.test_lifecycle import until
from tests.support.database import fresh_database
from tests.support.pooler import direct_only
from tests.support.processes import alive, children

pytestmark = [pytest.mark.packaging, direct_only]
PATH = "/gateway/v1/openapi.json"
BRIDGE = "/gateway/v1/bridge/readings"


class Installation:
    """`ddr serve` on a directory of recorders."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.database = folder, database
        self.files = folder / "recorders"
        self.files.mkdir()
        self.settings: dict[str, dict[str, Any]] = {}

    def write(self, name: str, **more: Any) -> None:
        """The file of a recorder, with a schema of its own; `more` wins."""
        if name not in self.settings:
            state = self.folder / name
            state.mkdir()
            fixed = settings_for(state, embedded=False, database_url=self.database, database_schema=name)
            self.settings[name] = {**fixed, "public_base_url": f"https://{name}.example:8444"}
        self.settings[name] |= more
        lines = (f"DDR_{key.upper()}={value}\n" for key, value in self.settings[name].items())
        (self.files / f"{name}.env").write_text("".join(lines))

    def start(self) -> None:
        self.running = Recorder({"recorders": self.files}, healthy=False)

    def read(self) -> None:
        """SIGHUP."""
        self.running.process.send_signal(signal.SIGHUP)

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event of this recorder."""
        return [one for one in self.running.events() if (one["event"], one.get("recorder")) == (event, name)]

    def wait_for(self, name: str, event: str, count: int = 1) -> dict[str, Any]:
        """The newest line with this event of this recorder, when there are so many."""
        until(lambda: len(self.events(name, event)) >= count)
        return self.events(name, event)[-1]

    def serving(self, name: str) -> bool:
        """It answers by its admin listener."""
        try:
            return self.admin(name, "/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def admin(self, name: str, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.settings[name]['admin_port']}{path}", timeout=5, trust_env=False)

    def workers(self, *names: str) -> dict[str, list[int]]:
        """Processes of the workers of each, all of which serve."""
        until(lambda: all(self.serving(name) for name in names))
        return {name: children(self.process(name)) for name in names}

    def process(self, name: str) -> int:
        """The process that was started last for it."""
        pid: int = self.events(name, "recorders.started")[-1]["pid"]
        return pid

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """`ddr` with these arguments; exit status, output, errors."""
        done = ddr(*arguments, settings={"recorders": self.files})
        return done.returncode, done.stdout, done.stderr

    def client(self, name: str, listener: str, certificate: Any = None) -> httpx.Client:
        """For one of its listeners."""
        context = ssl.create_default_context(cafile=self.folder / name / "authority.pem")
        if certificate is not None:
            context.load_cert_chain(certificate.cert, certificate.key)
        url = f"https://localhost:{self.settings[name][f'{listener}_port']}"
        return httpx.Client(verify=context, base_url=url, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
async def database(database_url: str) -> AsyncIterator[str]:
    async with fresh_database(database_url) as url:
        yield url


@pytest.fixture(scope="module")
def house(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`glucose` with two workers and `pressure` with one."""
    installation = Installation(tmp_path_factory.mktemp("installation"), database)
    installation.write("glucose", workers=2)
    installation.write("pressure")
    installation.start()
    try:
        installation.workers("glucose", "pressure")
        yield installation
    finally:
        if installation.running.process.poll() is None:
            installation.running.stop()


def test_each_serves_by_its_own_settings(house: Installation) -> None:
    workers = house.workers("glucose", "pressure")
    assert {name: len(pids) for name, pids in workers.items()} == {"glucose": 2, "pressure": 1}
    assert house.wait_for("glucose", "serve.starting")["workers"] == 2
    for name in ("glucose", "pressure"):
        house.wait_for(name, "serve.ready")
        with house.client(name, "public") as http:
            metadata = http.get("/.well-known/oauth-authorization-server").json()
        assert metadata["issuer"] == f"https://{name}.example:8444"


def test_every_line_of_the_log_says_whose_it_is(house: Installation) -> None:
    lines = house.running.events()
    assert {one.get("recorder") for one in lines if one["event"] != "recorders.read"} == {"glucose", "pressure"}
    assert next(one for one in lines if one["event"] == "recorders.read")["recorders"] == ["glucose", "pressure"]


def test_metrics_count_their_own_requests(house: Installation) -> None:
    counted = re.compile(r'^ddr_requests_total\{.*listener="gateway".*\} ([\d.]+)$', re.MULTILINE)

    def asked(name: str) -> float:
        return sum(map(float, counted.findall(house.admin(name, "/metrics").text)))

    with house.client("glucose", "gateway") as http:
        for _ in range(5):
            assert http.get(PATH).status_code == 200
    until(lambda: asked("glucose") == 5)
    assert asked("pressure") == 0


def test_commands_are_for_one_recorder(house: Installation) -> None:
    status, _, errors = house.command("gateway", "list-certificates")
    assert (status, errors) == (
        1, "ddr: DDR_RECORDERS: choose a recorder with --recorder NAME: glucose, pressure\n",
    )  # fmt: skip
    status, _, errors = house.command("--recorder", "insulin", "gateway", "list-certificates")
    assert status == 1 and errors.startswith("ddr: recorder insulin: there is no insulin.env or insulin.toml in ")
    for where in (("--recorder", "pressure", "db", "migrate"), ("db", "migrate", "--recorder=pressure")):
        assert house.command(*where) == (0, "the schema is up to date\n", "")
    done = ddr("db", "migrate", settings={"recorders": house.files, "recorder": "glucose", "workers": "no number"})
    assert (done.returncode, done.stdout) == (0, "the schema is up to date\n"), "its file alone has its settings"


def test_a_bridge_of_one_is_nobody_at_the_other(house: Installation) -> None:
    pair = client_certificate(house.folder, "bridge")
    assert house.command("--recorder", "glucose", "gateway", "add-certificate", str(pair.cert), "--name", "b")[0] == 0
    assert "b:" in house.command("--recorder", "glucose", "gateway", "list-certificates")[1]
    assert house.command("--recorder", "pressure", "gateway", "list-certificates")[1] == ""

    def answers(name: str) -> int:
        try:
            with house.client(name, "gateway", pair) as http:
                return http.post(BRIDGE, json={}).status_code
        except (httpx.TransportError, ssl.SSLError):  # TLS 1.3 refuses after the handshake
            return 0

    until(lambda: answers("glucose") == 422)
    assert answers("pressure") in (0, 401), "the handshake, or the request, is refused"


def test_the_request_log_of_one_is_no_proof_at_the_other(house: Installation) -> None:
    with house.client("glucose", "public") as http:
        request = http.get("/fhir/metadata").headers["x-request-id"]
    file = house.folder / "glucose.jsonl"
    exporting = ("--recorder", "glucose", "logs", "export", "--transaction", request, "--output", str(file))
    assert house.command(*exporting)[0] == 0
    assert request in file.read_text()
    assert house.command("--recorder", "glucose", "logs", "verify", str(file))[0] == 0
    status, _, errors = house.command("--recorder", "pressure", "logs", "verify", str(file))
    assert status == 1 and errors
    elsewhere = house.command("--recorder", "pressure", "logs", "export", "--transaction", request)[1]
    assert [orjson.loads(line)["manifest"]["records"] for line in elsewhere.splitlines()] == [0]


def test_the_trail_of_one_is_not_in_the_export_of_the_other(house: Installation) -> None:
    """It has the certificate that was added above."""
    exports = [house.command("--recorder", name, "audit", "export")[1] for name in ("glucose", "pressure")]
    assert ["operator:gateway-certificate:added" in text for text in exports] == [True, False]


def test_one_is_added_while_the_others_go_on(house: Installation) -> None:
    before = house.workers("glucose", "pressure")
    house.write("asthma")
    house.read()
    house.wait_for("asthma", "serve.ready")
    assert house.workers("glucose", "pressure") == before
    assert house.serving("asthma")


def test_a_file_that_is_wrong_stops_nobody(house: Installation) -> None:
    """Neither its own recorder, which goes on with what it has, nor another one; the line says what to mend."""
    before = house.workers("glucose", "pressure", "asthma")
    good = (house.files / "pressure.env").read_text()
    (house.files / "pressure.env").write_text(good + "DDR_WORKRES=2\n")
    (house.files / "copy.env").write_text((house.files / "glucose.env").read_text())
    (house.files / "empty.env").write_text("")
    house.read()
    assert "(did you mean DDR_WORKERS?)" in house.wait_for("pressure", "recorders.refused")["reason"]
    copied = house.wait_for("copy", "recorders.refused")["reason"]
    assert copied.startswith("setting database_schema: has the same value for the recorder glucose; ")
    assert "patient_login" in house.wait_for("empty", "recorders.refused")["reason"]
    assert house.workers("glucose", "pressure", "asthma") == before
    (house.files / "pressure.env").write_text(good)
    for name in ("copy", "empty"):
        (house.files / f"{name}.env").unlink()
    house.read()
    for name in ("copy", "empty"):
        house.wait_for(name, "recorders.retired")
    assert house.workers("glucose", "pressure", "asthma") == before


def test_what_is_changed_reaches_its_recorder_only(house: Installation) -> None:
    before = house.workers("glucose", "pressure", "asthma")
    house.write("glucose", maintenance="until noon")
    house.read()
    house.wait_for("glucose", "serve.reloaded")
    with house.client("glucose", "public") as http:
        assert "until noon" in http.get("/status").text
    with house.client("pressure", "public") as http:
        assert "until noon" not in http.get("/status").text
    after = house.workers("glucose", "pressure", "asthma")
    assert not {*after["glucose"]} & {*before["glucose"]}
    assert {**after, "glucose": []} == {**before, "glucose": []}


def test_what_needs_a_new_start_gets_one_by_itself(house: Installation) -> None:
    before = house.workers("glucose", "pressure")
    (port,) = free_ports(1)
    house.write("asthma", public_port=port)
    house.read()
    assert house.wait_for("asthma", "recorders.restarting")["settings"] == ["public_port"]
    house.wait_for("asthma", "serve.ready", 2)
    with house.client("asthma", "public") as http:
        assert http.get("/status").status_code == 200
    assert house.workers("glucose", "pressure") == before
    assert house.events("asthma", "recorders.ended") == []


def test_one_that_crashes_is_started_again(house: Installation) -> None:
    before, lost = house.workers("glucose", "pressure"), house.process("asthma")
    orphans = children(lost)
    os.kill(lost, signal.SIGKILL)
    assert house.wait_for("asthma", "recorders.ended")["status"] == -signal.SIGKILL
    house.wait_for("asthma", "serve.ready", 3)
    until(lambda: not any(alive(one) for one in orphans))
    assert house.serving("asthma")
    assert house.workers("glucose", "pressure") == before


def test_one_is_retired_while_the_others_go_on(house: Installation) -> None:
    before, process = house.workers("glucose", "pressure"), house.process("asthma")
    (house.files / "asthma.env").unlink()
    house.read()
    house.wait_for("asthma", "recorders.retired")
    assert not alive(process) and not house.serving("asthma")
    assert house.events("asthma", "serve.stopped")
    assert house.workers("glucose", "pressure") == before


def test_sigterm_ends_all_in_order(house: Installation) -> None:
    processes = [house.process(name) for name in ("glucose", "pressure")]
    status, log = house.running.stop()
    assert status == 0
    assert not any(alive(process) for process in processes)
    assert all(house.events(name, "serve.stopped") for name in ("glucose", "pressure"))
    assert not [line for line in log.splitlines() if not line.startswith("{")], "no process broke off"
    assert "recorders.ended" not in log[log.rindex("recorders.retired") :]


def test_none_outlives_the_process_that_started_it(house: Installation) -> None:
    """Killed with -9 it can tell nobody."""
    house.start()
    workers = house.workers("glucose", "pressure")
    processes = [house.process(name) for name in workers]
    house.running.process.kill()
    house.running.process.wait()
    until(lambda: not any(alive(one) for one in (*processes, *workers["glucose"], *workers["pressure"])))


def test_variables_of_the_installation_are_nobodys_settings(house: Installation) -> None:
    house.running = Recorder({"recorders": house.files, "workers": "no number", "settings": "/nowhere"}, healthy=False)
    house.workers("glucose", "pressure")
    (warned,) = [one for one in house.running.events() if one["event"] == "recorders.variables_ignored"]
    assert warned["variables"] == ["DDR_SETTINGS", "DDR_WORKERS"]
    assert house.running.stop()[0] == 0


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = ddr("serve", settings={"recorders": tmp_path / "gone"})
    assert (done.returncode, done.stderr) == (1, f"ddr: DDR_RECORDERS: {tmp_path}/gone: No such file or directory\n")
