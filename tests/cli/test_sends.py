"""A response is sent in one write: one TLS record and one system call, head and body together."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.demo.certs import authority, server_certificate
from ddr.http.asgi import Receive, Reply, Scope, Send, send_reply
from ddr.http.core import Core
from tests.cli.test_listeners import started
from tests.tls.support import client_context

APPLICATION_DATA = 23  # of the types of TLS records, which have 16,384 bytes at most (RFC 8446 section 5.1)
BODY, LARGE = b"x" * 2_000, b"x" * 39_999 + b"."


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    match scope["path"]:
        case "/large":
            await send_reply(scope, send, Reply(200, LARGE))
        case "/nothing":
            await send_reply(scope, send, Reply(304))
        case "/parts":  # without a length, which makes it chunked
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": BODY, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        case "/cut":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            raise ZeroDivisionError
        case _:
            await send_reply(scope, send, Reply(200, BODY))


class Client:
    """Speaks TLS through memory, so that the records on the wire can be counted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self._reader, self._writer = reader, writer
        self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from, self._to, server_hostname="localhost")

    async def shake_hands(self) -> None:
        """Until the connection is secured."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._writer.write(self._to.read())
                self._from.write(await self._reader.read(65_536))
        self._writer.write(self._to.read())

    async def ask(self, path: str, method: str = "GET", end: bytes = b"") -> tuple[bytes, int]:
        """The plain answer, which ends with `end`, and the number of records that it came in."""
        self._tls.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        self._writer.write(self._to.read())
        plain, records = b"", 0
        while not plain.endswith(end or b"\r\n\r\n"):
            head = await self._reader.readexactly(5)
            body = await self._reader.readexactly(int.from_bytes(head[3:], "big"))
            self._from.write(head + body)
            try:
                found = self._tls.read(65_536)
            except ssl.SSLWantReadError:  # a session ticket
                continue
            if not found:
                break
            plain += found
            records += head[0] == APPLICATION_DATA
        return plain, records

    def close(self) -> None:
        """At once."""
        self._writer.transport.abort()


@pytest.mark.parametrize(
    ("method", "path", "end", "records"),
    [
        ("GET", "/", BODY, 1),
        ("HEAD", "/", b"", 1),
        ("GET", "/nothing", b"", 1),
        ("GET", "/large", b".", 3),
        ("GET", "/parts", b"0\r\n\r\n", 2),
    ],
)
async def test_records_of_an_answer(
    core: Core, tmp_path: Path, method: str, path: str, end: bytes, records: int
) -> None:
    identity = server_certificate(tmp_path, authority(tmp_path))
    core = replace(core, settings=replace(core.settings, server_cert=identity.cert, server_key=identity.key))
    listeners, ports = await started(core, {"public": app})
    client = await _client(ports["public"], tmp_path)
    for _ in range(2):  # the connection is kept
        plain, found = await client.ask(path, method, end)
        assert plain.startswith(b"HTTP/1.1 ")
        assert found == records
    client.close()
    await listeners.stop()


async def test_the_head_of_an_answer_that_is_cut_off_is_sent(core: Core, tmp_path: Path) -> None:
    identity = server_certificate(tmp_path, authority(tmp_path))
    core = replace(core, settings=replace(core.settings, server_cert=identity.cert, server_key=identity.key))
    listeners, ports = await started(core, {"public": app})
    client = await _client(ports["public"], tmp_path)
    plain, _ = await client.ask("/cut")
    assert plain.startswith(b"HTTP/1.1 200 ")
    client.close()
    await listeners.stop()


async def _client(port: int, folder: Path) -> Client:
    client = Client(*await asyncio.open_connection("127.0.0.1", port), client_context(folder / "authority.pem"))
    await client.shake_hands()
    return client
