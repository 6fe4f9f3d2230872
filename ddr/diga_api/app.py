"""The FHIR resource server below /fhir: routes each request to its interaction, turns every failure into an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ddr.call import refused
from ddr.diga_api.access import Gate
from ddr.diga_api.metadata import Metadata
from ddr.diga_api.operation import PATH as SUMMARY
from ddr.diga_api.operation import Summarizer
from ddr.diga_api.read import answer_read, answer_vread
from ddr.diga_api.request import Request, head_of, with_form
from ddr.diga_api.search import Searcher
from ddr.fhir.outcome import (
    FhirError,
    internal_error,
    maintenance,
    method_not_allowed,
    overloaded,
    recorder_has_left,
    unavailable,
    unknown_route,
)
from ddr.fhir.search.grammar import PARAMETERS
from ddr.http.arrival import arrived
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.bodies import Bodies
from ddr.http.body import ClientGone
from ddr.http.caller import caller
from ddr.http.core import Core
from ddr.http.exchange import Withheld
from ddr.http.guard import noted
from ddr.operations.maintenance import closure
from ddr.operations.status.functions import DATA
from ddr.operations.status.functions import SUMMARY as SUMMARY_FUNCTION
from ddr.scopes.decision import Interaction
from ddr.store.database.faults import OVERLOADED, UNAVAILABLE, Fault


def create_fhir(core: Core) -> ASGIApp:
    """The ASGI application for paths below /fhir. It is read only: whatever would write is refused."""
    server = _FhirServer(core)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reply = await server.reply(scope, receive)
        try:
            await send_reply(scope, send, reply)
        except Withheld:
            refused(UNAVAILABLE.code)  # whatever the answer would have been
            await send_reply(scope, send, head_of(scope).refusal(_failure(UNAVAILABLE)))

    return app


async def left_hddt(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application that replaces `create_fhir` in a recorder that has left HDDT."""
    await send_reply(scope, send, head_of(scope).refusal(recorder_has_left()))


class _FhirServer:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._gate = Gate(core)
        self._metadata = Metadata(core)
        self._searcher = Searcher(core, self._gate)
        self._summarizer = Summarizer(core, self._gate)
        self._bodies = Bodies()

    async def reply(self, scope: Scope, receive: Receive) -> Reply:
        """The reply to any request. Raises ClientGone when nobody waits for it any more."""
        request = head_of(scope)
        try:
            function = SUMMARY_FUNCTION if request.segments == ("Observation", SUMMARY) else DATA
            if request.segments != ("metadata",) and (closed := closure(self._core, function)):
                raise maintenance(*closed)
            if request.segments[0] == "metadata":  # public, made in advance, and without authentication
                return self._document(request)
            whose = caller(self._core, scope)
            there = await arrived(scope, receive, self._bodies, whose, self._core.settings.fhir_max_body_bytes)
            async with self._core.admission.turn("reading", whose):
                return await self._answer(scope, there, request)
        except ClientGone:
            raise
        except Exception as error:
            return _refusal(request, error)

    async def _answer(self, scope: Scope, receive: Receive, request: Request) -> Reply:
        match request.method, request.segments:
            case "GET", (resource_type,) if resource_type in PARAMETERS:
                return await self._search(scope, receive, request, resource_type)
            case "POST", (resource_type, "_search") if resource_type in PARAMETERS:
                return await self._search(scope, receive, request, resource_type)
            case "GET" | "POST", ("Observation", path) if path == SUMMARY:
                return await self._summarizer.answer(scope, receive, request)
            case "GET", (resource_type, name) if resource_type in PARAMETERS and name != "_search":
                return await answer_read(self._core, self._gate, scope, request)
            case "GET", (resource_type, _, "_history", _) if resource_type in PARAMETERS:
                return await answer_vread(self._core, self._gate, scope, request)
            case _:
                return await self._nothing(scope, request)

    def _document(self, request: Request) -> Reply:
        if request.segments != ("metadata",):
            raise unknown_route(request.path)
        return self._metadata.answer(_only(request, "GET"))

    async def _search(self, scope: Scope, receive: Receive, request: Request, resource_type: str) -> Reply:
        candidate = await self._gate.identify(scope, resource_type, resource_type, Interaction.SEARCH)
        if request.method == "POST":
            request = await with_form(request, scope, receive, self._core.settings.fhir_max_body_bytes)
        try:
            request.check_representation()
            return await self._searcher.answer(candidate, request)
        except ClientGone:
            raise
        except Exception as error:  # handled here, where it is known which representation a form asks for
            return _refusal(request, error)

    async def _nothing(self, scope: Scope, request: Request) -> Reply:
        """Only those who may use the server are told what it does not have."""
        await self._gate.identify(scope, request.path, "Observation", Interaction.READ)
        match request.segments:
            case (resource_type, *rest) if resource_type in PARAMETERS and (methods := _methods(resource_type, rest)):
                request.check_representation()
                raise method_not_allowed(methods)
            case _:
                raise unknown_route(request.path)


def _refusal(request: Request, error: Exception) -> Reply:
    """The error for a failed request."""
    return request.refusal(error if isinstance(error, FhirError) else _failure(noted(error)))


def _failure(fault: Fault | None) -> FhirError:
    if fault is None:
        return internal_error()
    if fault == OVERLOADED:
        return overloaded(fault.retry_seconds)
    return unavailable(fault.detail, fault.retry_seconds, fault.outage)


def _methods(resource_type: str, rest: Sequence[str]) -> list[str]:
    """The methods allowed at a path below a resource type; none at a path that does not exist."""
    match rest:
        case ["_search"]:
            return ["POST"]
        case [operation] if operation.startswith("$"):
            return ["GET", "HEAD", "POST"] if (resource_type, operation) == ("Observation", SUMMARY) else []
        case [] | [_] | [_, "_history", _]:
            return ["GET", "HEAD"]
        case _:
            return []


def _only(request: Request, method: str) -> Request:
    if request.method != method:
        request.check_representation()
        raise method_not_allowed([method, "HEAD"])
    return request
