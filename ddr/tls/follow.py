"""Keeps a LiveContext in step with the certificate files and the allow list, without dropping a connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from ddr.tls.context import LiveContext, TlsError

LOOK_SECONDS = 1.0
RENEWAL_SECONDS = 2.0  # in which certificate and key are replaced, one after the other
AGAIN_SECONDS = 0.1

log = logging.getLogger(__name__)

Build = Callable[[], ssl.SSLContext]
Mark = Callable[[], object]


def files_mark(*paths: Path) -> tuple[tuple[int, ...], ...]:
    """Changes when one of the files is replaced or written, or gets other rights; a missing one counts as one state."""
    return tuple(_file_mark(path) for path in paths)


def _file_mark(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


class Following:
    """The live context of a listener, exchanged by `step` whenever what it was built from has changed."""

    def __init__(self, live: LiveContext, build: Build, mark: Mark, seen: object) -> None:
        """`seen` is the mark from before the context of `live` was built."""
        self._live = live
        self._build, self._mark, self._seen = build, mark, seen
        self._said = ""

    @classmethod
    async def begin(cls, build: Build, mark: Mark) -> Following:
        """With a first context. Raises TlsError when there is none for RENEWAL_SECONDS."""
        loop = asyncio.get_running_loop()
        until = loop.time() + RENEWAL_SECONDS
        while True:
            seen = mark()
            try:
                return cls(LiveContext(await asyncio.to_thread(build)), build, mark, seen)
            except TlsError:
                if loop.time() > until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    @property
    def outer(self) -> ssl.SSLContext:
        """The context to listen with."""
        return self._live.outer

    async def step(self) -> None:
        """Look once. After an error (of which a TlsError is logged when it is new) the former context stays in force,
        and the next step tries again: what cannot be read now may be readable soon without looking any different."""
        if (now := self._mark()) == self._seen:
            return
        try:
            self._live.exchange(await asyncio.to_thread(self._build))
        except TlsError as error:
            if str(error) != self._said:
                log.error("tls.context_kept", extra={"reason": str(error)})
            self._said = str(error)
            raise
        self._seen, self._said = now, ""
        log.info("tls.context_exchanged")
