"""`ddr serve` as a child process: its settings file, its start, its end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx

from ddr.drafts import OWN, draft
from ddr.settings import Settings

START_SECONDS = 60
STOP_SECONDS = 40
LOOPBACK = "127.0.0.1"
MOST_KEPT = 200  # a process has few descriptors, and few recorders at a time
LISTENERS = ("diga_port", "public_port", "gateway_port", "admin_port")

_kept: deque[socket.socket] = deque()  # of free_ports


class RecorderError(Exception):
    """The recorder does not start; the message is its own error."""


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens. On Linux nobody else gets them as an arbitrary port, now or later.

    There, a socket that is bound but does not listen reserves its port against all who request an arbitrary one; a
    process that requests this port with SO_REUSEADDR, as servers do, may listen on it.
    """
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, 0))
        except OSError as error:  # an IPv6-only machine
            raise OSError(error.errno, error.strerror, LOOPBACK) from None
    ports = [one.getsockname()[1] for one in sockets]
    _kept.extend(sockets)
    while len(_kept) > (MOST_KEPT if sys.platform == "linux" else 0):
        _kept.popleft().close()
    return ports


def write_settings(file: Path, settings: Settings) -> None:
    """`settings` as a TOML file for DDR_SETTINGS; only those that differ from the defaults."""
    plain = [field.name for field in fields(Settings) if field.name != "miv"]
    changed = {name: getattr(settings, name) for name in plain if getattr(settings, name) != getattr(Settings(), name)}
    lines = [f"{name} = {_toml(value)}" for name, value in changed.items()]
    for name, terms in settings.miv.items():
        lines += [f'[miv."{name}"]', *(f"{key} = {value}" for key, value in vars(terms).items())]
    with draft(file, OWN) as out:  # there may be secrets among them
        out.write(("\n".join(lines) + "\n").encode())


def _toml(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)


SERVE = ("ddr.cli.main", "serve")
SANDBOX = ("ddr.cli.serving.sandbox",)  # the same with faults on demand


@asynccontextmanager
async def serving(settings: Settings, file: Path, log: Path, command: Sequence[str] = SERVE) -> AsyncIterator[None]:
    """Run the recorder with `settings`, stored in `file`, while the context lasts. Raises RecorderError."""
    write_settings(file, settings)
    environment = {**_inherited(os.environ), "DDR_SETTINGS": str(file)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await _ready(process, f"http://127.0.0.1:{settings.admin_port}/readyz", log)
        yield
    finally:
        await _stop(process)


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings: the demonstration's come from its file alone."""
    return {name: value for name, value in environ.items() if not name.startswith("DDR_")}


async def _ready(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
        for _ in range(START_SECONDS * 20):
            if process.returncode is not None:
                raise RecorderError(_last_line(log) or f"ended with status {process.returncode}")
            try:
                answer = await http.get(url)
                if answer.status_code == httpx.codes.OK and all(answer.json()["checks"].values()):
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise RecorderError(f"not ready after {START_SECONDS} s; see {log}")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ddr: ") if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
