"""The technical log: one JSON object per line on stderr, events with constant names, nothing about patients."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson

from ddr.cli.serving.condense import Condensed
from ddr.cli.serving.unread import Unread
from ddr.http.exchange import request_id
from ddr.reasons import kind_of
from ddr.settings_recorders import CHOSEN

NOT_CONNECTED = "database.not_connected"
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_FIELDS = re.compile(r"(\s+\w+=)?%\S+")  # ` name=%s` in a message's template


class JsonLines(logging.Formatter):
    """Formats a record as JSON. Of an exception only its type and locations are written, since its message may quote
    data.

    For the same reason only the first line of a message is used: asyncio describes the failed task in later ones. With
    several recorders each line names its recorder.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recorder = {"recorder": name} if (name := os.environ.get(CHOSEN)) else {}

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), **self._recorder, **fields(record)}
        if request := request_id():
            line["request_id"] = request
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The content of a line, without time and level."""
    found: dict[str, Any] = {"event": _FIELDS.sub("", str(record.msg).strip().partition("\n")[0]).strip()}
    if record.args:
        found["message"] = record.getMessage()
    found.update((key, value) for key, value in vars(record).items() if key not in _USUAL)
    if record.exc_info and record.exc_info[1]:
        found["exception"] = kind_of(record.exc_info[1])
        found["places"] = _places(record.exc_info[2])
    return found


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


def of_pool(record: logging.LogRecord) -> bool:
    """asyncpg's pool reports again and again, with a stack, that the database is unavailable: one event of ours
    instead."""
    if record.exc_info and record.exc_info[1] is not None:
        record.error, record.exc_info = kind_of(record.exc_info[1]), None
        record.msg, record.args = NOT_CONNECTED, ()
    return True


def for_commands() -> None:
    """Warnings and errors in the same form for a command, which has no log of its own: Python would print a bare name,
    or a stack."""
    if not logging.getLogger().handlers:
        logging.getLogger("asyncpg.pool").addFilter(of_pool)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.WARNING, handlers=[handler])


def configure() -> None:
    """Send the log of this process to stderr. Libraries log warnings and errors only; there is no access log."""
    logging.getLogger("asyncpg.pool").addFilter(of_pool)
    handler = Unread(sys.stderr)
    handler.setFormatter(JsonLines())
    condensed = Condensed(handler, fields)
    logging.basicConfig(level=logging.WARNING, handlers=[condensed], force=True)
    logging.getLogger("ddr").setLevel(logging.INFO)
    condensed.keep_ticking()
