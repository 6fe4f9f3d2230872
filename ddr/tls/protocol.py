"""uvicorn's HTTP protocol, with the client certificate in the scope (which uvicorn itself does not support yet)."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ddr.tls.joined import JoinedWrites
from ddr.tls.peer import LOST, with_certificate

# uvicorn itself would accept a head of any length, and wait for it as long as the client likes.
HEAD_BYTES = 65_536  # longest request line with all header fields, and trailers
FIELD_BYTES = 32  # that a field counts beside name and value (RFC 9113 section 6.5.2): short ones take memory, too
AHEAD = 32  # requests that are kept while an earlier one is being answered: short ones cost the client next to nothing
HEAD_SECONDS = 30.0  # from its first byte, or from the handshake
LINGER_SECONDS = 30.0  # for the rest of a body whose answer was sent before it was complete
_LINE = re.compile(rb"(?:^|\n)[A-Z]+ ([^ \r\n]*)")  # of a request, up to the end of its target
_ENCODE = ". Blanks and what is no ASCII must be percent-encoded in the target"
_HOST = re.compile(rb"[0-9A-Za-z._~%!$&'()*+;=:\[\]-]*")  # uri-host [":" port] of RFC 9110, except the comma


class Unreadable(Exception):
    """Raised into the parser, which then ends; has the answer to send before the connection ends."""

    status = 400
    text = "The request cannot be read"


class TargetTooLong(Unreadable):
    """RFC 9112 section 3."""

    status = 414
    text = f"The target of the request is longer than {HEAD_BYTES} bytes; send what is long in the body of a POST"


class HeadTooLong(Unreadable):
    """RFC 6585 section 5."""

    status = 431
    text = f"The head of the request is longer than {HEAD_BYTES} bytes"


class VersionUnknown(Unreadable):
    """No rule of RFC 9112 says how to parse 0.9, which is also a line without a version, and 2.0, which the parser
    accepts."""

    text = f"{Unreadable.text}: Invalid HTTP version"


class HostUnclear(Unreadable):
    """RFC 9112 section 3.2."""

    text = "The request must name one Host"


class CodingUnknown(Unreadable):
    """RFC 9112 section 6.1."""

    text = "The only Transfer-Encoding is chunked"


class NoTunnel(Unreadable):
    """RFC 9110 section 9.3.6: what follows would be the tunnel's, and a proxy before us may take it for a body."""

    text = "There is nothing to CONNECT to"


class TooFarAhead(Unreadable):
    """Earlier requests are answered, this one is not."""


