"""Ensures that concurrent requests are batched, however slow the machine: the first waits for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from ddr.store.database.together import Line

SECONDS = 60  # until the others are given up


@contextmanager
def company(others: int, of: str = "") -> Iterator[None]:
    """In the block, the first request begins its statement only when this many wait behind it in its line.

    `of`: a text in the statement of the line concerned.
    """
    go, awaited = Line._first, True

    async def first(line: Line[Any, Any], item: Any, turn: Any) -> Any:
        nonlocal awaited
        if awaited and of in line._way.text:
            awaited = False
            async with asyncio.timeout(SECONDS):
                while len(line._waiting) < others:  # noqa: ASYNC110, of the code under test, which has no event for it
                    await asyncio.sleep(0.001)
        return await go(line, item, turn)

    with patch.object(Line, "_first", first):
        yield
