"""The outcome of each entry of a Bundle: an answer, or the Problem that refused this entry only."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from http import HTTPStatus
from typing import TypeVar

from ddr.aside import Breath
from ddr.gateway.door.answers import Answer
from ddr.gateway.door.entries import Entry
from ddr.gateway.problem import Problem

T = TypeVar("T")


class Attempts:
    """`answers` by the place of the entry. Create it on the event loop, to which it gives way during long Bundles."""

    def __init__(self, entries: Iterable[Entry | Problem]) -> None:
        self.answers: dict[int, Answer | Problem] = {
            i: entry for i, entry in enumerate(entries) if isinstance(entry, Problem)
        }
        self._breath = Breath()

    def unrefused(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Those that have not been refused so far."""
        return (entry for entry in entries if not isinstance(self.answers.get(entry.index), Problem))

    async def attempt(self, entry: Entry, work: Awaitable[T]) -> T | None:
        """The result of `work`, None when it raises Problem; this, or a result that is an answer, answers the entry."""
        await self._breath.take()
        try:
            done = await work
        except Problem as problem:
            if problem.status == HTTPStatus.UNAUTHORIZED:  # the account is gone, so nothing else can be accepted
                raise
            kept = problem.kept()
            self.answers[entry.index] = Answer(200, passed_over=[kept]) if kept.status == HTTPStatus.OK else kept
            return None
        if isinstance(done, Answer):
            self.answers[entry.index] = done
        return done
