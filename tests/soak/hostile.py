"""Slow and hostile clients of every listener. Their responses do not matter, except for errors of the recorder."""

from __future__ import annotations

import asyncio
import gzip
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import orjson

from ddr.demo.gateway_client import instant
from ddr.http.clock import now_ms
from tests.soak.ledger import Ledger

TRICKLERS, STALLED = 60, 30  # connections at once; far more than one patient's share of a worker
HOLD_SECONDS = 25.0
LOST = (OSError, ssl.SSLError, EOFError, TimeoutError, httpx.TransportError)
JUNK_PATHS = ("/", "/fhir/Observation", "/gateway/v1/devices", "/login", "/oauth/authorize", "/%2e%2e/x", "/\u00fc")
XML = b'<Bundle xmlns="http://hl7.org/fhir">' + b"<a/>" * 500_000 + b"</Bundle>"
NESTED = b'{"readings":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@dataclass
class Hostile:
    """Strangers, and a patient whose token is in bad hands."""

    ledger: Ledger
    bases: tuple[str, ...]  # of the public and the gateway listener, which need no client certificate
    token: str
    tls: ssl.SSLContext
    chance: random.Random

    @property
    def gateway(self) -> str:
        return self.bases[-1]

    async def run(self, stop: asyncio.Event) -> None:
        """All of them at once, until told to stop."""
        async with httpx.AsyncClient(verify=self.tls, timeout=60, trust_env=False) as http:
            habits: tuple[Callable[[httpx.AsyncClient], Awaitable[None]], ...] = (
                self._bomb, self._guess, self._crowd, self._log_in, self._junk,
            )  # fmt: skip
            loops = [self._again(stop, lambda habit=habit: habit(http), 0.5) for habit in habits]  # type: ignore[misc]
            loops += [self._again(stop, lambda: self._trickle(), 1) for _ in range(TRICKLERS)]
            loops += [self._again(stop, lambda: self._stall(), 1) for _ in range(STALLED)]
            await asyncio.gather(*loops)

    async def _again(self, stop: asyncio.Event, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while not stop.is_set():
            with suppress(*LOST):
                await act()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause * self.chance.uniform(0.5, 1.5))

    async def _ask(self, http: httpx.AsyncClient, method: str, url: str, **more: object) -> None:
        begun = time.monotonic()
        answer = await http.request(method, url, **more)  # type: ignore[arg-type]
        self.ledger.answered("hostile", answer, begun, good=False)

    async def _bomb(self, http: httpx.AsyncClient) -> None:
        """Little that unpacks to much, and much in one request."""
        latest = now_ms()
        events = [{"time": instant(latest - at * 60_000), "state": "calibrated"} for at in range(20_000)]
        body, kind, path = self.chance.choice(
            (
                (XML, "application/fhir+xml", "fhir"),
                (NESTED, "application/json", "devices/x/sensors/s/readings"),
                (b"[" + b"1.1," * 400_000 + b"1]", "application/fhir+json", "fhir"),
                (orjson.dumps({"calibrations": events}), "application/json", "devices/x/sensors/s/calibrations"),
            )
        )
        headers = {"content-type": kind, "content-encoding": "gzip", "authorization": f"Bearer {self.token}"}
        url = f"{self.gateway}/gateway/v1/{path}"
        await self._ask(http, "POST", url, content=gzip.compress(body), headers=headers)

    async def _guess(self, http: httpx.AsyncClient) -> None:
        """Tokens that are none."""
        for _ in range(10):
            headers = {"authorization": f"Bearer {self.chance.randbytes(16).hex()}"}
            await self._ask(http, "GET", f"{self.gateway}/gateway/v1/devices", headers=headers)

    async def _crowd(self, http: httpx.AsyncClient) -> None:
        """Many requests of the patient at once."""
        headers = {"authorization": f"Bearer {self.token}"}
        urls = [f"{self.gateway}/gateway/v1/devices"] * 40
        await asyncio.gather(*(self._ask(http, "GET", url, headers=headers) for url in urls), return_exceptions=True)

    async def _log_in(self, http: httpx.AsyncClient) -> None:
        """Passwords that are none, without the form's own token."""
        form = {"username": "anna", "password": "wrong", "form_token": "x", "request_uri": ""}
        await self._ask(http, "POST", f"{self.bases[0]}/login", data=form)
        await self._ask(
            http, "GET", f"{self.bases[0]}/oauth/authorize?client_id=urn:diga:bfarm:00101&request_uri=urn:x"
        )

    async def _junk(self, http: httpx.AsyncClient) -> None:
        """What no client sends."""
        method = self.chance.choice(("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"))
        url = self.chance.choice(self.bases) + self.chance.choice(JUNK_PATHS)
        headers = {"content-type": self.chance.choice(("application/json", "text/x", "multipart/form-data"))}
        headers["authorization"] = self.chance.choice(("Bearer", "Basic x", f"Bearer {self.token}"))
        await self._ask(http, method, url, content=self.chance.randbytes(200), headers=headers)

    async def _trickle(self) -> None:
        """A body that does not end."""
        base = self.chance.choice(self.bases)
        path = "/login" if base == self.bases[0] else "/gateway/v1/devices/x/sensors/s/readings"
        reader, writer = await self._connect(base)
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.token}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: 9000\r\n\r\n".encode())
        await self._hold(reader, writer, b"a")

    async def _stall(self) -> None:
        """A head that does not end, or an idle connection."""
        reader, writer = await self._connect(self.chance.choice(self.bases))
        writer.write(self.chance.choice((b"GET / HTTP/1.1\r\nx: ", b"")))
        await self._hold(reader, writer, b"")

    async def _connect(self, base: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = urlsplit(base)
        opening = asyncio.open_connection("127.0.0.1", host.port, ssl=self.tls, server_hostname="localhost")
        return await asyncio.wait_for(opening, 10)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes) -> None:
        until = time.monotonic() + HOLD_SECONDS
        try:
            while time.monotonic() < until and not reader.at_eof():
                writer.write(piece)
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 4)
        finally:
            writer.transport.abort()
