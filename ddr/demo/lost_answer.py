"""The fault `lost-answer`: the recorder rotates a refresh token, and its response is lost."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from ddr.http.asgi import ASGIApp, Receive, Scope, Send

NAME = "lost-answer"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
OK = 200


async def losing(app: ASGIApp, scope: Scope, receive: Receive, send: Send, claim: Callable[[], bool]) -> None:
    """Let `app` respond; when it has rotated a token and `claim` selects this response, discard it."""
    body, answer = bytearray(), list[MutableMapping[str, Any]]()

    async def listen() -> MutableMapping[str, Any]:
        message = await receive()
        body.extend(message.get("body", b""))
        return message

    async def keep(message: MutableMapping[str, Any]) -> None:
        answer.append(message)

    await app(scope, listen, keep)
    renewed = b"grant_type=refresh_token" in body and any(one.get("status") == OK for one in answer)
    if renewed and claim():
        await send({"type": "http.response.start", "status": OK, "headers": [(b"content-length", b"1")]})
        return  # an incomplete response: the server closes the connection
    for message in answer:
        await send(message)
