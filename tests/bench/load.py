"""A small HTTP/1.1 load generator: keep-alive connections, limited in number and duration, to this machine only."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = 16
SECONDS = 4.0


@dataclass(frozen=True)
class Target:
    """What a connection asks for over and over."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def request(self) -> bytes:
        """The request as sent."""
        target = urlsplit(self.url)
        path = target.path + (f"?{target.query}" if target.query else "")
        fields = (f"{name}: {value}" for name, value in self.headers.items())
        return "\r\n".join([f"GET {path} HTTP/1.1", f"host: {target.netloc}", *fields, "", ""]).encode()


@dataclass(frozen=True)
class Rate:
    """What one round of load saw."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    bytes: int  # of one answer's body

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s (p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, {self.bytes:,} bytes)"


async def load(
    targets: Sequence[Target], tls: ssl.SSLContext | None, seconds: float = SECONDS, connections: int = CONNECTIONS
) -> Rate:
    """GET over and over; the connections take turns in choosing one of `targets`. Every answer must be 200."""
    times: list[float] = []
    size = 0

    async def connection(target: Target) -> None:
        nonlocal size
        place, request = urlsplit(target.url), target.request
        reader, writer = await asyncio.open_connection(place.hostname, place.port, ssl=tls)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            size = await _answer(reader)
            times.append(time.perf_counter() - begun)
        writer.close()

    begin = time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(connection(targets[at % len(targets)]) for at in range(connections)))
    elapsed = time.perf_counter() - begin
    times.sort()
    at = len(times) - 1
    return Rate(len(times), len(times) / elapsed, times[at // 2] * 1000, times[at * 99 // 100] * 1000, size)


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n", 1)[0].decode())
    if b"\r\ntransfer-encoding: chunked" in (fields := head.lower()):
        return await _chunked(reader)
    length = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return length


async def _chunked(reader: asyncio.StreamReader) -> int:
    """The length of a body in chunks (RFC 9112 section 7.1)."""
    total = 0
    while length := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(length + 2)
        total += length
    await reader.readexactly(2)
    return total
