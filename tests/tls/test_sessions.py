"""Clients that keep no TLS session themselves cannot fill a worker with theirs; a kept one is valid for a day."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.tls.context import LiveContext
from ddr.tls.follow import Following
from ddr.tls.sessions import MOST
from tests.tls.support import ask, client_context, diga_context, gateway_context, listening


@pytest.mark.parametrize("with_certificate", [True, False])
async def test_few_sessions_are_kept_and_they_are_resumed(tmp_path: Path, with_certificate: bool) -> None:
    ca = authority(tmp_path)
    server, client = server_certificate(tmp_path, ca), client_certificate(tmp_path, "client", None)
    live = LiveContext(gateway_context(server, client.der))
    context = client_context(ca.cert, client if with_certificate else None)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    async with listening(live) as port:
        for _ in range(MOST + 20):
            await ask(port, context)
        assert 0 < live.outer.session_stats()["number"] <= MOST
        assert await asyncio.to_thread(_again, port, context)


async def test_a_client_that_comes_again_and_again_gets_one_ticket_each_time(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    server, client = server_certificate(tmp_path, ca), client_certificate(tmp_path, "client", None)
    live, context = LiveContext(diga_context(server, client.der)), client_context(ca.cert, client)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    tickets = []

    def seen(_connection: object, direction: str, _version: object, _content: object, kind: object, _: bytes) -> None:
        if (direction, getattr(kind, "name", "")) == ("read", "NEWSESSION_TICKET"):
            tickets.append(kind)

    context._msg_callback = seen  # type: ignore[attr-defined] # the only way to see them
    async with listening(live) as port:
        assert await asyncio.to_thread(_again, port, context, times=3)
    assert len(tickets) == 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tickets_of_the_day_before_resume_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion
) -> None:
    """A worker may live for a year, and its key of tickets opens what was said under TLS 1.2."""
    ca = authority(tmp_path)
    server, client = server_certificate(tmp_path, ca), client_certificate(tmp_path, "client", None)
    following = await Following.begin(lambda: diga_context(server, client.der), lambda: "the same")
    context = client_context(ca.cert, client)
    context.minimum_version = context.maximum_version = version
    async with listening(following._live) as port:
        session, _ = await asyncio.to_thread(_once, port, context, None)
        await following.step()
        session, resumed = await asyncio.to_thread(_once, port, context, session)
        assert resumed
        monkeypatch.setattr("ddr.tls.follow.TICKETS_SECONDS", 0.0)
        await following.step()
        _, resumed = await asyncio.to_thread(_once, port, context, session)
        assert not resumed


def _again(port: int, context: ssl.SSLContext, times: int = 2) -> bool:
    """Whether who was here just now resumes the session, the last time."""
    session: ssl.SSLSession | None = None
    resumed = False
    for _ in range(times):
        session, resumed = _once(port, context, session)
    return resumed


def _once(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
    """The session of a request that comes with this one, and whether it was resumed."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        while connection.recv(4096):
            pass
        return connection.session, bool(connection.session_reused)
