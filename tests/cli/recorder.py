"""A recorder as its own process group: `ddr serve` on free ports, with a state directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson

from ddr.demo.certs import authority, server_certificate
from ddr.demo.recorder import free_ports
from tests.support.processes import alive, children, send

LISTENERS = ("diga", "public", "gateway", "admin")
START_SECONDS = STOP_SECONDS = COMMAND_SECONDS = 180  # on a slow and busy machine; only what hangs takes longer


def ddr(*arguments: str, settings: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(settings), capture_output=True, text=True, timeout=COMMAND_SECONDS
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ddr.cli.main", *arguments]


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Ours without DDR_* variables, and these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DDR_")}
    return inherited | {f"DDR_{name.upper()}": str(value) for name, value in settings.items()}


def settings_for(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings of a recorder whose files are all in `folder`; its registries do not answer."""
    identity = server_certificate(folder, authority(folder))
    ports = {f"{name}_port": port for name, port in zip(LISTENERS, free_ports(4), strict=True)}
    return {
        "state_dir": folder,
        "embedded": True,
        "server_cert": identity.cert,
        "server_key": identity.key,
        "allow_builtin_accounts": True,
        "diga_vz_base": "http://127.0.0.1:9/",
        "zts_base": "http://127.0.0.1:9/",
        **ports,
        **more,
    }


class Recorder:
    """A running `ddr serve`. `healthy`: wait until it answers. `checkout`: where its code is, if not here."""

    def __init__(self, settings: Mapping[str, Any], healthy: bool = True, checkout: Path | None = None) -> None:
        self.settings, self.checkout = settings, checkout
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - as long as this object
        self._start(healthy)

    def _start(self, healthy: bool = True) -> None:
        self.process = subprocess.Popen(
            command("serve"),
            cwd=self.checkout,  # which python -m looks into first
            env=environment(self.settings),
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )
        if healthy:
            self.wait()

    def kill(self) -> None:
        """kill -9 all of its processes, and start it again when all are gone: workers end by themselves without it."""
        workers = self.workers()
        for process in (self.process.pid, *workers):
            send(process)
        self.process.wait()
        until = time.monotonic() + START_SECONDS
        while any(alive(worker) for worker in workers):
            assert time.monotonic() < until
            time.sleep(0.02)
        self._start()

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.admin("/healthz")
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(self.stop()[1])

    def admin(self, path: str) -> httpx.Response:
        """GET on the admin listener, on a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.settings['admin_port']}{path}", timeout=5, trust_env=False)

    def figures(self) -> dict[str, float]:
        """What `/metrics` says."""
        samples = [line.rpartition(" ") for line in self.admin("/metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in samples}

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return children(self.process.pid)

    def log(self) -> str:
        """What it has logged so far."""
        self._log.flush()
        return os.pread(self._log.fileno(), 2**24, 0).decode()

    def events(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [orjson.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def stop(self) -> tuple[int, str]:
        """SIGTERM; returns exit status and log."""
        self.process.terminate()
        self.process.wait(timeout=STOP_SECONDS)
        return self.process.returncode, self.log()
