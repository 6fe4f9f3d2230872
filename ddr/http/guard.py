"""What surrounds every room: the answers of last resort, and headers that every answer must have."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ddr.call import refused
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.body import ClientGone
from ddr.http.exchange import Withheld
from ddr.ratelimit import LOAD, limited
from ddr.reasons import kind_of
from ddr.store.database.faults import OVERLOADED, UNAVAILABLE, Fault, fault_of

SELDOM_SECONDS = 1.0
OVER_SECONDS = 5.0  # a database that cannot write can still read

log = logging.getLogger(__name__)


class Outage:
    """The time during which requests of this process fail because the database cannot be used."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._last = 0.0
        self._count = 0

    def noted(self) -> None:
        """Note that another request has failed."""
        self._last = self._clock()
        if self._begun is None:
            self._begun = self._last
        self._count += 1

    def served(self) -> None:
        """The database has served a request: the outage is over, unless a request failed a moment ago."""
        now = self._clock()
        if self._begun is not None and now - self._last >= OVER_SECONDS:
            lasted = round(now - self._begun)
            log.info("http.available", extra={"seconds": lasted, "refused": self._count})
            self._begun, self._count = None, 0


OUTAGE = Outage()


class Seldom:
    """Something logged at most once a second: in a flood, logging each refusal would cost more than the refusal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def due(self) -> bool:
        """True when it is to be logged now."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + SELDOM_SECONDS
        return True


CROWD = Seldom()


def noted(error: Exception) -> Fault | None:
    """The environmental fault behind `error` (answer: 503), None for a fault of ours (500); logged.

    Every room uses this, so that all of them draw the same line.
    """
    fault = fault_of(error)
    refused("internal" if fault is None else fault.code)
    if fault is not None and fault.code == UNAVAILABLE.code:
        OUTAGE.noted()
    if fault is None:
        log.error("http.unhandled", exc_info=error)
    elif fault.code != OVERLOADED.code or CROWD.due():
        log.warning("http.unavailable", extra={"code": fault.code, "error": kind_of(error)})
    return fault


def of_load(fault: Fault) -> dict[str, str]:
    """The header by which clients learn how long overload lasts; empty for other faults."""
    return limited(LOAD, fault.retry_seconds) if fault == OVERLOADED else {}


def guarded(app: ASGIApp, last_resort: ASGIApp, unavailable: Callable[[Fault], ASGIApp]) -> ASGIApp:
    """`app`, but an exception that leaves it is answered by `unavailable` or `last_resort`, without details.

    A response that has begun but not ended is cut off, but for one that was Withheld: nothing of it has left. The log
    gets the exception's type and places.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        begun = ended = False

        async def watching(message: MutableMapping[str, Any]) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await app(scope, receive, watching)
        except ClientGone:
            return
        except Withheld:
            refused(UNAVAILABLE.code)  # whatever the answer would have been
            await unavailable(UNAVAILABLE)(scope, receive, send)
        except Exception as error:
            if ended:
                return
            fault = noted(error)
            if begun:
                raise
            await (last_resort if fault is None else unavailable(fault))(scope, receive, send)

    return call


class _Nothing(Response):
    """An empty response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


async def left_to_guard(request: Request, error: Exception) -> Response:
    """For Starlette's `exception_handlers[Exception]`: sends nothing and raises `error` again, for `guarded`.

    Without it, Starlette sends a plain-text page before anybody else sees the exception.
    """
    return _Nothing()


def constant(reply: Reply) -> ASGIApp:
    """An application that always sends this reply."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, reply)

    return call


def with_headers(app: ASGIApp, headers: Mapping[str, str]) -> ASGIApp:
    """`app` with `headers` (lowercase names) on each answer that does not set them itself."""
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(line for line in lines if line[0] not in present)]
            await send(message)

        await app(scope, receive, adding)

    return call


def by_path(rooms: Mapping[str, ASGIApp], otherwise: ASGIApp) -> ASGIApp:
    """Routes each request to the room with the longest path that is the request's path or a parent of it."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await _room(rooms, otherwise, scope["path"])(scope, receive, send)

    return call


def _room(rooms: Mapping[str, ASGIApp], otherwise: ASGIApp, path: str) -> ASGIApp:
    while path:
        if path in rooms:
            return rooms[path]
        path = path.rpartition("/")[0]
    return otherwise
