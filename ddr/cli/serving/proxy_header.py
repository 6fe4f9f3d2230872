"""The PROXY protocol, version 2: a proxy that forwards TCP names its client (HAProxy, proxy-protocol.txt 2.2).

The header comes before everything else, also before TLS. No byte after it is read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED = len(SIGNATURE) + 4  # then the command, the family, and the length of what follows
LONGEST = 2048  # of the rest: addresses and additions (TLVs), which are ignored
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, TCP6 = 0x00, 0x11, 0x21
_BYTES = {TCP4: 4, TCP6: 16}  # of an address

Source = tuple[str, int]
"""Address and port of a client."""


class NoHeader(Exception):
    """The proxy's first bytes are not such a header, or one of an unknown kind."""


async def read_source(own: socket.socket) -> Source | None:
    """The client for which the peer of this non-blocking socket connects; None when it connects for itself.

    Raises NoHeader, OSError.
    """
    loop = asyncio.get_running_loop()

    async def exactly(count: int) -> bytes:
        found = b""
        while len(found) < count:
            if not (more := await loop.sock_recv(own, count - len(found))):
                raise NoHeader
            found += more
        return found

    return await source_of(exactly)


async def source_of(exactly: Callable[[int], Awaitable[bytes]]) -> Source | None:
    """The client; `exactly` returns a given number of bytes. Raises NoHeader."""
    signature, command, family, length = struct.unpack("!12sBBH", await exactly(FIXED))
    if signature != SIGNATURE or command not in (LOCAL, PROXY) or length > LONGEST:
        raise NoHeader
    rest = await exactly(length)
    if command == LOCAL or family == UNSPECIFIED:  # a health check; any addresses mean nothing
        return None
    size = _BYTES.get(family)
    if size is None or length < 2 * size + 4:
        raise NoHeader
    (port,) = struct.unpack_from("!H", rest, 2 * size)
    return str(ip_address(rest[:size])), port
