"""What a client learns when its handshake is refused (RFC 8446 section 6.2), on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from ddr.demo.certs import Pair, authority, client_certificate, server_certificate
from tests.tls.support import client_context, listening, live_context

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


async def refusal(folder: Path, version: ssl.TLSVersion, known: bool, ciphers: str = "") -> str:
    """The reason that OpenSSL tells the client."""
    ca = authority(folder)
    pair: Pair | None = client_certificate(folder, "unknown", None) if known else None
    context = client_context(ca.cert, pair)
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    registered = client_certificate(folder, "registered", None)
    async with listening(live_context(server_certificate(folder, ca), registered)) as port:
        with pytest.raises(ssl.SSLError) as caught:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
                writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                await reader.readline()
    return caught.value.reason or ""


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(
    ("version", "known", "ciphers", "reason"),
    [
        (V13, False, "", "CERTIFICATE_REQUIRED"),
        (V12, False, "", "HANDSHAKE_FAILURE"),
        (V13, True, "", "UNKNOWN_CA"),
        (V12, True, "", "UNKNOWN_CA"),
        (V12, True, "AES128-SHA", "HANDSHAKE_FAILURE"),
    ],
)
def test_the_reason_is_told(
    tmp_path: Path,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    version: ssl.TLSVersion,
    known: bool,
    ciphers: str,
    reason: str,
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert reason in runner.run(refusal(tmp_path, version, known, ciphers))


async def test_what_is_no_tls_is_closed_at_once(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    async with listening(live_context(server_certificate(tmp_path, ca))) as port:
        reader, writer = await asyncio.open_connection("localhost", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            await reader.read()
        writer.close()
