"""A client's TLS connection through memory: requests one by one, and sessions that later connections resume."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import SplitResult

Answer = tuple[int, bytes]
"""Status and body."""


class Line:
    """One connection; everything on it is awaited one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject

    @classmethod
    async def open(cls, place: SplitResult, tls: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Line:
        """Connect; with a `session` the handshake is a short one."""
        line = cls(*await asyncio.open_connection(place.hostname, place.port))
        line._tls = tls.wrap_bio(line._from, line._to, server_hostname=place.hostname, session=session)
        while True:
            try:
                line._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await line._exchange()
        line._writer.write(line._to.read())  # the server waits for the end of the handshake, and not for long
        return line

    @property
    def session(self) -> ssl.SSLSession | None:
        """For a later connection; there is one after the first answer."""
        return self._tls.session

    @property
    def resumed(self) -> bool:
        """Whether the handshake was a short one."""
        return bool(self._tls.session_reused)

    async def ask(self, method: str, target: str, host: str, fields: dict[str, str], body: bytes = b"") -> Answer:
        """One request."""
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *(f"{name}: {one}" for name, one in fields.items())]
        lines += [f"content-length: {len(body)}"] if body else []
        return await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def send(self, request: bytes) -> Answer:
        """One request as it goes over the line."""
        self._tls.write(request)
        self._writer.write(self._to.read())
        found = b""
        while (end := found.find(b"\r\n\r\n")) < 0:
            found += await self._read()
        head = found[:end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) if b"content-length:" in head else 0
        parts, missing = [found[end + 4 :]], length - (len(found) - end - 4)
        while missing > 0:
            parts.append(await self._read())
            missing -= len(parts[-1])
        return int(head[9:12]), b"".join(parts)

    def close(self) -> None:
        """At once, without goodbye."""
        self._writer.transport.abort()

    async def _read(self) -> bytes:
        while True:
            try:
                if found := self._tls.read(262_144):
                    return found
                raise EOFError
            except ssl.SSLWantReadError:
                await self._exchange()

    async def _exchange(self) -> None:
        self._writer.write(self._to.read())
        if not (received := await self._reader.read(262_144)):
            raise EOFError
        self._from.write(received)
