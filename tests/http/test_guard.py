"""The layer around every room."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.body import ClientGone
from ddr.http.guard import by_path, constant, guarded, left_to_guard, with_headers
from ddr.store.database.faults import Fault, PoolBusy

SORRY = constant(Reply(500, b"sorry", "text/plain"))


def later(fault: Fault) -> ASGIApp:
    """The room's 503."""
    return constant(Reply(503, fault.code.encode(), "text/plain", (("retry-after", str(fault.retry_seconds)),)))


async def called(app: ASGIApp, path: str = "/") -> list[MutableMapping[str, Any]]:
    """The messages that `app` sends."""
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return messages


def failing(error: Exception, *before: MutableMapping[str, Any]) -> ASGIApp:
    """An application that sends some messages and then fails."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        raise error

    return app


START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


async def test_an_unexpected_exception_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        start, body = await called(guarded(failing(KeyError("secret")), SORRY, later))
    assert (start["status"], body["body"]) == (500, b"sorry")
    assert [record.msg for record in caplog.records] == ["http.unhandled"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PoolBusy(), b"overloaded"),
        (MemoryError(), b"overloaded"),
        (TimeoutError(), b"unavailable"),
        (ConnectionResetError(), b"unavailable"),
        (asyncpg.InternalClientError("cut"), b"unavailable"),
        (asyncpg.ConnectionDoesNotExistError("cut"), b"unavailable"),
        (asyncpg.AdminShutdownError("restart"), b"unavailable"),
        (asyncpg.CannotConnectNowError("starting"), b"unavailable"),
        (asyncpg.ReadOnlySQLTransactionError("standby"), b"unavailable"),
        (asyncpg.DiskFullError("full"), b"unavailable"),
        (asyncpg.exceptions.InvalidCachedStatementError("column"), b"unavailable"),
        (asyncpg.LockNotAvailableError("locked"), b"busy"),
        (asyncpg.DeadlockDetectedError("locked"), b"busy"),
        (RuntimeError("can't start new thread"), b"unavailable"),
        (RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"), b"unavailable"),
    ],
)
async def test_a_fault_of_the_world_is_not_ours(error: Exception, code: bytes) -> None:
    start, body = await called(guarded(failing(error), SORRY, later))
    assert (start["status"], body["body"]) == (503, code)
    assert int(dict(start["headers"])[b"retry-after"]) > 0


@pytest.mark.parametrize("error", [asyncpg.UndefinedTableError("x"), asyncpg.exceptions.DataError("x"), ValueError()])
async def test_a_fault_of_ours_is(error: Exception) -> None:
    start, _ = await called(guarded(failing(error), SORRY, later))
    assert start["status"] == 500


async def test_starlette_leaves_the_answer_to_the_guard() -> None:
    def broken(request: Request) -> None:
        raise TimeoutError

    app = Starlette(routes=[Route("/", broken)], exception_handlers={Exception: left_to_guard})
    start, body = await called(guarded(app, SORRY, later))
    assert (start["status"], body["body"]) == (503, b"unavailable")


async def test_a_response_that_has_begun_is_cut_off() -> None:
    with pytest.raises(KeyError):
        await called(guarded(failing(KeyError(), START), SORRY, later))


async def test_a_response_that_has_ended_stays() -> None:
    assert await called(guarded(failing(KeyError(), START, BODY), SORRY, later)) == [START, BODY]


async def test_nobody_is_answered_who_has_gone() -> None:
    assert await called(guarded(failing(ClientGone()), SORRY, later)) == []


async def test_headers_are_added_unless_the_room_sets_them() -> None:
    room = constant(Reply(200, headers=(("Cache-Control", "public"),)))
    start, _ = await called(with_headers(room, {"cache-control": "no-store", "x-one": "1"}))
    assert dict(start["headers"]) == {b"Cache-Control": b"public", b"x-one": b"1", b"content-length": b"0"}


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("/fhir", b"fhir"),
        ("/fhir/Device/1", b"fhir"),
        ("/fhir/metadata", b"metadata"),
        ("/fhirx", b"other"),
        ("/", b"other"),
        ("", b"other"),
    ],
)
async def test_the_longest_path_decides(path: str, room: bytes) -> None:
    def answering(name: bytes) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send_reply(scope, send, Reply(200, name))

        return app

    rooms = {"/fhir": answering(b"fhir"), "/fhir/metadata": answering(b"metadata")}
    _, body = await called(by_path(rooms, answering(b"other")), path)
    assert body["body"] == room
