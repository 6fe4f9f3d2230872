"""The technical log on a pipe that nobody reads, or on a full disk: nothing waits for it, and losses are reported."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from ddr.cli.serving import unread
from ddr.cli.serving.log import JsonLines
from ddr.cli.serving.unread import PIECE, Unread
from tests.support.full_disk import full_after

HANGS_SECONDS = 60


def sockets() -> tuple[int, int]:
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


class Pipe:
    """A pipe as stderr, or a socket, and who reads it."""

    def __init__(self, ends: Callable[[], tuple[int, int]] = os.pipe) -> None:
        self.reader, writer = ends()
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

    def close(self) -> None:
        self.read()
        self.stream.close()
        os.close(self.reader)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


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


@pytest.mark.parametrize("ends", [os.pipe, sockets])
def test_lines_of_two_processes_do_not_mix(
    ends: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: one of more than 4 KiB, as with a traceback, was written in pieces."""
    made, takes, asked = Pipe(ends), unread._takes, list[int]()

    def beside(descriptor: int, patience_ms: int) -> bool:
        if asked:
            os.write(descriptor, b'{"event":"other"}\n')
        asked.append(descriptor)
        return takes(descriptor, patience_ms)

    monkeypatch.setattr(unread, "_takes", beside)
    made.log("long", text="x" * 3 * PIECE)
    made.log("short")
    assert told(made.read()) == [("long", None), ("other", None), ("short", None)]
    made.close()


def test_who_takes_the_room_meanwhile_is_not_waited_for(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def filled(descriptor: int, patience_ms: int) -> bool:
        pipe.fill()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(unread, "_takes", filled)
        pipe.log("lost")
    assert pipe.read() == []
    pipe.log("heard")
    assert told(pipe.read()) == [("log.lost", 1), ("heard", None)]


@pytest.mark.parametrize("ends", [os.pipe, sockets])
def test_what_is_told_of_a_lack_of_descriptors_needs_none(ends: Callable[[], tuple[int, int]]) -> None:
    made, (soft, hard) = Pipe(ends), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # of which all are taken
    try:
        made.log("heard")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told(made.read()) == [("heard", None)]
    made.close()


def test_what_a_full_disk_does_not_take_is_told_when_there_is_room(tmp_path: Path) -> None:
    """The line that was cut keeps nothing of itself back, and the next one is on a line of its own."""
    path = tmp_path / "serve.log"
    with path.open("a") as stream:
        handler = Unread(stream)
        handler.setFormatter(JsonLines())

        def log(event: str, **more: object) -> None:
            told = {"name": "ddr", "levelno": logging.INFO, "levelname": "INFO", "msg": event, **more}
            handler.handle(logging.makeLogRecord(told))

        log("before")
        with full_after(path, 100):
            log("cut", text="x" * 200)
            log("lost")
        log("after")
    before, cut, *rest = path.read_bytes().splitlines()
    assert told([before]) == [("before", None)] and len(cut) == 100
    assert told(rest) == [("log.lost", 2), ("after", None)]
