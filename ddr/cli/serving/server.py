"""One listener of a worker: uvicorn's server with our protocol, and a shutdown that loses no request and waits for
nobody.

The shutdown, in order: no new connection is accepted; every request on an existing one is answered, with `Connection:
close`; idle connections are closed after a moment, in which a request that is under way can arrive; a closed connection
that has delivered everything is not waited for, even if its client does not close TLS.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn

from ddr.cli.serving.acceptor import Acceptor
from ddr.cli.serving.connection import Connection, State, Trouble, unheard
from ddr.cli.serving.crowd import Crowd
from ddr.http.address import Network
from ddr.http.asgi import ASGIApp

KEEP_ALIVE_SECONDS = 75  # a new mTLS connection costs as much as fifteen requests
IDLE_SECONDS = 1.0  # for which an idle connection stays open after the shutdown has begun
BEGUN_SECONDS = 3.0  # the same for an incomplete handshake or head
DRAIN_SECONDS = 20  # for requests being answered
TICK_SECONDS = 0.05

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Without uvicorn's signal handlers: the worker handles signals for all its listeners."""

    def __init__(
        self,
        config: uvicorn.Config,
        crowd: Crowd,
        burdened: Callable[[], bool],
        trouble: Trouble,
        proxies: Sequence[Network],
    ) -> None:
        super().__init__(config)
        self.crowd, self._burdened, self._trouble, self._proxies = crowd, burdened, trouble, proxies
        self.servers: list[asyncio.Server] = []
        self.state = self.server_state = State()
        self.state.trouble = trouble
        self._gone: list[asyncio.Task[None]] = []

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures no signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what the crowd allows, and start waiting for the end of the last handshake."""
        for one in sockets or []:
            acceptor = Acceptor(
                one, self.config.ssl, self._connection, self.crowd, self._burdened, self._trouble, self._proxies
            )
            self.servers.append(acceptor)  # type: ignore[arg-type]
        self.started = True
        self._gone = [asyncio.create_task(server.wait_closed()) for server in self.servers]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as described above, within DRAIN_SECONDS."""
        await asyncio.sleep(0)  # `wait_closed` must have started
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        self.state.leaving = True
        for connection in self._connections():
            connection.leave()
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (age := loop.time() - began) < DRAIN_SECONDS and not self._all_gone(age):
            for connection in self._connections():
                if connection.closing:
                    if connection.delivered():
                        connection.transport.abort()
                elif connection.unasked and age >= (IDLE_SECONDS if connection.idle else BEGUN_SECONDS):
                    connection.transport.close()
            await asyncio.sleep(TICK_SECONDS)
        await self._cut()

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.state, app_state={})

    def _connections(self) -> list[Connection]:
        return [one for one in self.state.connections if isinstance(one, Connection)]

    def _all_gone(self, age: float) -> bool:
        """No connection, no handshake that may still become one, and no work left over from a cut one."""
        handshakes = age < BEGUN_SECONDS and not all(task.done() for task in self._gone)
        return not (self.state.connections or self.state.tasks or handshakes)

    async def _cut(self) -> None:
        """Connections first: uvicorn would answer cancelled requests with a 500."""
        if self.state.tasks:
            log.error("serve.requests_cut", extra={"count": len(self.state.tasks)})
        for connection in self._connections():
            connection.transport.abort()
        for task in list(self.state.tasks):
            task.cancel(msg="the recorder ends")
        await asyncio.sleep(0)
        for waiting in self._gone:
            waiting.cancel()


def server_for(
    app: ASGIApp,
    context: ssl.SSLContext | None,
    part: float = 1.0,
    burdened: Callable[[], bool] = lambda: False,
    trouble: Trouble = unheard,
    proxies: Sequence[Network] = (),
) -> Server:
    """A uvicorn server for `app` with our limits and without its log; plain HTTP when there is no context.

    Its connections may take `part` of the descriptors of this process. `burdened`: it has more than other processes.
    `trouble` is called for connections without a complete request. `proxies` begin theirs with a PROXY protocol header.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    return Server(config, Crowd(part), burdened, trouble, proxies)
