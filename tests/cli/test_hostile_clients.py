"""Clients that send what nobody else sends, or do not read: their input is not taken for a header field, and the
recorder neither waits for them without end, nor stores without bound, nor lets them block others. Plain HTTP: after its
handshake, TLS behaves the same."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from ddr.cli.serving import connection, server
from ddr.cli.serving.connection import Connection, State
from ddr.cli.serving.server import Server, server_for
from ddr.http.admission import Admission
from ddr.http.arrival import in_turn
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, header, send_reply
from ddr.http.body import BodyError, read_body
from ddr.tls import protocol
from ddr.tls.peer import client_certificate, from_proxy

SECONDS = 30  # for what comes at once
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 32 * 1024 * 1024  # more than sockets hold

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[bytes], Awaitable[Client]]


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[tuple[Connect, Server]]:
    """A listener for `app`; gives what connects to it and sends something first."""
    listening = socket.create_server(("127.0.0.1", 0))
    port, running = listening.getsockname()[1], server_for(app, None)
    task, writers = asyncio.create_task(running.serve([listening])), list[asyncio.StreamWriter]()

    async def connect(sent: bytes) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(sent)
        return reader, writer

    try:
        while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield connect, running
    finally:
        for writer in writers:
            writer.close()
        running.should_exit = True
        await task


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells the header fields that there are when the body has been read, and the body; /deaf does not read it."""
    body = b"" if scope["path"] == "/deaf" else await read_body(scope, receive, 1_000_000)
    names = b",".join(name for name, _ in scope["headers"])
    await send_reply(scope, send, Reply(200, names + b"|" + body))


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    async with asyncio.timeout(SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)


async def test_a_trailer_is_no_header_field() -> None:
    """A proxy takes a header away that it sets itself, and passes trailers on."""
    async with serving(echo) as (connect, _):
        reader, _ = await connect(CHUNKED + b"1\r\na\r\n0\r\nClient-Cert: :YQ==:\r\nAuthorization: Bearer x\r\n\r\n")
        assert await answered(reader) == (200, b"host,transfer-encoding|a")


async def test_nobody_is_whom_a_trailer_names() -> None:
    async def whose(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(scope, receive, 9)
        await from_proxy(told, "Client-Cert")(scope, receive, send)

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, Reply(200, client_certificate(scope) or b"nobody"))

    async with serving(whose) as (connect, _):
        reader, _ = await connect(CHUNKED + b"0\r\nClient-Cert: :YQ==:\r\n\r\n")
        assert await answered(reader) == (200, b"nobody")


@pytest.mark.parametrize(("version", "status"), [(b"1.0", b"200"), (b"1.1", b"100")])
async def test_who_speaks_http_1_0_is_not_told_to_go_on(version: bytes, status: bytes) -> None:
    """It takes the first answer for the last one (RFC 9110 section 10.1.1)."""
    expecting = HEAD.replace(b"1.1", version) + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na"
    async with serving(echo) as (connect, _):
        reader, _ = await connect(expecting)
        async with asyncio.timeout(SECONDS):
            assert (await reader.readline()).split()[1] == status


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_is_declared_too_long_is_not_waited_for(expect: bytes) -> None:
    """The answer that its head decides comes in the place of 100 (RFC 9110 section 10.1.1)."""

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await read_body(scope, receive, 9)
        except BodyError as error:
            await send_reply(scope, send, Reply(error.status, str(error).encode()))

    async with serving(in_turn(reads, Admission(1), "pages", lambda scope: "", 9)) as (connect, _):
        reader, _ = await connect(HEAD + expect + b"Content-Length: 10\r\n\r\n")
        assert await answered(reader) == (413, b"The body exceeds 9 bytes")


@pytest.mark.parametrize(
    "sent",
    [
        CHUNKED + b"0\r\nX: " + b"a" * 1_000_000,
        CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000,
        HEAD + b"X: " + b"a" * 1_000_000,
        HEAD + b"a:\r\n" * 20_000 + b"\r\n",  # 80 kB that take 3 MB
    ],
)
async def test_fields_without_end_are_not_kept(sent: bytes) -> None:
    async with serving(echo) as (connect, _):
        reader, _ = await connect(sent)
        async with asyncio.timeout(SECONDS):
            assert (await reader.readline()).split()[1] == b"431"


