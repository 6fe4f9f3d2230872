"""Clients that keep no TLS session themselves cannot fill a worker with theirs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.tls.context import LiveContext
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


def _again(port: int, context: ssl.SSLContext, times: int = 2) -> bool:
    """Whether who was here just now resumes the session, the last time."""
    session: ssl.SSLSession | None = None
    reused = False
    for _ in range(times):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            while connection.recv(4096):
                pass
            session, reused = connection.session, bool(connection.session_reused)
    return reused
