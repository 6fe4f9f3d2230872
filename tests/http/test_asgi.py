"""Reading requests and sending replies."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from ddr.http import asgi


def scope(method: str = "GET", query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> dict[str, Any]:
    return {"method": method, "query_string": query, "headers": list(headers)}


async def sent(reply: asgi.Reply, method: str = "GET") -> list[MutableMapping[str, Any]]:
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    await asgi.send_reply(scope(method), send, reply)
    return messages


def test_headers_are_found_and_joined() -> None:
    request = scope(headers=((b"accept", b"a"), (b"x-one", b"1"), (b"accept", b"b")))
    assert asgi.header(request, "accept") == "a"
    assert asgi.header(request, "absent") is None
    assert asgi.header_values(request, "accept") == ["a", "b"]
    assert asgi.headers(request) == {"accept": "a, b", "x-one": "1"}


def test_query_keeps_order_repeats_and_empty_values() -> None:
    pairs = asgi.query_pairs(scope(query=b"code=a%7Cb&code=c+d&date="))
    assert pairs == [("code", "a|b"), ("code", "c d"), ("date", "")]


async def test_a_reply_has_type_and_length() -> None:
    start, body = await sent(asgi.json_reply({"a": 1}, 201, (("x-one", "1"),)))
    assert start["status"] == 201
    assert dict(start["headers"]) == {b"x-one": b"1", b"content-type": b"application/json", b"content-length": b"7"}
    assert body["body"] == b'{"a":1}'


async def test_head_sends_the_length_but_not_the_body() -> None:
    start, body = await sent(asgi.problem(404, "Not found"), "HEAD")
    assert int(dict(start["headers"])[b"content-length"]) > 20
    assert body["body"] == b""


async def test_no_content_has_no_length() -> None:
    start, _ = await sent(asgi.Reply(204))
    assert start["headers"] == []


@pytest.mark.parametrize("detail", [None, "why"])
def test_problems_are_rfc_9457(detail: str | None) -> None:
    reply = asgi.problem(400, "Bad", detail)
    assert reply.content_type == "application/problem+json"
    assert (b"detail" in reply.body) == (detail is not None)
