"""What a head must say clearly: one Host, and no transfer coding except chunked (RFC 9112 sections 3.2, 6.1)."""

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
        ("GET / HTTP/1.1\r\nHost: localhost \t\r\n", 200),
        ("GET / HTTP/1.1\r\nHost:\r\n", 200),
        ("GET / HTTP/1.0\r\n", 200),
    ],
)
async def test_a_request_names_one_host(tmp_path: Path, head: str, status: int) -> None:
    assert await answered(tmp_path, f"{head}Connection: close\r\n\r\n") == status


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ("Transfer-Encoding: chunked\r\n", 200),
        ("transfer-encoding:  Chunked \r\n", 200),
        ("Transfer-Encoding: gzip, chunked\r\n", 400),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
    ],
)
async def test_a_body_is_chunked_or_as_it_is(tmp_path: Path, codings: str, status: int) -> None:
    """What is packed would be read as if it were not."""
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\n{codings}Connection: close\r\n\r\n"
    assert await answered(tmp_path, f"{head}1\r\nx\r\n0\r\n\r\n") == status


async def answered(tmp_path: Path, request: str) -> int:
    """The status of the answer."""
    ca = authority(tmp_path)
    client = client_certificate(tmp_path, "client", None)
    async with listening(live_context(server_certificate(tmp_path, ca), client)) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client_context(ca.cert, client))
        writer.write(request.encode())
        async with asyncio.timeout(60):
            status = int((await reader.readline()).split()[1])
        writer.close()
    return status
