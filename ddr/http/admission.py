"""Admission control: how many requests a worker takes at once (HDDT operational-requirements.md; OPS-011, OPS-015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Admission:
    """Refuses requests beyond `most` at once with `refusal`, before queues grow; one per worker and listener."""

    def __init__(self, most: int, refusal: Callable[[], Exception]) -> None:
        self.most = most
        self.running = 0
        self._refusal = refusal

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """The time of one request. Raises the refusal."""
        if self.running >= self.most:
            raise self._refusal()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
