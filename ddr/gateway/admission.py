"""How many requests a worker takes at once, and how far the gateway's clock is off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from ddr.gateway.problem import Problem
from ddr.http.asgi import Headers, Scope, header
from ddr.series.reading import instant_ms


class Admission:
    """Refuses requests beyond `most` at once, before queues grow; one per worker."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.running = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """The time of one request. Raises Problem 503 with Retry-After."""
        if self.running >= self.most:
            raise Problem(503, "overloaded", "Too many requests at once", headers=(("retry-after", "2"),))
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


def clock_skew(scope: Scope, now_ms: int) -> Headers:
    """The header Clock-Skew: by how many seconds the gateway is ahead, by its header Date or Sent-At; else nothing."""
    sent = instant_ms(header(scope, "sent-at"))
    if sent is None:
        try:
            sent = int(parsedate_to_datetime(header(scope, "date") or "").timestamp() * 1000)
        except (ValueError, TypeError, OverflowError):
            return ()
    return (("clock-skew", str(round((sent - now_ms) / 1000))),)
