"""The listening sockets: bound once by the supervisor, one per listener and worker, kept while workers come and go."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from ddr.cli.errors import CommandError
from ddr.settings import Settings

BACKLOG = 1024
VARIABLE = "DDR_LISTEN_FDS"

Sockets = dict[str, socket.socket]


def addresses(settings: Settings) -> dict[str, tuple[str, int]]:
    """Host and port by listener. The admin listener never leaves the machine."""
    return {
        "diga": (settings.host, settings.diga_port),
        "public": (settings.host, settings.public_port),
        "gateway": (settings.host, settings.gateway_port),
        "admin": ("127.0.0.1", settings.admin_port),
    }


def bind(settings: Settings) -> list[Sockets]:
    """The sockets of each worker. The kernel shares connections out among those of one address (SO_REUSEPORT).

    A socket outlives the crash of its worker: who connects meanwhile waits in its queue. Raises CommandError when an
    address is taken.
    """
    workers: list[Sockets] = [{} for _ in range(settings.workers)]
    for name, address in addresses(settings).items():
        try:
            _listen(address, shared=False).close()  # fails if another recorder has it
            for sockets in workers:
                sockets[name] = _listen(address, shared=settings.workers > 1)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CommandError(f"{name} listener: cannot bind {address[0]}:{address[1]}: {reason}") from None
    return workers


def _listen(address: tuple[str, int], shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=BACKLOG, reuse_port=shared)


def to_environment(sockets: Sockets) -> dict[str, str]:
    """How a worker learns which inherited descriptor is which listener."""
    return {VARIABLE: ",".join(f"{name}={one.fileno()}" for name, one in sockets.items())}


def from_environment(environ: Mapping[str, str] = os.environ) -> Sockets:
    """The sockets that the supervisor passed to this process."""
    pairs = (item.split("=") for item in environ[VARIABLE].split(","))
    return {name: socket.socket(fileno=int(descriptor)) for name, descriptor in pairs}
