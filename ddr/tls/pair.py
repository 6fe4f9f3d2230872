"""The server's certificate and key that are in force: those of the files, unless these are worse than what they were.

What was good is kept in memory. So what is written into the files by mistake harms nobody: connections are answered as
before, allow lists are followed, and the next worker gets the same from the supervisor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from ddr.tls.context import TlsError, bare_context, public_context, unusable
from ddr.tls.server_certificate import first_of

RENEWAL_SECONDS = 2.0  # in which certificate and key are replaced, one after the other
AGAIN_SECONDS = 0.1
OPEN_FILES = Path("/proc/self/fd")

log = logging.getLogger(__name__)


class ServerPair(NamedTuple):
    """A certificate chain, the server's own certificate first, and its key, in PEM. They fit each other."""

    chain: bytes
    key: bytes

    def context(self) -> ssl.SSLContext:
        """A context with it that asks for no client certificate. Raises OSError for a lack of descriptors."""
        context = bare_context()
        with _as_file(self.chain) as chain, _as_file(self.key) as key:
            context.load_cert_chain(chain, key, password="")
        return context

    def fault(self, now: datetime) -> str:
        """Why no client would take it now; empty when some may."""
        return unusable(first_of(self.chain), now)


class PairFiles:
    """The pair that is in force, followed by `step`."""

    def __init__(self, cert: Path, key: Path, held: ServerPair | None = None) -> None:
        """`held`: what was in force before, of another process."""
        self._cert, self._key = cert, key
        self.held = held
        self._seen: object = None
        self._said = ""

    @property
    def pair(self) -> ServerPair:
        """What is in force, after `begin`."""
        assert self.held is not None
        return self.held

    async def begin(self) -> None:
        """Have a pair. Raises TlsError when the files have none for RENEWAL_SECONDS, and none was held."""
        loop = asyncio.get_running_loop()
        until = loop.time() + RENEWAL_SECONDS
        while True:
            try:
                await self.step()
                return
            except TlsError:
                if self.held is not None:
                    return
                if loop.time() > until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def step(self) -> None:
        """Look at the files once. Raises TlsError, which is logged when it is new, when what they have now cannot be
        used, or no client would take it while the former one is good: that stays in force, and the next step tries
        again, for what cannot be used now may be soon without looking any different."""
        if (now := files_mark(self._cert, self._key)) == self._seen:
            return
        try:
            self.held = await asyncio.to_thread(self._read)
        except TlsError as error:
            if str(error) != self._said and self.held is not None:
                log.error("tls.context_kept", extra={"reason": str(error)})
            self._said = str(error)
            raise
        self._seen, self._said = now, ""

    def _read(self) -> ServerPair:
        found, now = read_pair(self._cert, self._key), datetime.now(UTC)
        if (fault := found.fault(now)) and self.held is not None and not self.held.fault(now):
            raise TlsError(f"server certificate {self._cert}: {fault}")
        return found


def read_pair(cert: Path, key: Path) -> ServerPair:
    """What the files hold. Raises TlsError when it cannot be used."""
    public_context(cert, key)  # it says what is wrong
    try:
        found = ServerPair(cert.read_bytes(), key.read_bytes())
        found.context()
        first_of(found.chain)
    except ValueError:
        raise TlsError(f"server certificate {cert}: is not valid PEM") from None
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"server certificate {cert} with key {key}: {error.strerror or 'cannot be read'}") from None
    return found


def files_mark(*paths: Path) -> tuple[tuple[int, ...], ...]:
    """Changes when one of the files is replaced or written, or gets other rights; a missing one counts as one state."""
    return tuple(_file_mark(path) for path in paths)


def _file_mark(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to `content`, because OpenSSL is given files: in memory, where the system lets us; else for a moment."""
    with _in_memory() or tempfile.NamedTemporaryFile() as file:  # that one for the owner only
        file.write(content)
        file.flush()
        yield file.name if isinstance(file.name, str) else str(OPEN_FILES / str(file.name))


def _in_memory() -> IO[bytes] | None:
    """A file that is nowhere else, None where there is none, or none that has a path."""
    try:
        file = open(os.memfd_create("ddr"), "wb")  # noqa: SIM115 - closed by the caller
    except (AttributeError, OSError):
        return None
    if os.access(OPEN_FILES / str(file.fileno()), os.R_OK):
        return file
    file.close()
    return None
