"""A connection of a listener that can leave: it answers what is asked, and can be told when it may be closed."""

from __future__ import annotations

import fcntl
import struct
import termios

from uvicorn.server import ServerState

from ddr.tls.protocol import TlsHttpProtocol

QUIET_LOOKS = 4  # at a closed connection; between looks the event loop has passed on whatever it still had


class State(ServerState):
    """What the connections of a listener share."""

    leaving = False


class Connection(TlsHttpProtocol):
    """uvicorn's protocol as we use it, with an end in good order (RFC 9112 section 9.6)."""

    _quiet = 0

    def on_headers_complete(self) -> None:
        """While the worker leaves, each answer is the last one of its connection."""
        super().on_headers_complete()
        if getattr(self.server_state, "leaving", False):
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
        return self.cycle is None or self.cycle.response_complete

    @property
    def idle(self) -> bool:
        """True while nothing has arrived of a request."""
        return self.unasked and self._unfinished_bytes is None

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
