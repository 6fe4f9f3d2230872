"""Real TLS on loopback: a recorder-like listener that answers with the certificate it saw, and clients for it."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ddr.cli.serving.server import server_for
from ddr.demo.certs import Pair
from ddr.http.asgi import Receive, Reply, Scope, Send, send_reply
from ddr.tls.context import LiveContext, public_context, with_clients
from ddr.tls.peer import client_certificate


async def echo_certificate(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the sha256 of the client certificate."""
    der = client_certificate(scope)
    await send_reply(scope, send, Reply(200, hashlib.sha256(der).hexdigest().encode() if der else b"none"))


@asynccontextmanager
async def listening(live: LiveContext) -> AsyncIterator[int]:
    """Serve `echo_certificate` with `live` during the block; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = server_for(echo_certificate, live.outer)
        task = asyncio.create_task(serving.serve([listener]))
        while not serving.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
        serving.should_exit = True
        await task


def diga_context(identity: Pair, *registered: bytes) -> ssl.SSLContext:
    """The DiGA listener's context for these registered certificates (DER)."""
    return with_clients(public_context(identity.cert, identity.key), ssl.CERT_REQUIRED, registered)


def gateway_context(identity: Pair, *registered: bytes) -> ssl.SSLContext:
    """The gateway listener's context for these registered certificates (DER)."""
    return with_clients(public_context(identity.cert, identity.key), ssl.CERT_OPTIONAL, registered)


def live_context(identity: Pair, *registered: Pair) -> LiveContext:
    """The DiGA listener's context for these registered certificates, to be exchanged."""
    return LiveContext(diga_context(identity, *(pair.der for pair in registered)))


def client_context(ca: Path, pair: Pair | None = None) -> ssl.SSLContext:
    """A client that trusts `ca` and presents `pair`."""
    context = ssl.create_default_context(cafile=ca)
    if pair:
        context.load_cert_chain(pair.cert, pair.key)
    return context


class Connection:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext) -> Connection:
        """Connect; with TLS 1.3 a refusal shows at the first read only."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost"))

    async def ask(self, headers: Sequence[str] = ()) -> str:
        """The body of the answer to GET /. Raises OSError or IncompleteReadError when the connection is refused."""
        lines = ["GET / HTTP/1.1", "host: localhost", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return (await self.reader.readexactly(int(length.split(b":")[1]))).decode()

    def close(self) -> None:
        self.writer.close()


async def ask(port: int, context: ssl.SSLContext) -> str:
    """One request on a connection of its own."""
    connection = await Connection.open(port, context)
    try:
        return await connection.ask()
    finally:
        connection.close()
