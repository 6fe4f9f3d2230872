"""Writes the technical log, and never waits for its reader: a reader that hangs must not stop the recorder.

Lines that it does not take are counted, and the next line that it takes reports them. Pipes and sockets, behind which
there is a collector or a container runtime, have room for some dozens of lines; files take everything until their disk
is full.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
from typing import TextIO

PATIENCE_MS = 50  # for a reader that has taken everything so far: it may be slow for a moment
PIECE = select.PIPE_BUF  # bytes that a pipe takes at once, if it takes any
LOST = "log.lost"


class Unread(logging.StreamHandler[TextIO]):
    """The lines of this process, on a stream that may be a file, a pipe or a socket."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0
        self._cut = False  # the last line is incomplete

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line if there is room."""
        try:
            descriptor = self.stream.fileno()
            os.fstat(descriptor)
        except (OSError, ValueError, AttributeError):  # there is no stream
            super().emit(record)
            return
        try:
            if self._lost and self._write(descriptor, self.format(_warning(self._lost))):
                self._lost = 0
            if self._lost or not self._write(descriptor, self.format(record)):
                self._lost += 1
        except Exception:
            self.handleError(record)

    def _write(self, descriptor: int, line: str) -> bool:
        """False when it was not written completely."""
        content = b"\n" * self._cut + line.encode(errors="backslashreplace") + b"\n"
        begun, patience = False, 0 if self._lost else PATIENCE_MS
        while content and _takes(descriptor, patience):
            try:
                content = content[_taken(descriptor, content) :]
            except OSError:  # no room, or nobody reads any more
                break
            begun = True
        if begun:
            self._cut = bool(content)
        return not content


def _takes(descriptor: int, patience_ms: int) -> bool:
    """Whether a write would not block, now or within this time; a write that fails does not block, either."""
    asked = select.poll()
    asked.register(descriptor, select.POLLOUT)
    return bool(asked.poll(patience_ms))


def _taken(descriptor: int, content: bytes) -> int:
    """The number of bytes written: all at once where there is room, so that lines of several processes do not mix.

    Raises BlockingIOError when another process has taken the room meanwhile, OSError when the disk is full. The
    non-blocking flag would apply to all that share the pipe or socket: so the pipe is opened anew, and for a socket the
    flag goes with each message.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.write(descriptor, content)
    if stat.S_ISSOCK(mode):
        same = socket.socket(fileno=descriptor)
        try:
            return same.send(content, socket.MSG_DONTWAIT)
        finally:
            same.detach()
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK) if stat.S_ISFIFO(mode) else None
    except OSError:  # of another account, not Linux, or no descriptor left
        own = None
    if own is None:
        return os.write(descriptor, content[:PIECE])
    try:
        return os.write(own, content)
    finally:
        os.close(own)


def _warning(lost: int) -> logging.LogRecord:
    """The record that says how many records were lost."""
    told = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": LOST, "count": lost}
    return logging.makeLogRecord(told)
