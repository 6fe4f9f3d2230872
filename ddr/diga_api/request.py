"""One FHIR request as the interactions see it, and the replies that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ddr.call import refused_unless_told
from ddr.fhir.bounds import TooMuch
from ddr.fhir.negotiation import Format, check_content_type, error_format, negotiate, wants_pretty
from ddr.fhir.outcome import FhirError, body_refused, echo, malformed, too_much
from ddr.fhir.representation import parse, render
from ddr.fhir.search.grammar import REPRESENTATION
from ddr.fhir.search.parsing import MOST_VALUES, flat_json
from ddr.fhir.strict_json import NotJson, read
from ddr.http.asgi import Receive, Reply, Scope, headers, query_pairs
from ddr.http.body import BodyError, read_body
from ddr.http.exchange import answered_error, request_id

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """Method, path segments below /fhir, header fields by lower-case name, and the parameters of query and form."""

    method: str
    segments: tuple[str, ...]
    headers: Mapping[str, str]
    parameters: Pairs

    @property
    def path(self) -> str:
        """The path below /fhir, in the form of a reference to a resource."""
        return "/".join(self.segments)

    def search_parameters(self) -> Pairs:
        """The parameters that belong to a search or an operation."""
        return [(name, value) for name, value in self.parameters if name not in REPRESENTATION]

    def representation(self) -> Pairs:
        """The parameters that choose the representation, without empty ones; links to further pages repeat them."""
        return [(name, value) for name, value in self.parameters if name in REPRESENTATION and value]

    def check_representation(self) -> tuple[Format, bool]:
        """Which format is requested, and whether indented.

        Raises FhirError 406 or 400. Call it before doing any work for an answer that nobody could read.
        """
        chosen = dict(self.representation())
        return negotiate(self.headers, chosen), wants_pretty(chosen)

    def reply(self, resource: Mapping[str, Any], status: int = 200, extra: Mapping[str, str] | None = None) -> Reply:
        """`resource` in the requested representation. Raises FhirError 406 and 400."""
        fmt, pretty = self.check_representation()
        return rendered(render(resource, fmt, pretty), fmt, status, extra)

    def unchanged(self, extra: Mapping[str, str]) -> Reply:
        """304: the client already has it."""
        return Reply(304, headers=tuple((name.lower(), value) for name, value in extra.items()))

    def refusal(self, error: FhirError) -> Reply:
        """The OperationOutcome of `error`; in JSON when the requested representation is itself the fault."""
        refused_unless_told(error.code)
        fmt = error_format(self.headers, dict(self.representation()))
        answered_error(error.details_code or error.code, error.diagnostics or error.text or "")
        return rendered(render(error.resource(request_id()), fmt), fmt, error.status, error.headers)


def rendered(body: bytes, fmt: Format, status: int = 200, extra: Mapping[str, str] | None = None) -> Reply:
    """A reply with an already rendered resource."""
    return Reply(status, body, fmt.content_type, tuple((name.lower(), value) for name, value in (extra or {}).items()))


def head_of(scope: Scope) -> Request:
    """The request without its body; HEAD counts as GET (the body is dropped when the reply is sent)."""
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    segments = tuple(scope["path"].removeprefix("/fhir").strip("/").split("/"))
    return Request(method, segments, headers(scope), query_pairs(scope))


async def with_form(request: Request, scope: Scope, receive: Receive, limit: int) -> Request:
    """`request` with the parameters of its body added: a form as in FHIR, or flat JSON (RS-046).

    Raises FhirError 400, 413, 415.
    """
    fmt = check_content_type(request.headers, form=True)
    body = await _body(scope, receive, limit)
    parameters = _form(body) if fmt is None else _json(body)
    return Request(request.method, request.segments, request.headers, [*request.parameters, *parameters])


async def resource_of(request: Request, scope: Scope, receive: Receive, limit: int) -> dict[str, Any] | None:
    """The resource in the body; None without a body. Raises FhirError 400, 413, 415."""
    body = await _body(scope, receive, limit)
    if not body:
        return None
    fmt = check_content_type(request.headers)
    assert fmt is not None  # the allowed formats do not include forms
    return parse(body, fmt)


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    try:
        return await read_body(scope, receive, limit)
    except BodyError as error:
        raise body_refused(error.status, str(error), dict(error.headers), limit) from None


def _form(body: bytes) -> Pairs:
    """Parsed like a query, as both mean the same (FHIR R4 http.html#search). A body without any `=` is not a form."""
    try:
        text = body.decode()
        if "=" in text or not text.strip("&"):
            return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_VALUES)
    except ValueError:
        pass
    raise malformed("The body is not a URL-encoded form")


def _json(body: bytes) -> Pairs:
    try:
        return flat_json(read(body))
    except TooMuch as error:
        raise too_much(str(error)) from None
    except NotJson as error:
        raise malformed(echo(f"The body is not valid JSON: {error}")) from None
