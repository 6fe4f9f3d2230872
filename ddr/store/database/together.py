"""Natural batching (group commit): what is asked while a statement of its kind runs forms the next one together.

When no statement is running, a request runs at once and alone, so light load pays nothing; nobody waits for company.
What cannot be done together, or failed because of another item, is done one by one, as if there were no batching. Each
pool, and so each worker, has its own lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ddr.call import statement
from ddr.store.database.faults import BUSY, CHANGED, fault_of
from ddr.store.database.pool import Connection, Pool
from ddr.store.database.spreading import is_spread

MOST = 64  # in one statement
PATIENCE_SECONDS = 0.1  # for one that runs alone and may wait for a lock; then the others go on without it

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Way(Generic[Item, Result]):
    """How one kind of statement is run. Items for which `together` returns None run alone, as if they were new.

    `text` is the statement for one item. Items with the same `key` run one at a time, in order; None: any number at
    once. At most `most` run together.
    """

    text: str
    alone: Callable[[Connection, Item], Awaitable[Result]]
    together: Callable[[Connection, Sequence[Item]], Awaitable[Sequence[Result | None]]]
    key: Callable[[Item], Hashable | None] = lambda item: None
    most: int = MOST


Forsaken = Callable[[Result], Coroutine[Any, Any, None]]
"""What becomes of a result for which nobody waits any more; raises nothing."""


async def ask(conn: Connection, way: Way[Item, Result], item: Item, forsaken: Forsaken[Result] | None = None) -> Result:
    """The result of the statement for `item`. Raises what it raises. On a connection instead of a pool it runs alone,
    and also where each patient may be on another server.

    Cancelling one caller does not cancel a statement in which others take part.
    """
    if not isinstance(conn, Pool) or is_spread(conn):
        return await way.alone(conn, item)
    line: Line[Item, Result] | None = conn.lines.get(way)
    if line is None:
        line = conn.lines[way] = Line(conn, way)
    return await line.ask(item, forsaken)


class _Turn:
    """The right to run, and the duty to say when it is over."""

    __slots__ = ()


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    done: asyncio.Future[Result | _Turn | None]  # a turn: run first; None: run alone, beside others
    forsaken: Forsaken[Result] | None


class Line(Generic[Item, Result]):
    """The statements of one kind over one pool."""

    def __init__(self, pool: Connection, way: Way[Item, Result]) -> None:
        self._pool = pool
        self._way = way
        self._waiting: list[_Waiting[Item, Result]] = []
        self._under_way: _Turn | None = None
        self._aside: set[asyncio.Task[None]] = set()

    async def ask(self, item: Item, forsaken: Forsaken[Result] | None = None) -> Result:
        """As the function `ask`."""
        if self._under_way is None:
            self._under_way = turn = _Turn()
            return await self._first(item, turn)
        with statement(self._way.text):
            found = await self._of_several(item, forsaken)
        if isinstance(found, _Turn):
            return await self._first(item, found)
        return await self._way.alone(self._pool, item) if found is None else found

    async def _first(self, item: Item, turn: _Turn) -> Result:
        late = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._next, turn)
        try:
            return await self._way.alone(self._pool, item)
        finally:
            late.cancel()
            self._next(turn)

    async def _of_several(self, item: Item, forsaken: Forsaken[Result] | None) -> Result | _Turn | None:
        done: asyncio.Future[Result | _Turn | None] = asyncio.get_running_loop().create_future()
        one = _Waiting(item, done, forsaken)
        self._waiting.append(one)
        try:
            return await done
        except asyncio.CancelledError:
            if not done.cancelled() and not done.exception():  # the result came at that very moment
                self._leave(one, done.result())
            raise

    def _next(self, turn: _Turn) -> None:
        """The statement with this turn is over, or takes too long: those who wait are next."""
        if self._under_way is not turn:
            return
        now = self._taken()
        self._under_way = next_turn = _Turn() if now else None
        if next_turn is not None and len(now) == 1:
            now[0].done.set_result(next_turn)
        elif next_turn is not None:
            self._do(self._go(now, next_turn))

    def _taken(self) -> list[_Waiting[Item, Result]]:
        """The items that run together now; the others keep waiting, in order."""
        now: list[_Waiting[Item, Result]] = []
        later: list[_Waiting[Item, Result]] = []
        keys: set[Hashable] = set()
        for one in self._waiting:
            if one.done.done():
                continue  # cancelled
            key = self._way.key(one.item)
            (later if len(now) >= self._way.most or key in keys else now).append(one)
            if key is not None:
                keys.add(key)
        self._waiting = later
        return now

    async def _go(self, now: Sequence[_Waiting[Item, Result]], turn: _Turn) -> None:
        found: Sequence[Result | None] = [None] * len(now)
        failure: BaseException | None = None
        try:
            found = await self._way.together(self._pool, [one.item for one in now])
        except Exception as error:
            failure = error if fault_of(error) not in (None, BUSY, CHANGED) else None  # else one item may be the cause
        except BaseException as error:
            failure = error
            raise
        finally:
            self._next(turn)
            for one, result in zip(now, found, strict=True):
                if one.done.done():
                    self._leave(one, result)
                elif isinstance(failure, Exception):
                    one.done.set_exception(failure)
                elif failure is not None:
                    one.done.cancel()
                else:
                    one.done.set_result(result)

    def _leave(self, one: _Waiting[Item, Result], found: Result | _Turn | None) -> None:
        """Pass on what was `found` for a caller that no longer waits: the turn, or the result to its `forsaken`."""
        if isinstance(found, _Turn):
            self._next(found)
        elif found is not None and one.forsaken is not None:
            self._do(one.forsaken(found))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background, outside of any request."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
