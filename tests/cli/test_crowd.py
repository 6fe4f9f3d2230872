"""Too many connections, and clients that neither send nor read: which of them must leave, while the rest is served."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from ddr.cli.serving.crowd import Crowd, Guest
from ddr.cli.serving.server import server_for
from ddr.demo.certs import authority, server_certificate
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.body import BodyError, read_body
from ddr.tls.context import public_context
from tests.tls.support import ask, client_context

MOST = 8
UNFINISHED = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\na"
LARGE = 32 * 1024 * 1024
LEFT_SECONDS = 20


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body; /large is more than sockets hold, /deaf is answered without reading."""
    if scope["path"] == "/large":
        await send_reply(scope, send, Reply(200, bytes(LARGE)))
        return
    if scope["path"] != "/deaf":
        with suppress(BodyError):
            await read_body(scope, receive, 10_000)
    await send_reply(scope, send, Reply(200, b"served"))


class Listener:
    """One TLS listener with room for few connections."""

    def __init__(self, folder: Path, app: ASGIApp) -> None:
        identity = server_certificate(folder, authority(folder))
        self.server = server_for(app, public_context(identity.cert, identity.key))
        self.trusting = client_context(folder / "authority.pem")
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.serving = asyncio.create_task(self.server.serve([listening]))

    async def connect(self, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which this was sent."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trusting, server_hostname="localhost"
        )
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def served(self) -> bool:
        """A new client is served."""
        async with asyncio.timeout(10):
            return await ask(self.port, self.trusting) == "served"

    async def empty(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(LEFT_SECONDS):
            while len(self.server.crowd):  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.02)


@pytest.fixture
async def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    monkeypatch.setattr(Crowd, "most", MOST)
    running = Listener(tmp_path, answer)
    while not running.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield running
    running.server.should_exit = True
    await running.serving


async def test_unfinished_requests_make_room_for_others(listener: Listener) -> None:
    waiting = [await listener.connect(UNFINISHED) for _ in range(3 * MOST)]
    assert len(listener.server.crowd) <= MOST
    assert [await listener.served() for _ in range(3)] == [True] * 3
    for _, writer in waiting:
        writer.close()
    await listener.empty()


async def test_handshakes_that_do_not_begin_make_room_for_others(listener: Listener) -> None:
    waiting = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(3 * MOST)]
    assert [await listener.served() for _ in range(3)] == [True] * 3
    assert len(listener.server.crowd) <= MOST
    for one in waiting:
        one.close()
    await listener.empty()


async def test_a_handshake_that_does_not_begin_is_given_up(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.cli.serving.acceptor.HANDSHAKE_SECONDS", 0.1)
    one = socket.create_connection(("127.0.0.1", listener.port))
    await asyncio.sleep(0.05)
    await listener.empty()
    one.close()


async def test_a_lack_of_descriptors_is_told_and_who_waited_is_served_when_it_is_over(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody could see why new clients got no answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # of which all are taken
    try:
        client.connect(("127.0.0.1", listener.port))
        async with asyncio.timeout(LEFT_SECONDS):
            while "serve.not_accepted" not in caplog.messages:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.02)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.close()
    told = next(one for one in caplog.records if one.message == "serve.not_accepted")
    assert told.__dict__["reason"] == "Too many open files"
    assert await listener.served()


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("of a library")])
async def test_who_cannot_be_welcomed_is_told_at_once_and_keeps_no_place(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Before: for want of memory the connection stayed, and its client waited without end."""

    async def failing(*_: object, **__: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", failing)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        async with asyncio.timeout(LEFT_SECONDS):
            assert await reader.read() == b""
    assert len(listener.server.crowd) == 0
    assert await listener.served()
    writer.close()


async def test_the_rest_of_an_answered_body_is_not_read_without_end(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.tls.protocol.LINGER_SECONDS", 0.1)
    reader, writer = await listener.connect(UNFINISHED.replace(b"/login", b"/deaf"))
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    await listener.empty()
    writer.close()


async def test_who_does_not_read_the_answer_is_cut_off(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.cli.serving.connection.READ_SECONDS", 0.2)
    _, writer = await listener.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    await listener.empty()
    writer.close()


async def test_who_reads_slowly_but_steadily_gets_all(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddr.cli.serving.connection.READ_SECONDS", 1.5)  # all of it takes longer
    reader, writer = await listener.connect(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = 0
    while piece := await reader.read(1024 * 1024):
        got += len(piece)
        await asyncio.sleep(0.02)
    assert got > LARGE
    writer.close()


class Held(Guest):
    """A guest without a connection."""

    def __init__(self, address: str, answered: bool = False) -> None:
        super().__init__(socket.socket(), address)
        self.answered, self.gone = answered, False

    @property
    def waits(self) -> bool:
        return not self.answered

    def send_away(self) -> None:
        self.gone = True


def test_the_oldest_that_waits_of_the_address_with_most_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Crowd, "most", 4)
    crowd = Crowd()
    first, answered, second, third = Held("a"), Held("b", answered=True), Held("b"), Held("b")
    assert all(crowd.enter(guest) for guest in (first, answered, second, third))
    assert crowd.enter(Held("c"))
    assert [guest.gone for guest in (first, answered, second, third)] == [False, False, True, False]
    assert len(crowd) == 4


def test_all_addresses_of_one_subscriber_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber has as many IPv6 addresses as it likes: each of them alone was the busiest of none."""
    monkeypatch.setattr(Crowd, "most", 4)
    crowd = Crowd()
    guests = [Held("2001:db8::1"), *(Held(f"2001:db8:0:1::{number}") for number in range(3))]
    assert all(crowd.enter(guest) for guest in guests)
    crowd.know(guests[3], "2001:db8:0:1:ffff::1")  # as a proxy tells it
    assert crowd.enter(Held("192.0.2.1"))
    assert [guest.gone for guest in guests] == [False, True, False, False]
    for guest in guests:
        crowd.leave(guest)
    assert len(crowd) == 1


def test_nobody_who_is_being_answered_has_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Crowd, "most", 2)
    crowd = Crowd()
    guests = [Held("a", answered=True), Held("a", answered=True)]
    assert all(crowd.enter(guest) for guest in guests)
    assert not crowd.enter(Held("b"))
    crowd.leave(guests[0])
    assert crowd.enter(Held("b"))


def test_a_listener_follows_the_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[0])
    crowd = Crowd(0.25)
    assert crowd.most == 256
    limits[0] = (64, 4096)
    assert crowd.most == 16
