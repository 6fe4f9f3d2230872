"""Every statement that the recorder executes in this process, with the function that does, and whether for a
request."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from ddr.call import CURRENT
from ddr.store.database import servers

PASSED = (
    "asyncpg",
    "ddr.call",
    "ddr.store.database.servers",
    "ddr.store.database.several",
    "ddr.store.database.sweeping",
    "ddr.store.database.together",
    "contextlib",
    __name__,
)


class Executed(NamedTuple):
    """A statement and the `module.function` that executes it; for a task of its own this is the event loop's."""

    query: str
    name: str
    on_request: bool


executed: set[Executed] = set()  # without those of tests
_new: list[Executed] = []


def capture() -> None:
    """Start capturing, once per process."""
    room: Any = servers
    connection: Any = servers.ServerConnection
    told = room.statement

    def statement(query: str) -> AbstractContextManager[None]:
        _note(query)
        found: AbstractContextManager[None] = told(query)
        return found

    def cursor(self: Any, query: str, *args: Any, **options: Any) -> Any:
        _note(query)
        return super(connection, self).cursor(query, *args, **options)

    def copy_records_to_table(self: Any, table_name: str, **options: Any) -> Any:
        _note(f"COPY {table_name} FROM STDIN")
        return super(connection, self).copy_records_to_table(table_name, **options)

    room.statement = statement
    connection.cursor, connection.copy_records_to_table = cursor, copy_records_to_table


def taken() -> list[Executed]:
    """The statements executed for the first time since the last call."""
    found = _new.copy()
    _new.clear()
    return found


def _note(query: str) -> None:
    name, on_request = _who(), CURRENT.get() is not None
    if name.startswith("ddr.") or (name and on_request):
        found = Executed(query, name, on_request)
        if found not in executed:
            executed.add(found)
            _new.append(found)


def _who() -> str:
    """The function that executes a statement; empty for a test."""
    frame = sys._getframe(3)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(PASSED):
            return "" if module.startswith("tests") else f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
