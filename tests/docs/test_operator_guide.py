"""docs/operator-guide.md as an operator uses it: every command, in order, from a signed release to the end.

Real: the release and its signature, pip with hashes, PostgreSQL under a role without rights, the recorder with its TLS,
dump and restore. Stand-ins: systemd (it reads our unit), sudo, BfArM's registries, the OpenID provider, the CA, DNS.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.demo.recorder import free_ports
from ddr.demo.registry import DIGA_PATH, HIIS_PATH, ZTS_PATH, create_registry
from ddr.demo.registry_state import ListedDiga, RegistryState
from ddr.demo.server import serving
from tests.docs.dossier import kept
from tests.docs.host import ROOT, Cluster, furnish, mapped
from tests.packaging.test_release import git, made, tree, written  # noqa: F401
from tests.support.openid import CLIENT_SECRET, OpenIdProvider

GUIDE = ROOT / "docs" / "operator-guide.md"
BLOCK = re.compile(r"^```sh( outside)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
PORTS = ("8443", "8444", "8445", "8446")
SECONDS = 1800  # it installs a release, fills a database, and restores it
pytestmark = [pytest.mark.packaging, pytest.mark.timeout(SECONDS + 600)]


@pytest.fixture
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """PostgreSQL as Debian installs it."""
    server = Cluster(folder / "cluster")
    server.start()
    yield server
    server.dispose()


@pytest.fixture
def folder() -> Iterator[Path]:
    """The host's files; short, for the path of a socket."""
    with tempfile.TemporaryDirectory(prefix="ddr-guide-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        (Path(name) / "cluster").mkdir()
        yield Path(name)


async def test_every_command_works(folder: Path, cluster: Cluster, tree: Path) -> None:  # noqa: F811
    ports = dict(zip(PORTS, map(str, free_ports(4)), strict=True))
    ca = authority(folder / "certs")
    pair = server_certificate(folder / "certs", ca)
    work = folder / "work"
    release(work, tree, folder)
    shutil.copy(pair.cert, work / "fullchain.pem")
    shutil.copy(pair.key, work / "privkey.pem")
    stand_ins = furnish(folder, cluster)
    provider = OpenIdProvider("")
    client = client_certificate(folder / "certs", "diga").der
    diga = ListedDiga("00101", "Tagebuch", "Tagebuch GmbH", "https://diga.example/callback", [], [client])
    registry = create_registry(RegistryState(digas=[diga]), "bfarm")
    async with serving(provider.app(), pair) as at, serving(registry, pair) as bfarm:
        provider.issuer = f"https://localhost:{at}"
        base = f"https://localhost:{bfarm}"
        environment = {
            **{name: value for name, value in os.environ.items() if not re.match("DDR_|PG|PYTHON|CI$", name)},
            "PATH": f"{stand_ins}:{folder}/usr/local/bin:{os.environ['PATH']}",
            "SSL_CERT_FILE": str(ca.cert),
            "CURL_CA_BUNDLE": str(ca.cert),
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "REGISTRY_TOKEN": "bfarm",
            "GATEWAY_TOKEN": provider.access_token("anna"),
            "ACCOUNT": str(provider.claims("anna")["sub"]),
            "DDR_DIGA_VZ_BASE": base + DIGA_PATH,
            "DDR_HIIS_VZ_BASE": base + HIIS_PATH,
            "DDR_ZTS_BASE": base + ZTS_PATH,
            **{
                f"DDR_{name}_PORT": ports[port]
                for name, port in zip(("DIGA", "PUBLIC", "GATEWAY", "ADMIN"), PORTS, strict=True)
            },
        }
        try:
            told = await followed(script(folder, cluster, ports, provider.issuer), work, environment, folder)
        finally:
            with suppress(OSError, ValueError):
                os.killpg(int((folder / "run/ddr.pid").read_text()), signal.SIGKILL)
    await judged(told, cluster, folder)


def release(work: Path, tree: Path, folder: Path) -> None:  # noqa: F811
    """The folder that an operator gets, and the makers' key beside it."""
    private, public = written(folder / "key", Ed25519PrivateKey.generate())
    work.mkdir()
    done = made(tree, work / "release", private, kept(folder / "evidence", commit=git(tree, "rev-parse", "HEAD")))
    assert done.returncode == 0, done.stderr
    shutil.copy(public, work / "makers.pem")
    asks = ("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-subj", "/CN=DiGA 00101", "-days", "30")
    files = ("-keyout", str(folder / "key/requester.key"), "-out", str(work / "requester.pem"))
    subprocess.run([*asks, *files], check=True, capture_output=True)


def script(folder: Path, cluster: Cluster, ports: dict[str, str], issuer: str) -> str:
    """The guide's commands for this host. What looks from outside may find faults of the stand-ins, not misuse."""
    parts = []
    for outside, commands in BLOCK.findall(GUIDE.read_text()):
        lines = [f"{line} || [ $? = 1 ]" for line in commands.splitlines()] if outside else [commands]
        parts += lines
    text = mapped("\n".join(parts), folder)
    for old, new in {
        "https://konto.example.org": issuer,
        "ddr.example.org": "localhost",
        "0.0.0.0": "127.0.0.1",
        "/var/run/postgresql": str(cluster.run_dir),
        **ports,
    }.items():
        text = text.replace(old, new)
    return text


async def followed(text: str, work: Path, environment: dict[str, str], folder: Path) -> str:
    """Standard output and error of one shell that runs it all."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-euxo", "pipefail", "-c", text),
        cwd=work,
        env=environment,
        umask=0o077,  # of a hardened machine
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(shell.communicate(), SECONDS)
    log = folder / "log"
    told = output.decode()
    assert shell.returncode == 0, told[-6000:] + (log.read_text()[-3000:] if log.exists() else "")
    return told


async def judged(told: str, cluster: Cluster, folder: Path) -> None:
    """What must have come of it."""
    assert "Signature Verified Successfully" in told and "ddr.cdx.json: OK" in told
    assert f"\n{folder}/var/lib/ddr/dossier/dossier.html\n" in told and (folder / "work/dossier/dossier.json").exists()
    assert "## Mandatory Interoperable Values" in told and "GlucoRecorder" in told
    assert "0 devices, 0 connected apps" in told and "1 apps disconnected" in told
    assert "each DiGA may continue once" in told and "the window for forgotten refresh tokens is closed" in told
    assert "signing keys and" in told and "are sealed by key_encryption_key alone" in told
    assert "the file is complete and unchanged" in told and "Release 1.1" in told
    assert (folder / "opt/ddr/bin/ddr").stat().st_mode & 0o777 == 0o755, "the recorder's account can run it"
    assert "\n503\n" in told and "Traceback" not in told + (folder / "log").read_text()
    connection = await asyncpg.connect(f"postgresql://postgres@/ddr?host={cluster.run_dir}")
    try:
        rights = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication FROM pg_roles WHERE rolname = 'ddr'"
        assert await connection.fetchval(rights) is False
        others = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'ddr'"
        assert await connection.fetchval(others) == 0
        assert await connection.fetchval("SELECT count(*) FROM patient") == 1
    finally:
        await connection.close()
