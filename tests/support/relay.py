"""A connection to PostgreSQL that a test can cut: after a commit was carried out, so that its result is never
received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from ddr.store.database.dsn import hosts


class Relay:
    """Forwards bytes until the transaction in which `marked` bytes were sent has been committed; then it is cut."""

    def __init__(self, url: str) -> None:
        self._server, self._parts = hosts(url)[0], urlsplit(url)
        self.url = ""
        self.marked: bytes | None = None
        self.is_cut = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Relay]:
        """Listen on a free port, which is in `url` from then on."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        account, port = self._parts.netloc.rpartition("@")[0], server.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"{account}@127.0.0.1:{port}", query="").geturl()
        try:
            yield self
        finally:
            self._cut()
            server.close()

    def mend(self) -> None:
        """Let connections through again."""
        self.marked = None
        self.is_cut.clear()

    def _cut(self) -> None:
        self.is_cut.set()
        for writer in self._open:
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut.is_set():
            writer.close()
            return
        host, port = self._server[0], self._server[1] or 5432
        if host.startswith("/"):
            up_reader, up_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        self._open |= {writer, up_writer}
        answers = asyncio.create_task(_pass_on(up_reader, writer))
        marked = False
        with suppress(OSError):
            while piece := await reader.read(65_536):
                marked |= self.marked is not None and self.marked in piece
                if marked and b"COMMIT" in piece:
                    answers.cancel()
                    await asyncio.wait([answers])
                    up_writer.write(piece)
                    assert b"COMMIT" in await up_reader.read(65_536)
                    self._cut()
                    break
                up_writer.write(piece)
                await up_writer.drain()
        answers.cancel()
        self._open -= {writer, up_writer}
        up_writer.close()
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()
