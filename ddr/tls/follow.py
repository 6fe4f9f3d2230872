"""Keeps a LiveContext in step with the certificate files and the allow list, without dropping a connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from ddr.tls.context import LiveContext, TlsError

LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)

Build = Callable[[], ssl.SSLContext]
Mark = Callable[[], object]


def files_mark(*paths: Path) -> tuple[tuple[int, int], ...]:
    """Changes when one of the files is replaced or written; a missing file counts as one state."""
    return tuple(_file_mark(path) for path in paths)


def _file_mark(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_ino, stat.st_mtime_ns)


async def follow(live: LiveContext, build: Build, mark: Mark, seen: object, look_seconds: float = LOOK_SECONDS) -> None:
    """Exchange the context whenever `mark()` differs from `seen`, the mark of the first one; until cancelled.

    A certificate that cannot be used is reported once and the former context stays in force.
    """
    while True:
        await asyncio.sleep(look_seconds)
        if (now := mark()) == seen:
            continue
        seen = now
        try:
            live.exchange(await asyncio.to_thread(build))
            log.info("tls.context_exchanged")
        except TlsError as error:
            log.error("tls.context_kept reason=%s", error)
