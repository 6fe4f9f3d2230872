"""What goes around every room."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import pytest

from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.body import ClientGone
from ddr.http.guard import by_path, constant, guarded, with_headers

SORRY = constant(Reply(500, b"sorry", "text/plain"))


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
        start, body = await called(guarded(failing(KeyError("secret")), SORRY))
    assert (start["status"], body["body"]) == (500, b"sorry")
    assert [record.msg for record in caplog.records] == ["http.unhandled"]


async def test_a_response_that_has_begun_is_cut_off() -> None:
    with pytest.raises(KeyError):
        await called(guarded(failing(KeyError(), START), SORRY))


async def test_a_response_that_has_ended_stays() -> None:
    assert await called(guarded(failing(KeyError(), START, BODY), SORRY)) == [START, BODY]


async def test_nobody_is_answered_who_has_gone() -> None:
    assert await called(guarded(failing(ClientGone()), SORRY)) == []


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
