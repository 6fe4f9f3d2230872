"""Host of HTTP/1.1 requests: exactly one (RFC 9112 section 3.2), on real connections."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ddr.demo.certs import authority, client_certificate, server_certificate
from tests.tls.support import client_context, listening, live_context


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost:8443\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n", 200),
        ("GET / HTTP/1.1\r\nHost:\r\n", 200),
        ("GET / HTTP/1.0\r\n", 200),
    ],
)
async def test_a_request_names_one_host(tmp_path: Path, head: str, status: int) -> None:
    ca = authority(tmp_path)
    client = client_certificate(tmp_path, "client", None)
    async with listening(live_context(server_certificate(tmp_path, ca), client)) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client_context(ca.cert, client))
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert int((await reader.readline()).split()[1]) == status
        writer.close()
