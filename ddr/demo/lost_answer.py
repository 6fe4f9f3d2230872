"""The fault `lost-answer`: the recorder exchanges a refresh token, and its answer does not arrive."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from ddr.http.asgi import ASGIApp, Receive, Scope, Send

NAME = "lost-answer"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
OK = 200


async def losing(app: ASGIApp, scope: Scope, receive: Receive, send: Send, claim: Callable[[], bool]) -> None:
    """Let `app` answer; when it has renewed a token and `claim` says that this is the one, nobody hears of it."""
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
        return  # an answer that is not whole: the server closes the connection
    for message in answer:
        await send(message)
