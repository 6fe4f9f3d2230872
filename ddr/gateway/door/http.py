"""POST /gateway/v1/fhir: a Bundle in, its response Bundle out, in FHIR JSON or XML (FHIR R4 http.html#transaction)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from uuid import UUID

from ddr.aside import LARGE_BYTES, aside
from ddr.collector import in_hand
from ddr.fhir.negotiation import Format, check_content_type, error_format, negotiate
from ddr.fhir.outcome import FhirError, body_refused, unavailable
from ddr.fhir.representation import parse, render
from ddr.gateway.door.answers import Answer, Json, issue, outcome, refused, response_bundle
from ddr.gateway.door.entries import Entry, read_bundle
from ddr.gateway.door.intake import Intake
from ddr.gateway.door.transaction import transaction
from ddr.gateway.idempotency import once
from ddr.gateway.problem import Problem, failed
from ddr.gateway.request import Request
from ddr.http.asgi import NO_STORE, Headers, Reply, Scope, filled_query, headers
from ddr.http.body import BodyError
from ddr.http.core import Core
from ddr.http.guard import of_load
from ddr.ratelimit import lowercase
from ddr.store.database.faults import Fault

MAX_ISSUES = 100
LARGE_ENTRIES = 200  # of a Bundle that is written outside the event loop


class Refused(Exception):
    """A transaction with an entry that cannot be accepted, so nothing of it is stored."""

    def __init__(self, answers: Sequence[Answer | Problem]) -> None:
        super().__init__("transaction refused")
        self.answers = answers


async def post_bundle(core: Core, patient_id: UUID, request: Request) -> Reply:
    """Accept a batch or transaction Bundle; every error is an OperationOutcome, except Problem 401, which is raised."""
    sent, wanted = headers(request.scope), filled_query(request.scope)
    fmt = error_format(sent, wanted)
    try:
        fmt = negotiate(sent, wanted)
        body, sent_as = await _body(core, request)
        large = len(body) > LARGE_BYTES

        async def take() -> Reply:
            bundle = await aside(large, parse, body, sent_as)
            async with request.turn():
                taken = await _take(core, patient_id, bundle)
            return await aside(len(taken.get("entry", ())) > LARGE_ENTRIES, _reply, 200, taken, fmt)

        with in_hand(large):
            return await once(core, patient_id, request.scope, body, take)
    except FhirError as error:
        return _with(lowercase(error.headers), _reply(error.status, error.resource(), fmt))
    except Problem as problem:
        if problem.status == HTTPStatus.UNAUTHORIZED:
            raise
        return _with(problem.headers, _reply(problem.status, outcome([issue(problem, reasons(core))]), fmt))
    except Refused as refusal:
        status, content = _refusal(refusal.answers, reasons(core))
        return _reply(status, content, fmt)


def unavailable_reply(scope: Scope, fault: Fault) -> Reply:
    """503 as an OperationOutcome in the requested representation."""
    error = unavailable(fault.detail, fault.retry_seconds, fault.outage)
    fmt = error_format(headers(scope), filled_query(scope))
    return _with(lowercase(error.headers | of_load(fault)), _reply(error.status, error.resource(), fmt))


def failed_reply(core: Core, scope: Scope) -> Reply:
    """500 as an OperationOutcome in the requested representation."""
    fmt = error_format(headers(scope), filled_query(scope))
    problem = failed()
    return _reply(problem.status, outcome([issue(problem, reasons(core))]), fmt)


def reasons(core: Core) -> str:
    """The system of the reason codes: where the API's description lists them."""
    return f"{core.settings.gateway_base_url}/gateway/v1/openapi.json#/components/schemas/Reason"


async def _body(core: Core, request: Request) -> tuple[bytes, Format]:
    """The body and its representation. Raises FhirError 400, 408, 413 or 415, NoTurn and ClientGone."""
    sent, limit = headers(request.scope), core.settings.gateway_max_body_bytes
    fmt = check_content_type({"content-type": sent.get("content-type", "")}) or Format.JSON
    try:
        return await request.read(), fmt
    except BodyError as error:
        raise body_refused(error.status, str(error), dict(error.headers), limit) from None


async def _take(core: Core, patient_id: UUID, bundle: Json) -> Json:
    sent = bundle.get("entry")
    large = isinstance(sent, list) and len(sent) > LARGE_ENTRIES
    kind, entries = await aside(large, read_bundle, bundle, core.settings.gateway_max_items)
    if kind == "batch":
        answers = await (await aside(large, Intake, core, patient_id, entries)).run()
    else:
        answers = await _all_or_nothing(core, patient_id, entries, large)
    return await aside(large, response_bundle, kind, answers, reasons(core))


async def _all_or_nothing(
    core: Core, patient_id: UUID, entries: Sequence[Entry | Problem], large: bool
) -> list[Answer | Problem]:
    async with transaction(core, patient_id) as one:
        answers = await (await aside(large, Intake, one, patient_id, entries)).run()
        if any(refused(answer) for answer in answers):
            raise Refused(answers)
    return answers


def _refusal(answers: Sequence[Answer | Problem], system: str) -> tuple[int, Json]:
    """The status and the issues of a refused transaction; each issue names its entry."""
    problems = [(i, problem) for i, answer in enumerate(answers) for problem in refused(answer)]
    issues = [issue(problem, system, f"Bundle.entry[{i}]") for i, problem in problems[:MAX_ISSUES]]
    return problems[0][1].status, outcome(issues)


def _with(more: Headers, reply: Reply) -> Reply:
    return replace(reply, headers=(*reply.headers, *more))


def _reply(status: int, content: Json, fmt: Format) -> Reply:
    return Reply(status, render(content, fmt), fmt.content_type, NO_STORE)
