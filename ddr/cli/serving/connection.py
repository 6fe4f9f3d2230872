"""A connection of a listener that can end in order: it answers pending requests, and knows when it may be closed."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from ddr.failures import unreadable
from ddr.tls.protocol import TlsHttpProtocol

QUIET_LOOKS = 4  # checks of a closed connection; between them the event loop passes on what it still has

READ_SECONDS = 20.0  # in which a client must receive READ_BYTES of pending data
READ_BYTES = 20_480
BYTES_ACKED = slice(120, 128)  # of Linux' struct tcp_info


# Called for connections without a complete request: the kind, the client's certificate, and the status sent.
Trouble = Callable[[str, bytes | None, int | None], None]


def unheard(kind: str, certificate: bytes | None, status: int | None) -> None:
    """For listeners whose connections are not recorded."""


class State(ServerState):
    """State shared by the connections of a listener."""

    leaving = False
    trouble: Trouble = staticmethod(unheard)


class Connection(TlsHttpProtocol):
    """uvicorn's protocol with an orderly end (RFC 9112 section 9.6)."""

    own: socket.socket | None = None
    when_lost: Callable[[], object] | None = None
    source: tuple[str, int] | None = None  # the client, where a proxy has named it
    _quiet = 0
    _refused_with: int | None = None  # status
    _told = False
    _reader: asyncio.TimerHandle | None = None  # when to check whether the client reads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is the one that the proxy names."""
        super().connection_made(transport)
        self.client = self.source or self.client

    def send_400_response(self, msg: str) -> None:
        """Input that is not HTTP, or too long."""
        super().send_400_response(msg)
        self._begun_in_vain("malformed-request", self._refused_with if self.closing else None)

    def refuse(self, status: int, text: str) -> None:
        """Respond in the form of the room that the request was for."""
        self._refused_with, reply = status, unreadable(self.target, status, text)
        fields = (("content-type", f"{reply.content_type}"), ("content-length", f"{len(reply.body)}"), *reply.headers)
        lines = [f"{name.decode()}: {value.decode()}\r\n" for name, value in self.server_state.default_headers]  # Date
        lines += [f"{name}: {value}\r\n" for name, value in (*fields, ("connection", "close"))]
        self.transport.write(STATUS_LINE[status] + "".join(lines).encode() + b"\r\n" + reply.body)
        self.transport.close()

    def _give_up(self) -> None:
        """A head that does not end."""
        if self.unasked:
            self._begun_in_vain("head-timeout")
        super()._give_up()

    def _begun_in_vain(self, kind: str, status: int | None = None) -> None:
        """Report the connection once, unless it was merely idle."""
        if not self._told and (status is not None or self._unfinished_bytes is not None):
            self._told = True
            self.server_state.trouble(kind, self._client_certificate, status)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end to whatever counts connections."""
        self._begun_in_vain("head-cut")
        super().connection_lost(exc)
        if self._reader:
            self._reader.cancel()
        if self.when_lost is not None:
            self.when_lost()

    def on_response_complete(self) -> None:
        """A response that is not read would be kept for ever."""
        super().on_response_complete()
        self._watch_reader()

    def pause_writing(self) -> None:
        """The same for a response that is still being generated."""
        super().pause_writing()
        self._watch_reader()

    def _watch_reader(self) -> None:
        if self._reader is None and self._unsent() > 0:
            self._reader = self.loop.call_later(READ_SECONDS, self._look_at_reader, self._taken())

    def _look_at_reader(self, before: int) -> None:
        self._reader = None
        if self._unsent() > 0 and self._taken() < before + READ_BYTES:
            self.transport.abort()
        else:
            self._watch_reader()

    def _taken(self) -> int:
        """Bytes that the client's machine has acknowledged so far; 0 where the kernel does not say."""
        if self.own is None or not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            info = self.own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        except OSError:
            return 0
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder)

    @property
    def unfinished(self) -> bool:
        """True while no complete request is being answered: the client has to act."""
        return self.unasked or bool(self.cycle.more_body)

    def on_headers_complete(self) -> None:
        """While the worker is leaving, each response is the last one on its connection."""
        super().on_headers_complete()
        if getattr(self.server_state, "leaving", False) and not self._wants_upgrade:
            self.leave()

    def leave(self) -> None:
        """Make the response to the current request the last one; to the newest, when several are pipelined."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    @property
    def closing(self) -> bool:
        """True once closed on our side; the client may still have to receive the rest, or to close TLS."""
        return self.transport.is_closing()

    @property
    def unasked(self) -> bool:
        """True while no request is being answered; one may have begun to arrive."""
        return self._answered

    @property
    def idle(self) -> bool:
        """True while no part of a request has arrived."""
        return self._idle

    def delivered(self) -> bool:
        """True when the client's machine has acknowledged everything for some time: call repeatedly."""
        self._quiet = self._quiet + 1 if self._unsent() == 0 else 0
        return self._quiet >= QUIET_LOOKS

    def _unsent(self) -> int:
        """Bytes in the kernel that the client's machine has not acknowledged."""
        try:
            descriptor = self.transport.get_extra_info("socket").fileno()
            (unsent,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        except (OSError, AttributeError, ValueError):  # closed meanwhile
            return 0
        return int(unsent)
