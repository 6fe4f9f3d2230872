"""Every statement that the recorder executes in this process, and which function of it does."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any

from ddr.store.database import servers

PASSED = ("asyncpg", "ddr.call", "ddr.store.database.servers", "ddr.store.database.sweeping", "contextlib", __name__)

executed: dict[str, str] = {}  # text → `module.function` that executed it first; those of tests are not here
_new: list[str] = []


def capture() -> None:
    """Begin, once in a process."""
    room: Any = servers
    told = room.statement

    def statement(query: str) -> AbstractContextManager[None]:
        if query not in executed and (name := _who()):
            executed[query] = name
            _new.append(query)
        found: AbstractContextManager[None] = told(query)
        return found

    room.statement = statement


def taken() -> list[tuple[str, str]]:
    """Text and function of those that were executed for the first time since this was last asked."""
    found = [(query, executed[query]) for query in _new]
    _new.clear()
    return found


def _who() -> str:
    """Whose statement it is; empty for a test's."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(PASSED):
            return f"{module}.{frame.f_code.co_qualname}" if module.startswith("ddr.") else ""
        frame = frame.f_back  # type: ignore[assignment]
    return ""
