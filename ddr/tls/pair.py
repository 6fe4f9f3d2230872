"""The server's certificate and key in force: those of the files, unless these are worse than the former ones.

A good pair is kept in memory. So a mistake in the files does no harm: connections are still served, allow lists are
followed, and the next worker gets the good pair from the supervisor.
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

RENEWAL_SECONDS = 2.0  # within which certificate and key are replaced, one after the other
AGAIN_SECONDS = 0.1
OPEN_FILES = Path("/proc/self/fd")

log = logging.getLogger(__name__)


class ServerPair(NamedTuple):
    """A certificate chain, beginning with the server's own certificate, and its key, in PEM. They belong together."""

    chain: bytes
    key: bytes

    def context(self) -> ssl.SSLContext:
        """A context with this pair that asks for no client certificate. Raises OSError for a lack of descriptors."""
        context = bare_context()
        with _as_file(self.chain) as chain, _as_file(self.key) as key:
            context.load_cert_chain(chain, key, password="")
        return context

    def fault(self, now: datetime) -> str:
        """Why no client would accept it now; empty when some may."""
        return unusable(first_of(self.chain), now)


class PairFiles:
    """The pair in force, kept up to date by `step`."""

    def __init__(self, cert: Path, key: Path, held: ServerPair | None = None) -> None:
        """`held`: the pair that was in force before, in another process."""
        self._cert, self._key = cert, key
        self.held = held
        self._seen: object = None
        self._said = ""

    @property
    def pair(self) -> ServerPair:
        """The pair in force, after `begin`."""
        assert self.held is not None
        return self.held

    async def begin(self) -> None:
        """Load a pair. Raises TlsError when the files have none for RENEWAL_SECONDS and none was held."""
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
        """Check the files once. Raises TlsError, which is logged when it is new, if their content cannot be used, or if
        no client would accept it while the former pair is good. Then the former pair stays in force and the next step
        tries again, because unusable content may become usable without looking any different."""
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
    """The pair in the files. Raises TlsError when it cannot be used."""
    public_context(cert, key)  # says what is wrong
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
    """Changes when one of the files is replaced or written, or its rights change; a missing one counts as one state."""
    return tuple(_file_mark(path) for path in paths)


def _file_mark(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to `content`, as OpenSSL only reads files: in memory if the system supports it, else for a moment."""
    with _in_memory() or tempfile.NamedTemporaryFile() as file:  # the latter is for the owner only
        file.write(content)
        file.flush()
        yield file.name if isinstance(file.name, str) else str(OPEN_FILES / str(file.name))


def _in_memory() -> IO[bytes] | None:
    """A file that exists only in memory; None if that is not supported, or gives no path."""
    try:
        file = open(os.memfd_create("ddr"), "wb")  # noqa: SIM115 - closed by the caller
    except (AttributeError, OSError):
        return None
    if os.access(OPEN_FILES / str(file.fileno()), os.R_OK):
        return file
    file.close()
    return None
