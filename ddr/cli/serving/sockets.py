"""The listening sockets: bound once by the supervisor and inherited by every worker, so that any live worker
accepts."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from ddr.cli.errors import CommandError
from ddr.settings import Settings

BACKLOG = 1024

Sockets = Mapping[str, socket.socket]


def addresses(settings: Settings) -> dict[str, tuple[str, int]]:
    """Host and port by listener. The admin listener is always local."""
    return {
        "diga": (settings.host, settings.diga_port),
        "public": (settings.host, settings.public_port),
        "gateway": (settings.host, settings.gateway_port),
        "admin": ("127.0.0.1", settings.admin_port),
    }


def bind(settings: Settings) -> Sockets:
    """One socket per listener, for all workers. Raises CommandError when an address is taken.

    All workers wait on the same queue of connections (not on one queue each, as with SO_REUSEPORT): a worker that is
    dead, stuck or leaving takes none, and none waits behind it.
    """
    sockets = {}
    for name, address in addresses(settings).items():
        try:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            sockets[name] = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            # The error number may not be the system's, as for an unknown host name.
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]
            raise CommandError(f"{name} listener: cannot bind {address[0]}:{address[1]}: {reason}") from None
    return sockets


def to_argument(sockets: Sockets) -> str:
    """The argument that tells a worker which inherited descriptor is which listener."""
    return ",".join(f"{name}={one.fileno()}" for name, one in sockets.items())


def from_argument(text: str) -> Sockets:
    """The sockets that the supervisor passed to this process."""
    pairs = (item.split("=") for item in text.split(","))
    return {name: socket.socket(fileno=int(descriptor)) for name, descriptor in pairs}
