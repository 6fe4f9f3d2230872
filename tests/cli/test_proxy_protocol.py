"""The PROXY protocol: a configured proxy must name its client before TLS; nobody else may."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.cli.serving.crowd import Crowd
from ddr.cli.serving.proxy_header import FIXED, LONGEST, NoHeader, source_of
from ddr.cli.serving.server import Server, server_for
from ddr.demo.certs import authority, server_certificate
from ddr.http.address import client_address, networks
from ddr.http.asgi import Receive, Reply, Scope, Send, send_reply
from ddr.settings import SettingsError
from ddr.settings_sources import load_settings
from ddr.tls.context import public_context
from tests.support.proxying import SIGNATURE, ask, header
from tests.tls.support import client_context

HERE, ELSEWHERE = "127.0.0.1 ::1", "10.9.9.9"
MOST = 8


@dataclass
class Listener:
    """A TLS listener that says whose request it got."""

    port: int
    trusting: ssl.SSLContext
    server: Server
    troubles: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    async def ask(self, first: bytes = b"") -> str:
        """Who it thinks is asking. Raises OSError."""
        return (await asyncio.to_thread(ask, self.port, self.trusting, first))[1]

    async def refuses(self, first: bytes) -> bool:
        """No answer comes, and no request is seen."""
        seen = len(self.clients)
        with suppress(OSError):
            await self.ask(first)
            return False
        return len(self.clients) == seen


@asynccontextmanager
async def listening(folder: Path, proxies: str) -> AsyncIterator[Listener]:
    identity = server_certificate(folder, authority(folder))
    own = socket.create_server(("127.0.0.1", 0))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.clients.append(client_address(scope))
        await send_reply(scope, send, Reply(200, client_address(scope).encode()))

    def trouble(kind: str, *_: object) -> None:
        found.troubles.append(kind)

    context = public_context(identity.cert, identity.key)
    server = server_for(app, context, trouble=trouble, proxies=networks(proxies))
    found = Listener(own.getsockname()[1], client_context(folder / "authority.pem"), server)
    serving = asyncio.create_task(server.serve([own]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield found
    server.should_exit = True
    await serving


@pytest.fixture
async def listener(tmp_path: Path) -> AsyncIterator[Listener]:
    """One whose proxy is this machine."""
    async with listening(tmp_path, HERE) as found:
        yield found


async def test_the_proxy_names_the_client(listener: Listener) -> None:
    addition = b"\x02\x00\x05h.org"  # the name that the client asked for
    for first, client in (
        (header("203.0.113.9"), "203.0.113.9"),
        (header("2001:db8::7"), "2001:db8::7"),
        (header("203.0.113.9", more=addition), "203.0.113.9"),
        (header("2001:db8::7", more=bytes(LONGEST - 36)), "2001:db8::7"),
        (header("203.0.113.9", command=0x20), "127.0.0.1"),  # a look of the proxy's own
        (SIGNATURE + b"\x20\x00\x00\x00", "127.0.0.1"),
        (SIGNATURE + b"\x21\x00\x00\x00", "127.0.0.1"),  # it does not know either
    ):
        assert await listener.ask(first) == client
    assert listener.troubles == []


BROKEN = {
    "missing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "version 1": b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 8443\r\n",
    "signature": header("203.0.113.9").replace(b"QUIT", b"QUIK"),
    "version 3": header("203.0.113.9", command=0x31),
    "command": header("203.0.113.9", command=0x22),
    "udp": header("203.0.113.9", family=0x12),
    "unix": header("203.0.113.9", family=0x31, more=bytes(216)),
    "family": header("203.0.113.9", family=0x21),
    "short": header("203.0.113.9", cut=1),
    "too long": SIGNATURE + struct.pack("!BBH", 0x21, 0x11, LONGEST + 1) + bytes(LONGEST + 1),
}


async def test_a_proxy_that_does_not_say_so_is_cut_off(listener: Listener) -> None:
    for name, first in BROKEN.items():
        listener.troubles.clear()
        assert await listener.refuses(first), name
        assert listener.troubles == ["proxy-header"], name
    with socket.create_connection(("127.0.0.1", listener.port)) as cut:
        cut.sendall(header("203.0.113.9")[:-1])
    async with asyncio.timeout(60):
        while len(listener.troubles) < 2 or len(listener.server.crowd):  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)
    assert await listener.ask(header("203.0.113.9")) == "203.0.113.9"


async def test_a_header_in_pieces_is_waited_for_but_not_for_ever(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)) as plain:
        for byte in header("203.0.113.9"):
            plain.sendall(bytes([byte]))
            await asyncio.sleep(0)

        def rest() -> bytes:
            with listener.trusting.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(4096), b""))

        assert (await asyncio.to_thread(rest)).endswith(b"203.0.113.9")
    monkeypatch.setattr("ddr.cli.serving.acceptor.HANDSHAKE_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", listener.port)) as silent:
        silent.settimeout(20)
        assert await asyncio.to_thread(silent.recv, 1) == b""
    assert listener.troubles == ["proxy-header"]


async def test_nobody_else_names_a_client(tmp_path: Path) -> None:
    async with listening(tmp_path, ELSEWHERE) as listener:
        assert await listener.refuses(header("203.0.113.9"))
        assert await listener.ask() == "127.0.0.1"
        assert "proxy-header" not in listener.troubles


async def test_where_there_are_too_many_each_client_counts_alone(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens many makes room for others, and nobody else behind the same proxy has to."""
    monkeypatch.setattr(Crowd, "most", MOST)
    slow = socket.create_connection(("127.0.0.1", listener.port))
    slow.sendall(header("203.0.113.1"))
    crowd = listener.server.crowd
    async with asyncio.timeout(60):
        while not crowd._of.get("203.0.113.1"):  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.01)
    flood = []
    for _ in range(3 * MOST):
        flood.append(socket.create_connection(("127.0.0.1", listener.port)))
        flood[-1].sendall(header("203.0.113.2"))
        assert await listener.ask(header("203.0.113.3")) == "203.0.113.3"
    assert crowd.sent_away >= MOST and len(crowd) <= MOST
    with listener.trusting.wrap_socket(slow, server_hostname="localhost", do_handshake_on_connect=False) as late:
        await asyncio.to_thread(late.do_handshake)
    for one in flood:
        one.close()


@given(st.binary(max_size=80) | st.builds(lambda rest: SIGNATURE + rest, st.binary(max_size=80)))
def test_no_bytes_break_the_reading(content: bytes) -> None:
    left = [content]

    async def exactly(count: int) -> bytes:
        taken, left[0] = left[0][:count], left[0][count:]
        if len(taken) < count:
            raise NoHeader
        return taken

    with suppress(NoHeader):
        source = asyncio.run(source_of(exactly))
        assert content.startswith(SIGNATURE) and len(content) >= FIXED
        assert source is None or networks(source[0])


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(SettingsError, match="proxy_protocol_from"):
        load_settings({}, allow_builtin_accounts=True, proxy_protocol_from="proxy")
