"""GET /status for everybody: JSON, a page, or an Atom feed, by Accept or by path (OPS-007, OPS-008)."""

from __future__ import annotations

from collections.abc import Callable

from ddr.http.asgi import ANY_SITE, ASGIApp, Receive, Reply, Scope, Send, header, json_reply, problem, send_reply
from ddr.http.core import Core
from ddr.operations.status import atom, page
from ddr.operations.status.board import Board, Reader
from ddr.operations.status.feed import document, retracted, schema

PATH = "/status"
JSON, HTML, ATOM, SCHEMA = "application/json", "text/html", "application/atom+xml", "application/schema+json"
FIXED = {f"{PATH}.json": JSON, f"{PATH}.html": HTML, f"{PATH}.atom": ATOM}
SCHEMA_PATH = f"{PATH}.schema.json"
PATHS = (PATH, *FIXED, SCHEMA_PATH)


def create_status(core: Core) -> ASGIApp:
    """The feed as an application of its own; it depends on this worker only."""
    reader = Reader(core)

    async def status(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, await _answer(core, reader, scope))

    return status


async def _answer(core: Core, reader: Reader, scope: Scope) -> Reply:
    path = scope["path"].rstrip("/")
    if path not in PATHS:
        return problem(404, "Not found")
    if scope["method"] not in ("GET", "HEAD"):
        return problem(405, "Method not allowed", headers=(("allow", "GET, HEAD"),))
    if path == SCHEMA_PATH:
        return Reply(200, schema(), SCHEMA, ANY_SITE)
    kind = FIXED.get(path) or preferred(header(scope, "accept") or "")
    reply = _FORMS[kind](core, await reader.board(), scope)
    vary = "Accept, Accept-Language, Cookie" if kind == HTML else "Accept"
    return Reply(
        reply.status,
        reply.body,
        reply.content_type,
        (*((name, value) for name, value in reply.headers if name != "vary"), ("vary", vary)),
    )


def preferred(accept: str) -> str:
    """The form that the client prefers (RFC 9110 section 12.5.1); JSON without a preference, or when none is
    possible."""
    best, weight, exact = JSON, 0.0, 0
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = _quality(parameters)
        for kind in (JSON, HTML, ATOM):
            matches = 3 if name == kind else 2 if name == f"{kind.partition('/')[0]}/*" else 1 if name == "*/*" else 0
            if matches and (quality, matches) > (weight, exact):
                best, weight, exact = kind, quality, matches
    return best


def _quality(parameters: list[str]) -> float:
    try:
        return next((float(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    except ValueError:
        return 0.0


def _json(core: Core, board: Board, scope: Scope) -> Reply:
    return json_reply(document(core, board), headers=ANY_SITE)


def _atom(core: Core, board: Board, scope: Scope) -> Reply:
    written = atom.render(core, document(core, board), retracted(core, board))
    return Reply(200, written, f"{ATOM}; charset=utf-8", ANY_SITE)


_FORMS: dict[str, Callable[[Core, Board, Scope], Reply]] = {JSON: _json, HTML: page.reply, ATOM: _atom}
