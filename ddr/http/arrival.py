"""Requests whose body has arrived: what stands between a listener and the rooms that read small bodies themselves."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from ddr.http.admission import Admission
from ddr.http.asgi import ASGIApp, Receive, Scope, Send, header
from ddr.http.bodies import Bodies
from ddr.http.body import BodyError, exceeds, pieces


async def arrived(scope: Scope, receive: Receive, bodies: Bodies, whose: object, limit: int) -> Receive:
    """Returns a `receive` that gives the body received so far; waits for no more than `limit` bytes.

    Faults of the body are found by its reader, who gets BodyError 408 and ClientGone from this, and for whom a body
    longer than `limit` is too long. A body that is declared too long is not waited for, so that a client that expects
    "100 Continue" gets the answer instead (RFC 9110 section 10.1.1). Raises NoTurn.
    """
    declared = header(scope, "content-length")
    if (declared in (None, "0") and header(scope, "transfer-encoding") is None) or exceeds(declared, limit):
        return receive
    found: list[MutableMapping[str, Any]] = []
    end: Exception | None = None
    with bodies.coming(whose) as body:
        try:
            async for piece in pieces(receive):
                body.grow(len(piece))
                found.append({"type": "http.request", "body": piece, "more_body": True})
                if body.size > limit:
                    break
            else:
                found[-1]["more_body"] = False
        except BodyError as error:
            end = error
    return _replayed(found, end, receive)


def _replayed(found: list[MutableMapping[str, Any]], end: Exception | None, receive: Receive) -> Receive:
    messages = iter(found)

    async def replay() -> MutableMapping[str, Any]:
        message = next(messages, None)
        if message is not None:
            return message
        if end is not None:
            raise end
        return await receive()

    return replay


def in_turn(app: ASGIApp, admission: Admission, room: str, whose: Callable[[Scope], object], limit: int) -> ASGIApp:
    """`app` for requests whose body of at most `limit` bytes has arrived and whose turn has come; else raises NoTurn.

    The turn ends when the answer begins: the answer is only sent as the client reads what came before, perhaps never.
    """
    bodies = Bodies()

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        caller = whose(scope)
        there = await arrived(scope, receive, bodies, caller, limit)
        async with admission.turn(room, caller) as turn:

            async def answering(message: MutableMapping[str, Any]) -> None:
                turn.over()
                await send(message)

            await app(scope, there, answering)

    return call
