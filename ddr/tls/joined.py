"""Writes the head of an answer together with the first part of its body: one TLS record, one system call."""

from __future__ import annotations

import asyncio
from typing import Any

LARGE_BYTES = 1_048_576  # of a body; larger ones are not copied for this


class JoinedWrites:
    """Takes the place of the transport in uvicorn's cycle of a request: the head waits for what is written after it.

    What is written before the answer (100 Continue) is sent at once, and so is the head of an answer without a body.
    """

    __slots__ = ("_begun", "_cycle", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport, cycle: Any) -> None:
        self._transport, self._cycle = transport, cycle
        self._head: bytes | None = None
        self._begun = cycle.scope["method"] == "HEAD"

    def write(self, data: bytes) -> None:
        """Send `data`, or, if it is a head, keep it for the next call."""
        if self._head is not None:
            head, self._head = self._head, None
            if len(data) > LARGE_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        elif not self._begun and self._cycle.response_started:
            self._begun, self._head = True, data
            return
        self._transport.write(data)

    def close(self) -> None:
        """Also send the head of an answer that is cut off."""
        if self._head is not None:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        """As the transport's."""
        return self._transport.is_closing()
