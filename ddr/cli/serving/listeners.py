"""The listeners of one worker: uvicorn servers in one event loop, TLS contexts that follow what they depend on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from ddr.http.asgi import ASGIApp
from ddr.http.core import Core
from ddr.tls.context import LiveContext, diga_context, gateway_context, public_context
from ddr.tls.follow import Build, Mark, files_mark, follow
from ddr.tls.protocol import TlsHttpProtocol

KEEP_ALIVE_SECONDS = 75  # a new mTLS connection costs fifteen times a request
DRAIN_SECONDS = 20


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the worker handles signals for all its listeners."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_for(app: ASGIApp, context: ssl.SSLContext | None) -> _Server:
    """A uvicorn server for `app` with our limits and without its log; plain HTTP when there is no context."""
    config = uvicorn.Config(
        app,
        http=TlsHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    return _Server(config)


class Listeners:
    """All listeners of a worker, from start to the end of the last request."""

    def __init__(self, core: Core, apps: Mapping[str, ASGIApp]) -> None:
        self._core, self._apps = core, apps
        self._following: list[asyncio.Task[None]] = []
        self._serving: dict[_Server, asyncio.Task[None]] = {}

    async def start(self, sockets: Mapping[str, socket.socket]) -> None:
        """Begin to accept connections. Raises TlsError."""
        contexts = await self._contexts()
        for name, one in sockets.items():
            server = server_for(self._apps[name], contexts.get(name))
            self._serving[server] = asyncio.create_task(server.serve([one]))
        while not all(server.started for server in self._serving):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Accept nothing more and wait for the requests in hand, at most DRAIN_SECONDS."""
        for server in self._serving:
            server.should_exit = True
        await asyncio.gather(*self._serving.values())
        for task in self._following:
            task.cancel()

    async def _contexts(self) -> dict[str, ssl.SSLContext]:
        """The outer context of each TLS listener. Behind a proxy none asks for a client certificate."""
        settings = self._core.settings
        files = (settings.server_cert, settings.server_key)

        def for_diga() -> ssl.SSLContext:
            return diga_context(*files, self._core.registry.certificates())

        def for_gateways() -> ssl.SSLContext:
            return gateway_context(*files, self._core.bridges.certificates)

        def for_all() -> ssl.SSLContext:
            return public_context(*files)

        everybody = await self._live(for_all, lambda: files_mark(*files))
        if settings.client_cert_header:
            return {"diga": everybody, "public": everybody, "gateway": everybody}
        diga = await self._live(for_diga, lambda: (files_mark(*files), frozenset(self._core.registry.certificates())))
        gateway = await self._live(for_gateways, lambda: (files_mark(*files), self._core.bridges.certificates))
        return {"diga": diga, "public": everybody, "gateway": gateway}

    async def _live(self, build: Build, mark: Mark) -> ssl.SSLContext:
        """The outer context of what `build` makes, made again whenever `mark` changes."""
        seen = mark()
        live = LiveContext(await asyncio.to_thread(build))
        self._following.append(asyncio.create_task(follow(live, build, mark, seen)))
        return live.outer
