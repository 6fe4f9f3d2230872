"""A separate process that sends requests at a given rate, whether or not earlier ones are answered.

`python -m tests.bench.flood` reads an order (JSON) from stdin and prints its results. Requests without a free
connection at their time are not sent, so that nothing waits in the client: `offered` counts the rest.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

from ddr.demo.certs import Pair
from ddr.demo.tls import client_context

LATE_SECONDS = 15.0  # for answers that come after the last request


@dataclass(frozen=True)
class Order:
    """What to send. `rate` is requests per second; 0: each connection sends when it has its answer."""

    host: str
    port: int
    ca: str
    certificate: str
    key: str
    requests: Sequence[str]
    rate: float
    seconds: float
    connections: int


@dataclass
class Seen:
    """Seconds from sending to the end of the answer: of those served (200), and of those refused in good form."""

    offered: int = 0
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0

    def p(self, part: float) -> float:
        """Seconds within which this part of the served was answered."""
        return _at(self.served, part)

    def __str__(self) -> str:
        return (
            f"{self.offered} offered, {len(self.served)} served "
            f"(p50 {self.p(0.5) * 1000:.1f} ms, p99 {self.p(0.99) * 1000:.1f} ms), {len(self.refused)} refused "
            f"(p50 {_at(self.refused, 0.5) * 1000:.0f} ms, p99 {_at(self.refused, 0.99) * 1000:.0f} ms), "
            f"{self.failed} failed"
        )


def _at(times: Sequence[float], part: float) -> float:
    return sorted(times)[int(len(times) * part)] if times else float("nan")


class _Connection(asyncio.Protocol):
    """One kept-alive connection; answers have a Content-Length."""

    def __init__(self, flood: _Flood) -> None:
        self._flood = flood
        self._buffer = bytearray()
        self._need = 0  # bytes of the answer, head included; 0: not known yet
        self.sent = 0.0  # 0: nothing is awaited
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by type

    def send(self, request: bytes) -> None:
        """Ask, and time it."""
        assert self.transport is not None
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower() + b"\r\n"
            self._need = end + 4 + int(head.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
        if self._need and len(self._buffer) >= self._need:
            seconds, self.sent, self._need = time.perf_counter() - self.sent, 0.0, 0
            status, told = bytes(self._buffer[9:12]), b"retry-after:" in self._buffer.lower()
            self._buffer.clear()
            self._flood.answered(self, status, told, seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent and not self._flood.over:
            self._flood.seen.failed += 1


class _Flood:
    def __init__(self, order: Order) -> None:
        self._order, self.seen, self.over = order, Seen(), False
        self._requests = [request.encode() for request in order.requests]
        self._free: deque[_Connection] = deque()
        self._next = 0
        self._until = 0.0

    def answered(self, connection: _Connection, status: bytes, told: bool, seconds: float) -> None:
        if status == b"200":
            self.seen.served.append(seconds)
        elif status == b"503" and told:
            self.seen.refused.append(seconds)
        else:
            self.seen.failed += 1
        if not self._order.rate and time.perf_counter() < self._until:
            self._send(connection)
        else:
            self._free.append(connection)

    def _send(self, connection: _Connection) -> None:
        self.seen.offered += 1
        self._next += 1
        connection.send(self._requests[self._next % len(self._requests)])

    async def run(self) -> Seen:
        order, loop = self._order, asyncio.get_running_loop()
        own = Pair(Path(order.certificate), Path(order.key)) if order.certificate else None
        tls: ssl.SSLContext = client_context(Path(order.ca), own)
        all_of_them: list[_Connection] = []
        for _ in range(order.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), order.host, order.port, ssl=tls)
            all_of_them.append(connection)
        self._free.extend(all_of_them)
        begun = time.perf_counter()
        self._until = begun + order.seconds
        if order.rate:
            await self._at_a_rate(begun)
        else:
            for connection in all_of_them:
                self._free.remove(connection)
                self._send(connection)
            await asyncio.sleep(order.seconds)
        late = time.perf_counter() + LATE_SECONDS
        while len(self._free) < len(all_of_them) and time.perf_counter() < late:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.05)
        self.seen.failed += sum(1 for connection in all_of_them if connection.sent)  # no answer at all
        self.over = True
        for connection in all_of_them:
            if connection.transport is not None:
                connection.transport.abort()
        return self.seen

    async def _at_a_rate(self, begun: float) -> None:
        due = 0
        while (now := time.perf_counter()) < self._until:
            while due < (now - begun) * self._order.rate:
                due += 1
                if self._free:
                    self._send(self._free.popleft())
            await asyncio.sleep(0.001)


async def flood(order: Order) -> Seen:
    """Have a process of its own carry out the order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.flood", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate(json.dumps(asdict(order)).encode())
    if process.returncode:
        raise RuntimeError(f"the flood ended with {process.returncode}")
    return Seen(**json.loads(told))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(_Flood(Order(**json.load(sys.stdin))).run()))))
