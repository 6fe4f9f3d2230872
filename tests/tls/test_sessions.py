"""Clients that keep no TLS session themselves cannot fill a worker with theirs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.tls.context import LiveContext, gateway_context
from ddr.tls.sessions import MOST
from tests.tls.support import ask, client_context, listening


@pytest.mark.parametrize("with_certificate", [True, False])
async def test_few_sessions_are_kept_and_they_are_resumed(tmp_path: Path, with_certificate: bool) -> None:
    ca = authority(tmp_path)
    server, client = server_certificate(tmp_path, ca), client_certificate(tmp_path, "client", None)
    live = LiveContext(gateway_context(server.cert, server.key, [client.der]))
    context = client_context(ca.cert, client if with_certificate else None)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    async with listening(live) as port:
        for _ in range(MOST + 20):
            await ask(port, context)
        assert 0 < live.outer.session_stats()["number"] <= MOST
        assert await asyncio.to_thread(_again, port, context)


def _again(port: int, context: ssl.SSLContext) -> bool:
    """Whether who was here just now resumes the session."""
    session: ssl.SSLSession | None = None
    reused = False
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            while connection.recv(4096):
                pass
            session, reused = connection.session, bool(connection.session_reused)
    return reused
