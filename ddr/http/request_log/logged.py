"""Around the listeners: each request has an id, and each answer of the interface leaves once its record is durable."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from ddr.http.asgi import ASGIApp, Receive, Scope, Send, header_values
from ddr.http.caller import presented
from ddr.http.core import Core
from ddr.http.exchange import CURRENT, HEADER, Exchange, Withheld, transaction_id
from ddr.http.request_log.endpoints import AUTHORIZATION, CONNECTION, belongs, endpoint, spoken
from ddr.http.request_log.record import Call, Operator, line
from ddr.settings import Settings
from ddr.store.audit.trail import NewEntry
from ddr.store.database.faults import UNAVAILABLE

GONE = ("client-gone", "The connection ended before the answer")
CUT = ("answer-cut", "The answer was cut off")
FAILED = 500  # and above: answers without data
OVERLOADED = 503  # the answer to those who are told to retry
WITHHELD = 503
LARGEST_ERROR = 20_000  # bytes of an answer that is parsed for its error

# What happens to connections without a request: code and text.
TROUBLES = {
    "tls-refused": "The TLS handshake was refused",
    "tls-cut": "The connection ended during the TLS handshake",
    "tls-timeout": "The TLS handshake took too long",
    "proxy-header": "The proxy did not name its client in the PROXY protocol",
    "too-many-connections": "The connection was closed because too many were open",
    "head-timeout": "The request head took too long to arrive",
    "head-cut": "The connection ended before the request head was complete",
    "malformed-request": "The request is not HTTP",
}


def operator(settings: Settings, listener: str) -> Operator:
    """Who operates this interface: the number in the HIIS-VZ, or the name of the host as long as there is none."""
    hosts = {"diga": settings.diga_base_url, "public": settings.public_base_url}
    host = urlsplit(hosts[listener]).hostname or ""
    return Operator(settings.hiis_id or urlsplit(settings.diga_base_url).hostname or "", host)


def identified(app: ASGIApp) -> ASGIApp:
    """`app` for a listener that is not part of the interface; its requests have an id, too."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(transaction_id(header_values(scope, HEADER)))
        CURRENT.set(exchange)
        await app(scope, receive, _with_id(send, exchange))

    return call


def logged(app: ASGIApp, core: Core, listener: str) -> ASGIApp:
    """`app` with its requests recorded: all of the DiGA listener, and those to the interface on the public one."""
    told, aside = operator(core.settings, listener), identified(app)
    everything = listener == "diga"

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if everything or belongs(scope["path"]):
            await _Logged(core, told, scope, receive, send).run(app)
        else:
            await aside(scope, receive, send)

    return call


def trouble(core: Core, listener: str) -> Callable[[str, bytes | None, int | None], None]:
    """For connections without a successful request: a function of kind, client certificate, and status."""
    told = operator(core.settings, listener)

    def note(kind: str, der: bytes | None = None, status: int | None = None) -> None:
        diga = core.registry.by_certificate(der) if der else None
        text = TROUBLES[kind]
        call = Call(
            transaction_id=transaction_id([]),
            at_ms=core.clock(),
            event_type=CONNECTION,
            endpoint="",
            message=f"Connection: {text}",
            status=status,
            response_time_ms=0,
            data_volume_bytes=0,
            client_id=diga.client_id if diga else None,
            error_code=kind,
            error_description=text,
        )
        core.request_log.note(line(call, told))

    return note


def _with_id(send: Send, exchange: Exchange) -> Send:
    own = (HEADER.encode(), exchange.transaction_id.encode())

    async def adding(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], own]
        await send(message)

    return adding


class _Logged:
    """One request of the interface."""

    def __init__(self, core: Core, told: Operator, scope: Scope, receive: Receive, send: Send) -> None:
        self._core, self._told, self._scope = core, told, scope
        self._entries: list[NewEntry] = []
        self._exchange = Exchange(transaction_id(header_values(scope, HEADER)), entries=self._entries)
        self._receive, self._send = receive, _with_id(send, self._exchange)
        self._at_ms, self._began = core.clock(), time.monotonic()
        self._event_type, self._endpoint = endpoint(scope["path"])
        self._start: MutableMapping[str, Any] | None = None  # held back until the record is durable
        self._status: int | None = None
        self._volume = 0
        self._answer = b""
        self._written = False

    async def run(self, app: ASGIApp) -> None:
        """Run the request; one that ends without an answer is recorded, too."""
        CURRENT.set(self._exchange)
        try:
            await app(self._scope, self._counting, self._holding)
        finally:
            if not self._written:
                self._exchange.error = GONE if self._status is None else CUT
                self._core.request_log.note(self._line(), self._true_entries())

    async def _counting(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._volume += len(message.get("body", b""))
        return message

    async def _holding(self, message: MutableMapping[str, Any]) -> None:
        if self._written:  # this is sent instead of an answer that was withheld
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._start, self._status = message, message["status"]
            return
        body = message.get("body", b"")
        self._volume += len(body)
        if self._status is not None and self._status >= 400:
            self._answer += body[: LARGEST_ERROR - len(self._answer)]
        if not message.get("more_body", False):
            await self._write()
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)
        await self._send(message)

    async def _write(self) -> None:
        """Make the record durable. Raises Withheld when it, or its entries, must be in the database and cannot be."""
        self._written = True
        refused, retired = self._status == OVERLOADED, self._exchange.retired
        log = self._core.request_log
        if not await log.write(self._line(), refused, self._true_entries(), self._withheld, retired):
            self._start = None
            raise Withheld

    def _true_entries(self) -> list[NewEntry]:
        """A request that was admitted and then got no answer, or an error of ours, has read nothing."""
        if self._status is not None and self._status < FAILED:
            return self._entries
        return [entry.unanswered() for entry in self._entries]

    def _withheld(self) -> bytes:
        code = "temporarily_unavailable" if self._event_type == AUTHORIZATION else "transient"
        self._status, self._exchange.error = WITHHELD, (code, UNAVAILABLE.detail)
        return self._line()

    def _line(self) -> bytes:
        code, text = self._error()
        diga = presented(self._core, self._scope)
        exchange = self._exchange
        call = Call(
            transaction_id=exchange.transaction_id,
            at_ms=self._at_ms,
            event_type=self._event_type,
            endpoint=self._endpoint,
            message=spoken(self._scope["method"], self._endpoint, self._status),
            status=self._status,
            response_time_ms=round((time.monotonic() - self._began) * 1000),
            data_volume_bytes=self._volume,
            client_id=diga.client_id if diga else exchange.client_id,
            pairing_id=exchange.pairing_id,
            error_code=code,
            error_description=text,
        )
        return line(call, self._told)

    def _error(self) -> tuple[str | None, str | None]:
        """As a room has reported it, otherwise as the answer says it."""
        if self._exchange.error is not None:
            return self._exchange.error
        if self._status is None or self._status < 400:
            return None, None
        return _read(self._answer) or (f"http-{self._status}", None)


def _read(answer: bytes) -> tuple[str, str | None] | None:
    """Code and text of an OperationOutcome, an OAuth error or a problem document in JSON."""
    try:
        found = orjson.loads(answer)
        if "issue" in found:
            issue = found["issue"][0]
            return issue["code"], issue.get("diagnostics")
        if "error" in found:
            return found["error"], found.get("error_description")
        return f"http-{found['status']}", found["title"]
    except (orjson.JSONDecodeError, TypeError, KeyError, IndexError):
        return None
