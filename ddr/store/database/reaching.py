"""Connects to a server by its name: each address gets a share of the time, and one that failed is tried last.

The event loop alone waits for a silent address as long as the kernel does, two minutes, and never tries the next one.
While DNS does not answer, or answers too slowly, the last known addresses are used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from contextvars import Context
from typing import Any

HOST_SECONDS = 2.0  # for one server to accept a connection, as libpq's connect_timeout counts per host
FIRST_SECONDS = 10.0  # to look up a name for the first time: a name server may be down, and another one asked after 5 s
LOOK_UP_SECONDS = 0.5  # to look up a name whose former addresses are known
TEMPORARY = (socket.EAI_AGAIN, socket.EAI_FAIL)  # other errors mean that the name is gone; it may have been fenced

Name = tuple[str, int]
Found = tuple[Any, ...]  # by getaddrinfo: family, type, protocol, canonical name, address


class Names:
    """The addresses of the servers' names, as they were looked up last; `failed`: those that gave no connection."""

    def __init__(self) -> None:
        self.failed: set[Any] = set()
        self._known: dict[Name, list[Found]] = {}
        self._asked: dict[Name, asyncio.Task[list[Found] | Exception]] = {}

    async def learn(self, host: str, port: int) -> None:
        """Look up a name for the first time, which may take longer than connecting may. Raises OSError."""
        if (host, port) in self._known or host.startswith("/") or _is_address(host):
            return
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                await self._addresses((host, port))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution") from None

    async def reach(self, host: str, port: int, first: Any) -> tuple[socket.socket, Any]:
        """A connected socket, and its address: `first`, if it can be. Raises OSError of the last address tried."""
        found = await self._addresses((host, port))
        found = sorted(found, key=lambda one: (one[4] != first, one[4] in self.failed))
        share, error = HOST_SECONDS / (len(found) + 1), OSError("no address")
        for left, one in zip(reversed(range(len(found))), found, strict=True):
            try:
                wire = await _connected(one, share if left else None)
            except OSError as failed:  # TimeoutError, too
                error = failed
                self.failed.add(one[4])
            else:
                self.failed.discard(one[4])
                return wire, one[4]
        raise error

    async def _addresses(self, name: Name) -> list[Found]:
        """Raises OSError, UnicodeError. A lookup goes on when its caller gives up, and serves the next one."""
        if (asked := self._asked.get(name)) is None:
            loop = asyncio.get_running_loop()
            asked = self._asked[name] = loop.create_task(self._look_up(name), context=Context())
        known = self._known.get(name)
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS if known else None):
                found = await asyncio.shield(asked)
        except TimeoutError as late:
            found = late
        if not isinstance(found, Exception):
            return found
        if known and (isinstance(found, TimeoutError) or getattr(found, "errno", None) in TEMPORARY):
            return known
        raise found

    async def _look_up(self, name: Name) -> list[Found] | Exception:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(*name, type=socket.SOCK_STREAM)
            self._known[name] = found
            return found
        except (OSError, UnicodeError) as error:
            return error
        finally:
            del self._asked[name]


class NamesLoop:
    """The running event loop for one connection of asyncpg, except that `Names` connects to names.

    As a context: a connection that cannot be used after all counts as a failure of its address.
    """

    def __init__(self, names: Names) -> None:
        self._names, self._loop = names, asyncio.get_running_loop()
        self._at: Any = None  # the address; a request to cancel a statement must go there, too

    def __enter__(self) -> NamesLoop:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._at is not None:
            self._names.failed.add(self._at)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._loop, name)
        setattr(self, name, found)  # asyncpg asks for `call_later` with each statement
        return found

    async def create_connection(self, protocol: Callable[[], Any], host: str, port: int, **options: Any) -> Any:
        """As the loop's."""
        if _is_address(host):
            return await self._loop.create_connection(protocol, host, port, **options)
        wire, self._at = await self._names.reach(host, port, self._at)
        if options.get("ssl"):
            options["server_hostname"] = host
        return await self._loop.create_connection(protocol, sock=wire, **options)


async def _connected(found: Found, seconds: float | None) -> socket.socket:
    family, kind, protocol, _, address = found
    wire = socket.socket(family, kind, protocol)
    try:
        wire.setblocking(False)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(wire, address)
    except BaseException:
        wire.close()
        raise
    return wire


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
