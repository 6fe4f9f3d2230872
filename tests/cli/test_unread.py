"""The technical log on a pipe that nobody reads: nobody waits for it, and what was lost is told."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Iterator

import orjson
import pytest

from ddr.cli.serving.log import JsonLines
from ddr.cli.serving.unread import PIECE, Unread

HANGS_SECONDS = 60


class Pipe:
    """A pipe as stderr, and who reads it."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.stream = os.fdopen(writer, "w")
        self.handler = Unread(self.stream)
        self.handler.setFormatter(JsonLines())

    def fill(self) -> None:
        """Until there is no room."""
        size = fcntl.fcntl(self.reader, fcntl.F_GETPIPE_SZ)
        os.write(self.stream.fileno(), (b"." * (PIECE - 1) + b"\n") * (size // PIECE))

    def read(self) -> list[bytes]:
        """The lines that are there, but for those that filled it."""
        content = b""
        try:
            while piece := os.read(self.reader, 65_536):
                content += piece
        except BlockingIOError:
            pass
        return [line for line in content.splitlines() if line.strip(b".")]

    def log(self, event: str, **more: object) -> None:
        """Log a line; it would hang in a thread, not here."""
        told = {"name": "ddr", "levelno": logging.INFO, "levelname": "INFO", "msg": event, **more}
        record = logging.makeLogRecord(told)
        writing = threading.Thread(target=self.handler.handle, args=[record], daemon=True)
        writing.start()
        writing.join(HANGS_SECONDS)
        assert not writing.is_alive(), "it waits for the reader"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.read()
    made.stream.close()
    os.close(made.reader)


def told(lines: list[bytes]) -> list[tuple[str, int | None]]:
    return [(line["event"], line.get("count")) for line in map(orjson.loads, lines)]


def test_lines_are_written(pipe: Pipe) -> None:
    pipe.log("one")
    pipe.log("two", text="ü" * 3 * PIECE)
    assert told(pipe.read()) == [("one", None), ("two", None)]


def test_a_reader_that_hangs_is_not_waited_for(pipe: Pipe) -> None:
    pipe.fill()
    pipe.log("lost")
    pipe.log("lost too")
    assert pipe.read() == []
    pipe.log("heard")
    pipe.log("heard too")
    assert told(pipe.read()) == [("log.lost", 2), ("heard", None), ("heard too", None)]


def test_a_line_for_whose_end_there_is_no_room_is_cut(pipe: Pipe) -> None:
    pipe.fill()
    os.read(pipe.reader, PIECE)
    pipe.log("long", text="x" * 3 * PIECE)
    cut, *none = pipe.read()
    assert cut.endswith(b"xxx") and len(cut) == PIECE and none == []
    pipe.log("heard")
    assert told(pipe.read()[-2:]) == [("log.lost", 1), ("heard", None)]
