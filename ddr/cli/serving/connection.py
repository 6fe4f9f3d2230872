"""A connection of a listener that can leave: it answers what is asked, and can be told when it may be closed."""

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

QUIET_LOOKS = 4  # at a closed connection; between looks the event loop has passed on whatever it still had

READ_SECONDS = 20.0  # in which a client takes READ_BYTES of what is ready for it
READ_BYTES = 20_480
BYTES_ACKED = slice(120, 128)  # of Linux' struct tcp_info


# Told of what comes to no request: the kind, the client's certificate, and the status that was answered.
Trouble = Callable[[str, bytes | None, int | None], None]


def unheard(kind: str, certificate: bytes | None, status: int | None) -> None:
    """For a listener whose connections nobody asks about."""


class State(ServerState):
    """What the connections of a listener share."""

    leaving = False
    trouble: Trouble = staticmethod(unheard)


class Connection(TlsHttpProtocol):
    """uvicorn's protocol as we use it, with an end in good order (RFC 9112 section 9.6)."""

    own: socket.socket | None = None
    when_lost: Callable[[], object] | None = None
    source: tuple[str, int] | None = None  # the client, where a proxy has said who it is
    _quiet = 0
    _refused_with: int | None = None  # status
    _told = False
    _reader: asyncio.TimerHandle | None = None  # when to look whether the client reads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is whom the proxy names."""
        super().connection_made(transport)
        self.client = self.source or self.client

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, or too long."""
        super().send_400_response(msg)
        self._begun_in_vain("malformed-request", self._refused_with if self.closing else None)

    def refuse(self, status: int, text: str) -> None:
        """In the form of the room that was asked."""
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
        """Told once a connection, and not of one that is only idle."""
        if not self._told and (status is not None or self._unfinished_bytes is not None):
            self._told = True
            self.server_state.trouble(kind, self._client_certificate, status)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever counts connections."""
        self._begun_in_vain("head-cut")
        super().connection_lost(exc)
        if self._reader:
            self._reader.cancel()
        if self.when_lost is not None:
            self.when_lost()

    def on_response_complete(self) -> None:
        """An answer that is not read would be kept for ever."""
        super().on_response_complete()
        self._watch_reader()

    def pause_writing(self) -> None:
        """The same of one that is still being made."""
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
        """Bytes that the client's machine has confirmed so far; 0 where the kernel does not tell."""
        if self.own is None or not hasattr(socket, "TCP_INFO"):
            return 0
        try:
            info = self.own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED.stop)
        except OSError:
            return 0
        return int.from_bytes(info[BYTES_ACKED], sys.byteorder)

    @property
    def unfinished(self) -> bool:
        """True while no request is in hand that is there as a whole: its client has to do something."""
        return self.unasked or bool(self.cycle.more_body)

    def on_headers_complete(self) -> None:
        """While the worker leaves, each answer is the last one of its connection."""
        super().on_headers_complete()
        if getattr(self.server_state, "leaving", False) and not self._wants_upgrade:
            self.leave()

    def leave(self) -> None:
        """Let the answer to the request in hand be the last one; the newest, when several wait in line."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    @property
    def closing(self) -> bool:
        """True once it is closed on our side; the client may still have to get the rest, or to say goodbye."""
        return self.transport.is_closing()

    @property
    def unasked(self) -> bool:
        """True while no request is in hand; one may have begun to arrive."""
        return self._answered

    @property
    def idle(self) -> bool:
        """True while nothing has arrived of a request."""
        return self._idle

    def delivered(self) -> bool:
        """True when the client's machine has for some time had everything that was sent: look repeatedly."""
        self._quiet = self._quiet + 1 if self._unsent() == 0 else 0
        return self._quiet >= QUIET_LOOKS

    def _unsent(self) -> int:
        """Bytes that the kernel has and the client's machine has not confirmed."""
        try:
            descriptor = self.transport.get_extra_info("socket").fileno()
            (unsent,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        except (OSError, AttributeError, ValueError):  # closed meanwhile
            return 0
        return int(unsent)
