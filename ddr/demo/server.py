"""A small HTTPS server inside the running event loop, for stand-ins."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from ddr.demo.certs import Pair

GRACE_SECONDS = 3  # for active requests and connections that a browser keeps open


class PortTaken(Exception):
    """A stand-in cannot listen; the message says where and why."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process is not ours alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Any, pair: Pair, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve the ASGI `app` over TLS while the context lasts; yields the port. Raises PortTaken."""
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise PortTaken(f"stand-in: cannot bind {host}:{port}: {error.strerror}") from None
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ssl_certfile=str(pair.cert),
        ssl_keyfile=str(pair.key),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
