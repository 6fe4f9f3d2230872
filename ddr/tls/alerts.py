"""A refused handshake that says why: the alert of RFC 8446 section 6.2 reaches the client before the connection ends.

asyncio and uvloop drop the connection as soon as a handshake fails, together with the alert that OpenSSL has already
put into the outgoing buffer: a client without a certificate would only see the end of the stream.
"""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from typing import Any

# Set by whoever starts a handshake: receives its failure, even if the client closes before the event loop is told.
FAILURES: ContextVar[list[ssl.SSLError]] = ContextVar("FAILURES")


class AlertingObject(ssl.SSLObject):
    """Reports a failed handshake once as one that needs more data, so that the event loop sends what is pending.

    The failure itself is raised with the next data, unless the client closes or the time for handshakes is over.
    """

    outgoing: ssl.MemoryBIO
    failures: list[ssl.SSLError]
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Raise SSLWantReadError while the alert is being sent, SSLError after that."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if not self.outgoing.pending:  # nothing to send: HTTP without TLS, for instance
                raise
            self._failure = error
            self.failures.append(error)
            raise ssl.SSLWantReadError from error


class AlertingContext(ssl.SSLContext):
    """A context with handshakes of AlertingObject."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        """As in SSLContext; the object also gets the buffer in which its alerts wait, and the list for its failure."""
        found = super().wrap_bio(incoming, outgoing, *args, **options)
        assert isinstance(found, AlertingObject)
        found.outgoing, found.failures = outgoing, FAILURES.get([])
        return found


def alerting_context() -> ssl.SSLContext:
    """A context for servers."""
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = AlertingObject
    return context
