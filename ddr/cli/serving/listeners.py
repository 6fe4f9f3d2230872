"""The listeners of one worker: uvicorn servers in one event loop, with TLS contexts that follow their sources."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Never

from ddr.cli.serving.connection import unheard
from ddr.cli.serving.crowd import PARTS
from ddr.cli.serving.server import Server, server_for
from ddr.http.address import networks
from ddr.http.asgi import ASGIApp
from ddr.http.core import Core
from ddr.http.jobs import Step
from ddr.http.request_log.logged import trouble
from ddr.tls.context import with_clients
from ddr.tls.follow import LOOK_SECONDS, Build, Following, Mark
from ddr.tls.pair import PairFiles, ServerPair

INTERFACE = ("diga", "public")  # the listeners whose connections are in the request log


class Listeners:
    """All listeners of a worker, from their start to the end of the last request."""

    def __init__(self, core: Core, apps: Mapping[str, ASGIApp], held: ServerPair | None = None) -> None:
        """`held`: the certificate and key to use while those in the files are invalid."""
        self._core, self._apps = core, apps
        self._files = PairFiles(core.settings.server_cert, core.settings.server_key, held)
        self._following: list[asyncio.Task[Never]] = []
        self._serving: dict[Server, asyncio.Task[None]] = {}

    async def start(self, sockets: Mapping[str, socket.socket]) -> None:
        """Start accepting connections. Raises TlsError."""
        contexts = await self._contexts()
        self._core.fleet.connections = lambda: sum(len(server.crowd) for server in self._serving)
        proxies = networks(self._core.settings.proxy_protocol_from)
        for name, one in sockets.items():
            server = server_for(
                self._apps[name],
                contexts.get(name),
                PARTS.get(name, 1.0),
                self._core.fleet.burdened,
                trouble(self._core, name) if name in INTERFACE else unheard,
                proxies if name in contexts else (),  # the admin listener is local
            )
            self._serving[server] = asyncio.create_task(server.serve([one]))
        while not all(server.started for server in self._serving):  # noqa: ASYNC110 - uvicorn has no event for this
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Stop accepting, and let all connections end (`ddr.cli.serving.server`)."""
        for server in self._serving:
            server.should_exit = True
        await asyncio.gather(*self._serving.values())
        for task in self._following:
            task.cancel()

    async def _contexts(self) -> dict[str, ssl.SSLContext]:
        """The outer context of each TLS listener. Behind a proxy none requests a client certificate."""
        settings, files = self._core.settings, self._files
        await files.begin()
        self._core.fleet.certificate = lambda: files.pair.chain
        self._keep("files", files.step)

        def for_diga() -> ssl.SSLContext:
            return with_clients(files.pair.context(), ssl.CERT_REQUIRED, self._core.registry.certificates())

        def for_gateways() -> ssl.SSLContext:
            return with_clients(files.pair.context(), ssl.CERT_OPTIONAL, self._core.bridges.certificates)

        everybody = await self._live("public", lambda: files.pair.context(), lambda: files.pair)
        if settings.client_cert_header:
            return {"diga": everybody, "public": everybody, "gateway": everybody}
        diga = await self._live("diga", for_diga, lambda: (files.pair, frozenset(self._core.registry.certificates())))
        gateway = await self._live("gateway", for_gateways, lambda: (files.pair, self._core.bridges.certificates))
        return {"diga": diga, "public": everybody, "gateway": gateway}

    async def _live(self, name: str, build: Build, mark: Mark) -> ssl.SSLContext:
        """The outer context around the result of `build`, which is called again whenever `mark` changes."""
        following = await Following.begin(build, mark)
        self._keep(name, following.step)
        return following.outer

    def _keep(self, name: str, step: Step) -> None:
        self._following.append(asyncio.create_task(self._core.jobs.keep(f"tls-{name}", step, LOOK_SECONDS)))
