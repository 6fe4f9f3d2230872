"""A small HTTP/1.1 load generator: keep-alive mTLS connections, bounded in number and time, to this machine only."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 16
SECONDS = 4.0


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
    url: str, tls: ssl.SSLContext, headers: dict[str, str], seconds: float = SECONDS, connections: int = CONNECTIONS
) -> Rate:
    """GET `url` over and over; every answer must be 200."""
    target = urlsplit(url)
    path = target.path + (f"?{target.query}" if target.query else "")
    lines = [f"GET {path} HTTP/1.1", f"host: {target.netloc}", *(f"{name}: {value}" for name, value in headers.items())]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    times: list[float] = []
    size = 0

    async def connection() -> None:
        nonlocal size
        reader, writer = await asyncio.open_connection(target.hostname, target.port, ssl=tls)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            size = await _answer(reader)
            times.append(time.perf_counter() - begun)
        writer.close()

    begin = time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(connection() for _ in range(connections)))
    elapsed = time.perf_counter() - begin
    times.sort()
    at = len(times) - 1
    return Rate(len(times), len(times) / elapsed, times[at // 2] * 1000, times[at * 99 // 100] * 1000, size)


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n", 1)[0].decode())
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    await reader.readexactly(length)
    return length
