"""The TLS profile as seen by a process started with it, against what a client may offer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddr.demo.certs import Pair, authority, client_certificate, server_certificate
from ddr.tls import bsi

SERVER = """
import asyncio, sys
from pathlib import Path
from ddr.demo.certs import Pair
from tests.tls.support import listening, live_context
cert, key, registered = map(Path, sys.argv[1:])
async def main():
    async with listening(live_context(Pair(cert, key), Pair(registered, registered))) as port:
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


class Scanned:
    """A server with the profile, probed with `openssl s_client`."""

    def __init__(self, port: int, ca: Pair, client: Pair) -> None:
        self.port, self.ca, self.client = port, ca, client

    def accepts(self, *offer: str) -> bool:
        command: list[str | Path] = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-quiet"]
        command += ["-CAfile", self.ca.cert, "-cert", self.client.cert, "-key", self.client.key, *offer]
        done = subprocess.run(
            command, input=b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", capture_output=True
        )
        return b"HTTP/1.1 200" in done.stdout


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanned]:
    folder = tmp_path_factory.mktemp("bsi")
    ca = authority(folder)
    identity, client = server_certificate(folder, ca), client_certificate(folder, "client")
    command: list[str | Path] = [sys.executable, "-c", SERVER, identity.cert, identity.key, client.cert]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **bsi.environment(folder)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Scanned(int(process.stdout.readline()), ca, client)
        process.communicate()


@pytest.mark.parametrize("suite", bsi.TLS13_SUITES)
def test_tls_1_3_suites(scanned: Scanned, suite: str) -> None:
    assert scanned.accepts("-tls1_3", "-ciphersuites", suite)


@pytest.mark.parametrize("suite", [suite for suite in bsi.TLS12_SUITES if "ECDSA" in suite])
def test_tls_1_2_suites(scanned: Scanned, suite: str) -> None:
    assert scanned.accepts("-tls1_2", "-cipher", suite)


@pytest.mark.parametrize("group", ["P-256", "P-384", "P-521"])
def test_the_groups_of_the_profile_are_accepted(scanned: Scanned, group: str) -> None:
    assert scanned.accepts("-tls1_3", "-groups", group)


@pytest.mark.parametrize(
    "offer",
    [
        ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"),
        ("-tls1_3", "-groups", "X25519"),
        ("-tls1_2", "-groups", "X448"),
        ("-tls1_3", "-sigalgs", "ed25519"),
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
    ],
)
def test_nothing_beyond_the_profile_is_accepted(scanned: Scanned, offer: tuple[str, ...]) -> None:
    assert not scanned.accepts(*offer)
