"""`ddr demo` as a DiGA's sandbox: a running demonstration, and a DiGA's backend that knows demo.json alone."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from ddr.demo.browser_user import BrowserUser
from ddr.demo.certs import Pair
from ddr.demo.diga_client import DigaClient, Tokens
from ddr.demo.tls import client_context

SECONDS = 180
SCOPE = "patient/Observation.rs?code:in="


def free_row(count: int = 5) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    for base in random.sample(range(23_000, 29_000, 10), 600):  # somebody else may look for some, too
        try:
            for port in range(base, base + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


def environment() -> dict[str, str]:
    """Ours, without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DDR_")}


@contextmanager
def running(state: Path, *arguments: str) -> Iterator[dict[str, Any]]:
    """A demonstration that serves during the block; yields its demo.json."""
    command = (sys.executable, "-m", "ddr.cli.main", "demo", "--state-dir", str(state), *arguments)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as one:
        assert one.stdout is not None
        lines = []
        for line in one.stdout:
            lines.append(line)
            if "Ctrl-C ends it" in line:
                break
        else:
            raise AssertionError("".join(lines))
        try:
            yield {**json.loads((state / "demo.json").read_text()), "output": "".join(lines)}
        finally:
            one.send_signal(signal.SIGTERM)
            one.stdout.read()
            assert one.wait(SECONDS) == 0


def command(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another command of `ddr` beside it."""
    line = (sys.executable, "-m", "ddr.cli.main", *arguments, "--state-dir", str(state))
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=environment())


@asynccontextmanager
async def backend(
    described: dict[str, Any], diga: dict[str, Any], key: Path | None = None
) -> AsyncIterator[DigaClient]:
    """The backend of a DiGA of demo.json; `key` where that file does not have it."""
    pair = Pair(Path(diga["cert"]), key or Path(diga["key"]))
    context = client_context(Path(described["ca"]), pair)
    async with httpx.AsyncClient(verify=context, timeout=60, trust_env=False) as http:
        yield DigaClient(
            http, diga["client_id"], diga["redirect_uri"], described["oauth_issuer"], described["fhir_base"]
        )


async def paired(described: dict[str, Any], diga: dict[str, Any], client: DigaClient, patient: int = 0) -> Tokens:
    """Pair with a patient for all MIVs of the DiGA."""
    scopes = [*(SCOPE + url for url in diga["mivs"]), "patient/Device.rs", "patient/DeviceMetric.rs"]
    request = await client.push_request(tuple(scopes))
    async with httpx.AsyncClient(verify=client_context(Path(described["ca"])), timeout=60, trust_env=False) as http:
        account = described["patients"][patient]
        user = BrowserUser(http, account["username"], account["password"])
        return await client.redeem(request, await user.decide(request.url, diga["redirect_uri"], scopes))
