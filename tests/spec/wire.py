"""HTTP over TLS exactly as written, where an HTTP client would correct or refuse it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from ddr.demo.tls import client_context
from tests.spec.world import Reader


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A TLS connection that sends exactly what it is given, unlike an HTTP client."""

    def __init__(self, reader: Reader) -> None:
        ddr = reader.ddr
        self.paired = reader
        self._context = client_context(ddr.authority.cert, reader.diga.certificate)
        self._port = urlsplit(ddr.settings.diga_base_url).port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._http = h11.Connection(h11.CLIENT)

    async def send(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes = b"") -> Answer:
        """One request with the token, unless `headers` contain an Authorization of their own."""
        _, writer = await self._connected()
        lines = [("host", "localhost"), ("content-length", str(len(body))), *headers]
        if not any(name == "authorization" for name, _ in headers):
            lines.append(("authorization", f"Bearer {self.paired.tokens.access_token}"))
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in lines]
        request = h11.Request(method=method, target=target.encode(), headers=encoded)
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(self._http.send(event) or b"")
        return await self._answer()

    async def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        elif self._http.our_state is not h11.IDLE:
            await self.close()
        if self._streams is None:
            self._http = h11.Connection(h11.CLIENT)
            self._streams = await asyncio.open_connection("localhost", self._port, ssl=self._context)
        return self._streams

    async def _answer(self) -> Answer:
        response = await self._event()
        assert isinstance(response, h11.Response), "the connection was dropped"
        body = b""
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        return Answer(
            response.status_code, {key.decode(): value.decode("latin-1") for key, value in response.headers}, body
        )

    async def _event(self) -> Any:
        assert self._streams is not None
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await asyncio.wait_for(self._streams[0].read(65_536), 60))
        return event
