"""How each room reports that a request failed: through a fault of ours (500), or of something that the recorder needs
(503). Also how it reports that a request could not even be parsed.

Each pair is for `ddr.http.guard.guarded`. Nothing reveals what happened inside.
"""

from __future__ import annotations

import re

from ddr.fhir.negotiation import Format
from ddr.fhir.outages import HEADER, MEMBER, SYSTEM
from ddr.fhir.outcome import FhirError, malformed, outcome
from ddr.http import asgi
from ddr.http.asgi import ASGIApp, Headers, Receive, Reply, Scope, Send, header, json_reply, problem
from ddr.http.guard import constant, of_load
from ddr.http.pages import error_page
from ddr.ratelimit import lowercase
from ddr.store.database.faults import OVERLOADED, Fault

FAILED = "The request could not be processed"
NO_STORE = (*asgi.NO_STORE, ("pragma", "no-cache"))  # RFC 6749 section 5.1
AUTHORIZE = "/oauth/authorize"
_ROOM = re.compile(rb"(?:https?://[^/]*)?/+(fhir|oauth|gateway)(?![^/?])")  # of the target of a request


def _later(fault: Fault) -> Headers:
    return (("retry-after", str(fault.retry_seconds)), (HEADER.lower(), fault.outage), *lowercase(of_load(fault)))


def _fhir_unavailable(fault: Fault) -> ASGIApp:
    code = "throttled" if fault == OVERLOADED else "transient"
    content = outcome("error", code, fault.detail, fault.outage, details_system=SYSTEM)
    return constant(json_reply(content, 503, _later(fault), Format.JSON.content_type))


def _oauth_unavailable(fault: Fault) -> ASGIApp:
    """The JSON of RFC 6749 section 5.2; a page for a browser on its way to the consent."""
    content = {"error": "temporarily_unavailable", "error_description": fault.detail, MEMBER: fault.outage}
    told, page = constant(json_reply(content, 503, (*_later(fault), *NO_STORE))), _page_unavailable(fault)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        browser = scope["path"] == AUTHORIZE and "text/html" in (header(scope, "accept") or "")
        await (page if browser else told)(scope, receive, send)

    return answer


def _problem_unavailable(fault: Fault) -> ASGIApp:
    return constant(problem(503, "Service unavailable", fault.detail, _later(fault), {MEMBER: fault.outage}))


def _page_unavailable(fault: Fault) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        later = {"Retry-After": str(fault.retry_seconds), HEADER: str(fault.outage), **of_load(fault)}
        await error_page(scope, 503, "store_unavailable", later)(scope, receive, send)

    return answer


async def _page_failed(scope: Scope, receive: Receive, send: Send) -> None:
    await error_page(scope, 500, "failed")(scope, receive, send)


def unreadable(target: bytes, status: int, text: str) -> Reply:
    """The answer to what is not HTTP, or too long, in the format of the room that `target` names (RS-031, AS-032)."""
    room = _ROOM.match(target)
    match room and room[1]:
        case b"fhir":
            error = malformed(text) if status == 400 else FhirError(status, "too-long", text)
            return json_reply(error.resource(), status, asgi.NO_STORE, Format.JSON.content_type)
        case b"oauth":
            return json_reply({"error": "invalid_request", "error_description": text}, status, NO_STORE)
        case b"gateway":
            return problem(status, "The request cannot be read", text, asgi.NO_STORE)
        case _:
            return Reply(status, text.encode(), "text/plain; charset=utf-8", asgi.NO_STORE)


FHIR = (
    constant(json_reply(outcome("error", "exception", FAILED), 500, content_type=Format.JSON.content_type)),
    _fhir_unavailable,
)
OAUTH = (
    constant(json_reply({"error": "server_error", "error_description": FAILED}, 500, NO_STORE)),
    _oauth_unavailable,
)
PROBLEM = (constant(problem(500, FAILED)), _problem_unavailable)
PAGE = (_page_failed, _page_unavailable)
