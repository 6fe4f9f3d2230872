"""Accepts connections on one listening socket, up to its crowd's limit, and waits for no handshake for long."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence

from ddr.cli.serving.connection import Connection, Trouble, unheard
from ddr.cli.serving.crowd import Crowd, Guest
from ddr.cli.serving.proxy_header import NoHeader, read_source
from ddr.http.address import Network, among
from ddr.reasons import in_words
from ddr.tls.alerts import FAILURES

YIELD_SECONDS = 0.01  # head start for the other workers when this one has more connections
HANDSHAKE_SECONDS = 10.0
GOODBYE_SECONDS = 5.0  # for the client's TLS close, and to receive what was sent before
PAUSE_SECONDS = 0.2  # when descriptors have run out
NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

log = logging.getLogger(__name__)


class Acceptor:
    """The interface that uvicorn expects of a server: `close` it, then `wait_closed` for unfinished handshakes."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext | None,
        make: Callable[[], Connection],
        crowd: Crowd,
        burdened: Callable[[], bool] = lambda: False,
        trouble: Trouble = unheard,
        proxies: Sequence[Network] = (),
    ) -> None:
        """`burdened` is true while this worker has more connections than another one; `trouble` is called for
        connections that are not admitted. Peers in `proxies` must first say for whom they connect (PROXY protocol);
        nobody else may."""
        self._trouble, self._proxies = trouble, proxies
        self._burdened, self._yielded = burdened, False
        self._listening, self._context, self._make, self._crowd = listening, context, make, crowd
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        listening.setblocking(False)
        self._begin()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket."""
        return (self._listening,)

    def close(self) -> None:
        """Stop accepting."""
        if not self._closed.is_set():
            self._closed.set()
            self._loop.remove_reader(self._listening.fileno())

    async def wait_closed(self) -> None:
        """Wait until it is closed and no handshake is in progress."""
        await self._closed.wait()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _begin(self) -> None:
        if not self._closed.is_set():
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _pause(self, seconds: float) -> None:
        """Stop for a while: the socket stays readable, so it is checked again later."""
        self._loop.remove_reader(self._listening.fileno())
        self._loop.call_later(seconds, self._begin)

    def _accept(self) -> None:
        """Accept one connection. Accepting all at once would give a burst of clients, and their connections, to one
        worker."""
        if self._burdened() and not self._yielded:
            self._yielded = True
            self._pause(YIELD_SECONDS)
            return
        self._yielded = False
        try:
            own, address = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another worker was faster
            return
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:  # otherwise the loop would report the waiting connection without end
                log.warning("serve.not_accepted", extra={"reason": in_words(error)})
                self._crowd.make_room()
                self._pause(PAUSE_SECONDS)
            return
        own.setblocking(False)
        guest = Guest(own, str(address[0]) if isinstance(address, tuple) else "")
        if not self._crowd.enter(guest):
            self._trouble("too-many-connections", None, None)
            own.close()
            return
        task = self._loop.create_task(self._welcome(guest))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _welcome(self, guest: Guest) -> None:
        limits = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": GOODBYE_SECONDS}
        welcome = False
        failures: list[ssl.SSLError] = []
        FAILURES.set(failures)  # in the context of this task alone
        try:
            guest.connection = connection = self._make()
            connection.own = guest.socket
            connection.when_lost = lambda: self._crowd.leave(guest)
            if self._proxies and among(guest.address, self._proxies):
                await self._introduced(guest, connection)
            await self._loop.connect_accepted_socket(
                lambda: connection, guest.socket, ssl=self._context, **(limits if self._context else {})
            )
            welcome = True
        except (OSError, TimeoutError, ssl.SSLError, NoHeader, MemoryError, asyncio.CancelledError) as error:
            self._trouble(_kind(failures[0] if failures else error), None, None)
        finally:
            if not welcome:  # after any failure: otherwise the client waits without end, and keeps its place
                self._crowd.leave(guest)
                guest.socket.close()

    async def _introduced(self, guest: Guest, connection: Connection) -> None:
        """Read from the proxy who the guest is. Raises NoHeader, also after a timeout, and OSError."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                source = await read_source(guest.socket)
        except TimeoutError:
            raise NoHeader from None
        if source is not None:
            connection.source = source
            self._crowd.know(guest, source[0])


def _kind(error: BaseException) -> str:
    """Why the handshake failed, as the request log names it. asyncio reports a timeout as a lost connection."""
    if isinstance(error, NoHeader):
        return "proxy-header"
    if isinstance(error, MemoryError):  # TLS takes about 300 KB for each
        return "too-many-connections"
    if isinstance(error, TimeoutError) or "taking longer" in str(error):
        return "tls-timeout"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return "tls-refused"
    return "tls-cut"