async def test_a_large_chunked_body_is_no_head() -> None:
    async with serving(echo) as (connect, _):
        body, step = b"b" * 400_000, 40_000
        chunks = b"".join(b"%x\r\n%b\r\n" % (step, body[at : at + step]) for at in range(0, len(body), step))
        reader, _ = await connect(CHUNKED + chunks + b"0\r\n\r\n")
        assert await answered(reader) == (200, b"host,transfer-encoding|" + body)


class Wire(asyncio.Transport):
    """The transport of a connection that gets what the test gives it, in these very pieces."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self.sent = b""
        self.connection = Connection(server_for(app, None).config, State(), {})
        self._closing = False
        self.connection.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        """What is given is given."""

    def resume_reading(self) -> None:
        """As above."""

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(SECONDS):
            while not holds():  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0)

    def lost(self) -> None:
        """The end."""
        self.connection.connection_lost(None)


UMLAUT = "/Device?manufacturer=Müller HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("pieces", "status", "told"),
    [
        ([b"GET /fhir" + UMLAUT], 400, "percent-encoded"),
        ([b"GET /fhir", UMLAUT], 400, "percent-encoded"),
        ([b"GET ", b"/fhir" + UMLAUT], 400, "percent-encoded"),
        ([b"GET https://x:8443/fhir" + UMLAUT], 400, "percent-encoded"),
        ([b"GET /fhir/Device?device-name=a b HTTP/1.1\r\nHost: x\r\n\r\n"], 400, "percent-encoded"),
        ([b"GET /fhir/Device HTTP/1.1\r\nHost : x\r\n\r\n"], 400, "header"),
        ([b"GET /fhir/Device HTTP/1.1\r\n\r\n"], 400, "Host"),
        ([b"GET /fhir/Device\r\nHost: x\r\n\r\n"], 400, "version"),
        ([b"GET /fhir/Device HTTP/0.9\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"], 400, "version"),
        ([b"GET /fhir/Device HTTP/2.0\r\nHost: x\r\n\r\n"], 400, "version"),
        ([b"POST /fhir/Device/_search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"], 400, "chunked"),
        ([b"GET /fhir/Device?_id=", b"a," * 40_000], 414, "POST"),
        ([b"GET /fhir/Device HTTP/1.1\r\nHost: x\r\nX: ", b"a" * 70_000], 431, "65536 bytes"),
    ],
)
async def test_what_cannot_be_read_is_told_in_the_form_of_fhir(pieces: list[bytes], status: int, told: str) -> None:
    """Clients that encode nothing (curl, Go's) send a name as it is, and shall hear what is wrong with it (RS-031)."""
    wire = Wire(echo)
    for piece in pieces:
        wire.connection.data_received(piece)
    assert wire.is_closing()
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/fhir+json; fhirversion=4.0; charset=utf-8" in lines
    assert {"cache-control: no-store", "connection: close", f"content-length: {len(body)}"} <= set(lines)
    outcome = json.loads(body)
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert issue["code"] == ("invalid" if status == 400 else "too-long") and told in issue["diagnostics"]
    wire.lost()


@pytest.mark.parametrize(
    ("target", "form", "member"),
    [
        ("/oauth/par", "application/json", "error_description"),
        ("/gateway/v1/devices", "application/problem+json", "detail"),
    ],
)
async def test_each_room_tells_in_its_own_form_what_cannot_be_read(target: str, form: str, member: str) -> None:
    wire = Wire(echo)
    wire.connection.data_received(f"POST {target} HTTP/1.1\r\nHost : x\r\n\r\n".encode())
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    assert f"content-type: {form}\r\n".encode() in head
    assert json.loads(body)[member] == "The request cannot be read: Invalid header token"
    wire.lost()


async def test_what_cannot_be_read_is_answered_with_the_date() -> None:
    """As whatever a server with a clock says (RFC 9110 section 6.6.1)."""
    async with serving(echo) as (connect, _):
        reader, _ = await connect(b"GET /fhir HTTP/1.1\r\nHost : x\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            assert b"\r\ndate: " in await reader.readuntil(b"\r\n\r\n")


UPGRADE = HEAD + b"Upgrade: TLS/1.2\r\nConnection: upgrade\r\n"
BODY = b"GET /deaf HTTP/1.1\r\nHost: y\r\n\r\n"  # that must not be taken for a request


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (UPGRADE + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY),
        (UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
        (UPGRADE.replace(b"TLS/1.2", b"websocket") + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_wish_for_another_protocol_takes_no_body_away(head: bytes, body: bytes, apart: bool) -> None:
    """As Apache's HttpClient sends it: a search lost its form, and what was in it passed for the next request."""
    wire = Wire(echo)
    for piece in (GET + head, body + GET) if apart else (GET + head + body + GET,):
        wire.connection.data_received(piece)
    await wire.until(lambda: wire.sent.count(b"HTTP/1.1 200") == 3)
    first, second, third = (answer.partition(b"|")[2] for answer in wire.sent.split(b"HTTP/1.1 200")[1:])
    assert (first, second, third) == (b"", BODY, b"")
    assert b"upgrade" not in wire.sent
    wire.connection.data_received(GET)
    await wire.until(lambda: wire.sent.count(b"HTTP/1.1 200") == 4)
    wire.lost()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_wish_for_another_protocol_and_the_end_is_answered_first(method: bytes) -> None:
    wire, body = Wire(echo), BODY if method == b"POST" else b""
    head = UPGRADE.replace(b"POST", method).replace(b"upgrade", b"close, upgrade")
    wire.connection.data_received(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await wire.until(wire.is_closing)
    assert wire.sent.startswith(b"HTTP/1.1 200") and wire.sent.endswith(b"|" + body)
    wire.lost()


async def test_a_wish_for_another_protocol_without_a_body_is_answered_too() -> None:
    wire = Wire(echo)
    wire.connection.data_received(GET.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n") + GET)
    await wire.until(lambda: wire.sent.count(b"HTTP/1.1 200") == 2)
    wire.lost()


@pytest.mark.parametrize("target", [b"x:80", b"/fhir"])
async def test_what_follows_a_tunnel_that_is_not_dug_is_no_request(target: bytes) -> None:
    wire = Wire(echo)
    wire.connection.data_received(b"CONNECT %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (target, len(GET)))
    assert wire.is_closing() and wire.sent.startswith(b"HTTP/1.1 400") and b"CONNECT" in wire.sent
    wire.lost()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (UPGRADE.replace(b"Host: x\r\n", b"") + b"\r\n", b"one Host"),
        (UPGRADE + b"Transfer-Encoding: gzip\r\n\r\n", b"chunked"),
    ],
)
async def test_what_is_wrong_beside_a_wish_for_another_protocol_is_told(sent: bytes, told: bytes) -> None:
    wire = Wire(echo)
    wire.connection.data_received(sent)
    assert wire.is_closing() and wire.sent.startswith(b"HTTP/1.1 400") and told in wire.sent
    wire.lost()


async def test_a_head_that_begins_behind_a_large_body_is_as_long_as_it_is() -> None:
    wire = Wire(echo)
    first = HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
    wire.connection.data_received(first + GET[:10])
    wire.connection.data_received(GET[10:])
    await wire.until(lambda: wire.sent.count(b"HTTP/1.1 200") == 2)
    wire.lost()


async def test_not_more_requests_are_kept_than_anybody_sends_at_once() -> None:
    wire = Wire(echo)
    wire.connection.data_received(GET * (protocol.AHEAD + 1))
    await wire.until(lambda: wire.sent.count(b"HTTP/1.1 200") == protocol.AHEAD + 1)
    wire.connection.data_received(GET * 10_000)
    assert len(wire.connection.pipeline) == protocol.AHEAD
    await wire.until(wire.is_closing)
    assert wire.sent.count(b"HTTP/1.1 200") == 2 * (protocol.AHEAD + 1) and b"HTTP/1.1 400" not in wire.sent
    wire.lost()


async def test_who_goes_away_with_another_request_in_line_is_worked_for_no_more() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    wire = Wire(stream)
    wire.connection.data_received(GET * 2)
    async with asyncio.timeout(SECONDS):
        await begun.wait()
        wire.lost()
        await gone.wait()


@pytest.mark.parametrize(
    "behind",
    [
        b"NONSENSE\r\n\r\n",
        HEAD + b"X: " + b"a" * 70_000,
        HEAD + b"a:\r\n" * 20_000,
        b"GET / HTTP/1.1\r\n\r\n",
        CHUNKED + b"1\r\nb\r\nz\r\n",
        CHUNKED + b"0\r\na:" + b"a" * 70_000,
    ],
)
async def test_what_is_no_request_is_not_answered_in_the_place_of_one(behind: bytes) -> None:
    """Of an upload with a few bytes too many the gateway would hear that it was refused, again and again."""
    go_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    wire = Wire(slow)
    wire.connection.data_received(HEAD + b"Content-Length: 1\r\n\r\na" + behind)
    wire.connection.data_received(behind)
    wire.connection.data_received(GET)
    assert not wire.sent
    go_on.set()
    await wire.until(wire.is_closing)
    assert wire.sent.startswith(b"HTTP/1.1 200") and wire.sent.endswith(b"|a") and wire.sent.count(b"HTTP/1.1") == 1
    wire.lost()


@pytest.mark.parametrize(
    ("asked", "then"),
    [
        (GET, b"\r\n"),  # as some send it behind a form
        (HEAD.replace(b" / ", b" /deaf ") + b"Content-Length: 4\r\n\r\n", b"rest"),
        (HEAD.replace(b" / ", b" /deaf ") + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    ],
)
async def test_who_says_nothing_after_an_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, asked: bytes, then: bytes
) -> None:
    async with serving(echo) as (connect, _):
        reader, writer = await connect(asked)
        assert (await answered(reader))[0] == 200
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
        writer.write(then)
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""


async def test_a_head_that_does_not_end_behind_another_request_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It begins while that is worked on, for longer than a head may take; and from time to time there is more of it."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    go_on, given_up = asyncio.Event(), asyncio.Event()
    give_up = Connection._give_up

    def noted(own: Connection) -> None:
        give_up(own)
        given_up.set()

    monkeypatch.setattr(Connection, "_give_up", noted)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await echo(scope, receive, send)

    async with serving(slow) as (connect, _):
        reader, writer = await connect(GET + b"GET /")
        async with asyncio.timeout(SECONDS):
            await given_up.wait()
            go_on.set()
            assert (await answered(reader))[0] == 200
            with suppress(OSError):
                writer.write(b"x")
            assert await reader.read() == b""


async def test_who_does_not_read_holds_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first answer fills what lies between; the second one cannot leave, and others are served meanwhile."""
    monkeypatch.setattr(connection, "READ_SECONDS", 10 * SECONDS)
    admission, asked = Admission(4), 0

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await send_reply(scope, send, Reply(200, b"s" if header(scope, "small") else bytes(LARGE)))

    count = 4
    async with serving(in_turn(large, admission, "authorization", lambda scope: object(), 10)) as (connect, _):
        deaf = [await connect(GET) for _ in range(count)]
        for reader, writer in deaf:
            await reader.readexactly(1)
            writer.write(GET)
        async with asyncio.timeout(SECONDS):
            while asked < 2 * count:  # noqa: ASYNC110 - the other end does it
                await asyncio.sleep(0.01)
            assert admission.running == 0
        reader, _ = await connect(GET.replace(b"\r\n\r\n", b"\r\nSmall: 1\r\n\r\n"))
        assert await answered(reader) == (200, b"s")
        for _, writer in deaf:
            writer.transport.abort()


async def test_a_stream_that_is_read_slowly_holds_no_turn() -> None:
    admission, begun, go_on = Admission(4), asyncio.Event(), asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})

    async with serving(in_turn(stream, admission, "pages", lambda scope: "", 10)) as (connect, _):
        reader, _ = await connect(GET)
        async with asyncio.timeout(SECONDS):
            await begun.wait()
            assert admission.running == 0
            go_on.set()
            assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


async def test_what_is_cut_off_at_the_end_is_answered_with_no_500(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    asked = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with serving(never) as (connect, running):
        reader, _ = await connect(GET)
        async with asyncio.timeout(SECONDS):
            await asked.wait()
            running.should_exit = True
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
