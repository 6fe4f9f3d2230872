"""Keeps a LiveContext up to date with the server's certificate and the allow list, without dropping a connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from ddr.tls.context import LiveContext
from ddr.tls.sessions import forget_tickets

LOOK_SECONDS = 1.0
TICKETS_SECONDS = 86_400.0  # the lifetime of a key for session tickets: the outer context is never replaced

log = logging.getLogger(__name__)

Build = Callable[[], ssl.SSLContext]
Mark = Callable[[], object]


class Following:
    """The live context of a listener; `step` replaces it whenever its sources have changed."""

    def __init__(self, live: LiveContext, build: Build, mark: Mark, seen: object) -> None:
        """`seen` is the mark taken before the context of `live` was built."""
        self._live = live
        self._build, self._mark, self._seen = build, mark, seen
        self._tickets_since = time.monotonic()

    @classmethod
    async def begin(cls, build: Build, mark: Mark) -> Following:
        """Start with a first context."""
        seen = mark()
        return cls(LiveContext(await asyncio.to_thread(build)), build, mark, seen)

    @property
    def outer(self) -> ssl.SSLContext:
        """The context to listen with."""
        return self._live.outer

    async def step(self) -> None:
        """Check once. After an error the former context stays in force, and the next step tries again."""
        if time.monotonic() - self._tickets_since >= TICKETS_SECONDS:
            forget_tickets(self.outer)
            self._tickets_since = time.monotonic()
        if (now := self._mark()) == self._seen:
            return
        self._live.exchange(await asyncio.to_thread(self._build))
        self._seen = now
        log.info("tls.context_exchanged")