class TlsHttpProtocol(HttpToolsProtocol):
    """Reads the certificate once per connection and puts it into the scope of each request; limits size and time of the
    head."""

    _client_certificate: bytes | None = None
    _lost = False
    _worked_on: RequestResponseCycle | None = None  # uvicorn knows the newest one, which may still wait in line
    _deadline: asyncio.TimerHandle | None = None  # until a head must be complete, or the rest of an answered body read
    _deaf = False  # nothing more is read, because an invalid request followed one that is not answered yet
    # These limit a head and trailers, because a single field that never ends causes no callback of the parser.
    _head_bytes = 0  # of the complete fields
    _unfinished_bytes: int | None = None  # received since the head began; None outside of a head
    _trailing_bytes: int | None = None  # received since the length of a chunk: trailers, if it is the last one
    _boundary_within = False  # in the piece being read, a message ended or a chunk began: not all of it counts
    # For a request for another protocol, which is parsed once more as one for this protocol:
    _piece = b""  # what was just received, while it is parsed
    _wants_upgrade = False  # the parsed head asks for another protocol
    _reread: bytes | None = None  # the request without that wish, and what followed its head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the certificate verified in the handshake."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        self._client_certificate = connection.getpeercert(binary_form=True) if connection else None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and stop preparing an answer that nobody can receive."""
        self._lost = True
        self._head_is_over()
        if (own := self._worked_on) is not None and not own.response_complete:
            own.disconnected = True
            own.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._worked_on = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """Add the certificate to the new scope."""
        super().on_message_begin()
        self._head_bytes = self._unfinished_bytes = 0
        self._await_head()
        with_certificate(self.scope, self._client_certificate)  # type: ignore[arg-type]
        self.scope["extensions"][LOST] = lambda: self._lost  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse a piece, and check the limits of what it belongs to.

        Any data ends uvicorn's keep-alive timeout. When it is not a request (an empty line, the rest of an answered
        body), the wait for a request starts anew.
        """
        if self._deaf:
            return
        self._boundary_within, self._piece = False, data
        super().data_received(data)
        self._piece = b""
        if (request := self._reread) is not None:
            self._reread = None
            self.data_received(request)
            return
        if self.transport.is_closing():
            return
        if not self._boundary_within:
            self._unfinished_bytes = self._longer(self._unfinished_bytes, data)
            self._trailing_bytes = self._longer(self._trailing_bytes, data)
        if self._idle and self._deadline is None and self.timeout_keep_alive_task is None:
            self._await_head()

    def _longer(self, received: int | None, data: bytes) -> int | None:
        """`received` plus the length of `data`; None stays None. Refuses what is too long."""
        if received is None:
            return None
        if received + len(data) > HEAD_BYTES:
            self.send_400_response(HeadTooLong.text)
        return received + len(data)

    def send_400_response(self, msg: str) -> None:
        """Earlier requests are answered first (RFC 9112 section 9.3.2); otherwise the client would take this for their
        answer. After that, the connection ends."""
        if self.pipeline and self.cycle.more_body:  # one waiting in line with an invalid body; it is never processed
            self.pipeline.popleft()
            self._unfinished_bytes = 0
            if before := self.pipeline[0][0] if self.pipeline else self._worked_on:
                self.cycle = before
        if self._answered or self.cycle.more_body:
            self.refuse(*_refusal_of(sys.exception()))
        else:
            self._deaf, self.cycle.keep_alive = True, False

    def refuse(self, status: int, text: str) -> None:
        """Send this answer, and end the connection."""
        super().send_400_response(text)

    @property
    def target(self) -> bytes:
        """The target of the request being read, as far as known: the parser says nothing of one that it refuses."""
        if self.url:
            return self.url
        lines: list[bytes] = _LINE.findall(self._piece)
        return lines[-1] if lines else self._piece  # its method was in an earlier piece

    def on_url(self, url: bytes) -> None:
        """Count a part of the target."""
        self._count(len(url), TargetTooLong)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field. A trailer must not be taken for a header field (RFC 9110 section 6.5.1), and no trailers are
        used. The parser keeps blanks after a value, which do not belong to it (section 5.5)."""
        self._count(len(name) + len(value) + FIELD_BYTES)
        if self._unfinished_bytes is not None:
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """The body follows, which the rooms limit."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise NoTunnel
            self._wants_upgrade = True
            return
        self._check_head()
        if len(self.pipeline) >= AHEAD:
            raise TooFarAhead
        # HTTP/1.0 takes the first response for the final one (RFC 9110 section 10.1.1).
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False
        self._unfinished_bytes = None
        self._head_is_over()
        before = self.cycle
        super().on_headers_complete()
        if (cycle := self.cycle) is not before:
            cycle.transport = JoinedWrites(self.transport, cycle)  # type: ignore[assignment]

    def _check_head(self) -> None:
        """Raises Unreadable for a head that a proxy before us may interpret differently."""
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise VersionUnknown
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts) or not all(map(_HOST.fullmatch, hosts)):
            raise HostUnclear
        # A body must not be read as if an unknown coding had been decoded: only chunked is supported.
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            raise CodingUnknown

    def on_chunk_header(self) -> None:
        """Either trailers or the content of the chunk follow."""
        self._trailing_bytes, self._boundary_within = 0, True

    def on_body(self, body: bytes) -> None:
        """This was not the last chunk."""
        self._trailing_bytes = None
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; for one that was answered before, the wait for its rest is over."""
        if self._wants_upgrade:  # the parser does not read its body for us
            return
        self._trailing_bytes, self._boundary_within = None, True
        if self.cycle.response_complete:
            self._head_is_over()
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Other protocols are not supported, so continue with this one (RFC 9110 section 7.8): the request is parsed
        once more without its wish. Otherwise its body would be lost, or taken for the next request."""
        upgrade = sys.exception()
        if self._wants_upgrade and isinstance(upgrade, httptools.HttpParserUpgrade):
            self._wants_upgrade = False
            line = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
            fields = [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)  # the former parser stops where the connection shall end
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            # Not parsed here, so that a refusal is not reported as caused by this exception.
            self._reread = b"\r\n".join([line, *fields, b"", self._piece[upgrade.args[0] :]])

    def on_response_complete(self) -> None:
        """Limit the time for reading the rest of a body."""
        if self.cycle.response_complete and self.cycle.more_body:
            self._head_is_over()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        super().on_response_complete()

    def _await_head(self) -> None:
        self._head_is_over()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_is_over(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    @property
    def _answered(self) -> bool:
        """Whether no request waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def _idle(self) -> bool:
        """Whether, in addition, no request has begun."""
        return self._answered and self._unfinished_bytes is None

    def _give_up(self) -> None:
        """Idle connections must not use up the descriptors; an answer to an earlier request may still be under way."""
        if self._answered:
            self.transport.close()
        else:
            self._await_head()

    def _count(self, length: int, too_long: type[Unreadable] = HeadTooLong) -> None:
        self._head_bytes += length
        if self._head_bytes > HEAD_BYTES:
            raise too_long


def _refusal_of(error: BaseException | None) -> tuple[int, str]:
    """Status and text for what the parser or one of our callbacks refused; without an error, for an endless head."""
    if error is None:
        return HeadTooLong.status, HeadTooLong.text
    if isinstance(error, httptools.HttpParserCallbackError):
        ours = error.__context__ if isinstance(error.__context__, Unreadable) else Unreadable()
        return ours.status, ours.text
    in_target = isinstance(error, httptools.HttpParserInvalidURLError) or f"{error}".startswith("Expected HTTP/")
    return Unreadable.status, f"{Unreadable.text}: {error}{_ENCODE if in_target else ''}"
