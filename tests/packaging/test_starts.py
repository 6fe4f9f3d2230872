"""Services in deploy/ really start: the unit, the container of compose and that of the chart, confined as declared.

No systemd, no container engine: tests/packaging/confined.py creates the machine, with the default ports. Settings and
database are those of the operator's guide.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddr.demo.certs import authority, server_certificate
from ddr.settings import Settings
from tests.docs.host import ROOT, Cluster
from tests.packaging import chart
from tests.packaging.confined import ACCOUNT, Outcome, Plan

DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs/operator-guide.md").read_text()
SOCKETS = "/run/postgresql"
SYSTEMD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
MACHINE = "tests.packaging.confined"
SECRETS = {
    "database_url": "postgresql://ddr@/ddr?host=/var/run/postgresql",
    "key_encryption_key": "A" * 43 + "=",
    "oidc_client_secret": "geheim",
    "registry_token": "bfarm",
}
PORTS = [getattr(Settings(), f"{name}_port") for name in ("diga", "public", "gateway")]
CONNECTS = "import socket, sys; [socket.create_connection(('127.0.0.1', int(port)), 2) for port in sys.argv[1:]]"
KNOCK = ("/opt/ddr/bin/python", "-c", CONNECTS, *map(str, PORTS))
pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other accounts take root"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL with the guide's role and database."""
    with tempfile.TemporaryDirectory(prefix="ddr-starts-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        server = Cluster(Path(name))
        server.start()
        for path in (server.run_dir, *server.run_dir.glob(".s.*")):
            path.chmod(0o777)  # as Debian's; who comes in is for the server to know
        statements, *_ = re.findall(r"ON_ERROR_STOP=1 <<'END'\n(.*?)^END", GUIDE, re.DOTALL | re.MULTILINE)
        psql = [
            str(server.installation.bin / "psql"),
            "-h",
            str(server.run_dir),
            "-U",
            "postgres",
            "-v",
            "ON_ERROR_STOP=1",
        ]
        subprocess.run([*psql, "postgres"], input=statements, text=True, check=True, capture_output=True)
        yield server
        server.dispose()


@dataclass(frozen=True)
class Host:
    """Folders of one machine: what is configured, the secrets, and what may be written."""

    folder: Path
    sockets: Path

    def made(self, name: str, files: Mapping[str, str | Path]) -> str:
        """A folder that others may read, with these contents or copies."""
        target = self.folder / name
        target.mkdir(mode=0o755)
        for file, content in files.items():
            if isinstance(content, Path):
                shutil.copy(content, target / file)
            else:
                (target / file).write_text(content)
            (target / file).chmod(0o644)
        return str(target)

    def writable(self, name: str) -> str:
        """A folder of the service's account."""
        target = self.folder / name
        target.mkdir(mode=0o700)
        os.chown(target, ACCOUNT, ACCOUNT)
        return str(target)

    def binds(self) -> list[tuple[str, str]]:
        """The recorder's code where it is, and as /opt/ddr; PostgreSQL's socket."""
        code = sorted({str(ROOT), sys.prefix, sys.base_prefix} - {"/usr"})
        return [*((one, one) for one in code), (sys.prefix, "/opt/ddr"), (str(self.sockets), SOCKETS)]


@pytest.fixture
def host(cluster: Cluster) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="ddr-starts-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Host(Path(name), cluster.run_dir)


@pytest.fixture(scope="module")
def certificate(cluster: Cluster) -> dict[str, str | Path]:
    """As the CA gave it."""
    folder = cluster.home.parent / "certs"
    pair = server_certificate(folder, authority(folder))
    return {"server.pem": pair.cert, "server.key": pair.key}


@pytest.fixture
def configured(host: Host, certificate: dict[str, str | Path]) -> str:
    """/etc/ddr as the guide fills it."""
    (settings,) = re.findall(r"^sudo tee /etc/ddr/ddr.toml .*?<<'END'\n(.*?)^END", GUIDE, re.DOTALL | re.MULTILINE)
    folder = host.made("etc", {"ddr.toml": settings, **certificate})
    host.made("etc/secrets", SECRETS)
    return folder


def started(plan: Plan) -> Outcome:
    """It served, nothing complained, and it ended when it was told to."""
    command = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", sys.executable, "-m", MACHINE)
    done = subprocess.run(command, input=json.dumps(vars(plan)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcome = Outcome(**json.loads(done.stdout))
    assert outcome.probes == [0] * len(plan.probes), (outcome.told, outcome.log)
    assert outcome.status == 0, outcome.log
    told = [json.loads(line) for line in outcome.log.splitlines()]
    assert {one["level"] for one in told} <= {"info", "warning"}, outcome.log
    ready = [one for one in told if one["event"] == "serve.ready"]
    assert ready
    return outcome


def test_the_unit(host: Host, configured: str) -> None:
    """As systemd would start it: with nothing to write but the state directories, and every filter of the unit."""
    unit = [line.partition("=") for line in (DEPLOY / "systemd/ddr.service").read_text().splitlines() if "=" in line]
    said: dict[str, list[str]] = {}
    for name, _, value in unit:
        said.setdefault(name, []).append(value)
    (more,) = re.findall(r"StateDirectory=([a-z -]+)\\n", GUIDE)
    state = [(host.writable(name), f"/var/lib/{name}") for name in more.split()]
    plan = Plan(
        command=shlex.split(said["ExecStart"][0]),
        environment={"PATH": SYSTEMD_PATH, **dict(one.split("=", 1) for one in said["Environment"])},
        binds=[*host.binds(), (configured, "/etc/ddr")],
        writable=state,
        probes=[("/opt/ddr/bin/ddr", "probe", "readyz"), KNOCK],
        calls=allowed(said["SystemCallFilter"]),
        umask=int(said["UMask"][0], 8),
        descriptors=int(said["LimitNOFILE"][0]),
        reload=True,
    )
    outcome = started(plan)
    assert outcome.reloaded, outcome.log
    left = [path for folder, _ in state for path in Path(folder).rglob("*")]
    assert left and all(path.stat().st_mode & 0o077 == 0 for path in left if not path.is_symlink())


def allowed(filters: Sequence[str]) -> list[str]:
    """The system calls of SystemCallFilter=, with the groups of this machine's systemd."""
    calls: set[str] = set()
    for line in filters:
        named = {call for group in line.removeprefix("~").split() for call in members(group)}
        calls = calls - named if line.startswith("~") else calls | named
    return sorted(calls)


def members(group: str) -> Iterator[str]:
    """The calls of `@group` and of the groups in it."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    for word in (line.strip() for line in shown.stdout.splitlines() if line.startswith(" ")):
        if word.startswith("@"):
            yield from members(word)
        elif not word.startswith("#"):
            yield word


def image() -> dict[str, Any]:
    """What the Containerfile's last stage says."""
    text = (DEPLOY / "container/Containerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    environment = dict(one.split("=", 1) for one in re.findall(r"^ENV (.*)$", text, re.MULTILINE)[0].split())
    words = {name: json.loads(found) for name, found in re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)}
    (health,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    environment["PATH"] = environment["PATH"].replace("$PATH", SYSTEMD_PATH)
    return {"environment": environment, "command": words["ENTRYPOINT"] + words["CMD"], "health": json.loads(health)}


def test_the_container_of_compose(host: Host, configured: str) -> None:
    """Its image's command and health check; ./config and the secrets are read-only, the state alone can be written."""
    made, compose = image(), yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    service = compose["services"]["recorder"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"] == ["/tmp"]
    places = {source: place for source, place, *_ in (one.split(":") for one in service["volumes"])}
    assert places.keys() == {"./config", "state"}
    settings = Path(configured) / "ddr.toml"
    settings.write_text("".join(line for line in settings.open() if not line.startswith(("journal_dir", "state_dir"))))
    started(
        Plan(
            command=made["command"],
            environment=made["environment"] | service["environment"],
            binds=[*host.binds(), (configured, places["./config"]), (host.made("secrets", SECRETS), "/run/secrets")],
            writable=[(host.writable("state"), places["state"])],
            probes=[made["health"], ("ddr", "probe", "readyz"), KNOCK],
            descriptors=service["ulimits"]["nofile"],
        )
    )


def test_the_container_of_the_chart(host: Host, certificate: dict[str, str | Path]) -> None:
    """What helm made of the chart, with its probes."""
    made, manifests = image(), {one["kind"]: one for one in yaml.safe_load_all(chart.known()[1])}
    pod = manifests["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    places = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    settings = host.made("settings", manifests["ConfigMap"]["data"])
    secrets = host.made("secrets", {**SECRETS, **certificate})
    started(
        Plan(
            command=made["command"],
            environment=made["environment"] | {one["name"]: one["value"] for one in container["env"]},
            binds=[*host.binds(), (settings, places["settings"]), (secrets, places["secrets"])],
            writable=[(host.writable("state"), places["state"])],
            probes=[*(container[f"{name}Probe"]["exec"]["command"] for name in ("liveness", "readiness")), KNOCK],
        )
    )
