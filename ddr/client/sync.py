"""The client for code without async: notebooks, scripts, frameworks with threads. An event loop runs in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from ddr.client.data import Series
from ddr.client.diga import Diga
from ddr.client.pairing import Pairing, Started
from ddr.client.pull import Cursor, Step
from ddr.client.recorder import Recorder
from ddr.client.tokens import FileTokens, Grant, PairingStore

T = TypeVar("T")


class Client:
    """A DiGA at a recorder, as a context manager; usable from several threads, and where an event loop runs. Raises
    RuntimeError when it is not open.

    `tokens` defaults to the folder `tokens` in the working directory. `patience`, `history` and `clock` are as for
    Recorder. Errors are those of the async methods.
    """

    def __init__(
        self,
        diga: Diga,
        tokens: PairingStore | None = None,
        patience: float = 120.0,
        history: timedelta | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._diga, self._tokens = diga, tokens or FileTokens(Path("tokens"))
        self._patience, self._history, self._clock = patience, history, clock
        self._work: set[asyncio.Task[Any] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # while it is open
        self._thread: threading.Thread
        self._pool: httpx.AsyncClient

    def open(self) -> Self:
        """Start; call `close` at the end, or use it as a context manager. Raises OSError, ssl.SSLError for files that
        cannot be used."""
        self._pool = self._diga.http()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ddr.client", daemon=True)
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop. Calls waiting in other threads are cancelled, but a refresh that was sent is waited for (seconds), and
        so is the redemption of a code (at most REDEEM_SECONDS)."""
        if (loop := self._loop) is None:
            return
        self._run(self._end(loop))
        self._loop = None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def start(self, mivs: Iterable[str], devices: bool = True) -> Started:
        """See Pairing.start."""
        return self._run(self._pairing().start(mivs, devices))

    def finish(self, started: Started, callback_url: str) -> Grant:
        """See Pairing.finish."""
        return self._run(self._pairing().finish(started, callback_url))

    def unpair(self, pairing_id: str) -> None:
        """See Pairing.unpair."""
        self._run(self._pairing().unpair(pairing_id))

    def pairings(self) -> list[str]:
        """The ids of all stored pairings."""
        return self._run(self._tokens.pairings())

    def steps(self, pairing_id: str, since: Cursor | None = None) -> Iterator[Step]:
        """See Recorder.steps: the changes page by page, each page with the cursor to store."""
        terms = (self._patience, self._history, self._clock)
        steps = Recorder(self._diga, self._http, self._tokens, pairing_id, *terms).steps(since)
        while (found := self._run(anext(steps, None))) is not None:
            yield found

    def series(self, pairing_id: str) -> Series:
        """All that the recorder has at present, except for `unshown` Observations."""
        found = Series()
        for step in self.steps(pairing_id):
            for change in step.changes:
                found.apply(change)
            found.unshown = step.unshown
        return found

    def _pairing(self) -> Pairing:
        return Pairing(self._diga, self._http, self._tokens)

    @property
    def _http(self) -> httpx.AsyncClient:
        self._opened()
        return self._pool

    def _opened(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the client is not open: use `with Client(…) as client:`, or call open first")
        return self._loop

    async def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = {one for one in self._work if one is not None and one is not asyncio.current_task()}
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await self._pool.aclose()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled when its caller is interrupted, as by Ctrl-C."""
        try:
            loop = self._opened()
        except RuntimeError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(self._kept(work), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _kept(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        self._work.add(task)
        try:
            return await work
        finally:
            self._work.discard(task)
