"""Answers of the FHIR door: batch-response, transaction-response, and OperationOutcomes with the API's codes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ddr.fhir.outcome import echo, printable
from ddr.gateway.problem import Problem

Json = dict[str, Any]

MAX_ISSUES = 20  # of one entry that refuse nothing; all refusals are reported
_ISSUE_CODES = {
    404: "not-found",
    405: "not-supported",
    409: "conflict",
    413: "too-long",
    500: "exception",
    503: "transient",
}
_REASON_CODES = {
    "unknown-code": "code-invalid",
    "unknown-device": "not-found",
    "unknown-measurement": "not-found",
    "unknown-sensor": "not-found",
}


@dataclass
class OfValues(Problem):
    """The same for some values of a sequence; `values` says which, and is never shortened: others were accepted."""

    values: str = ""


@dataclass(frozen=True)
class Answer:
    """The outcome of an entry: an HTTP status, the place of what is stored, and remarks."""

    status: int
    location: str | None = None
    version: int | None = None
    remark: str | None = None
    rejected: Sequence[Problem] = ()  # readings that were refused, with their places, by reason
    passed_over: Sequence[Problem] = ()  # warnings: what is not kept here, or is unusual; nothing is refused


def refused(answer: Answer | Problem) -> list[Problem]:
    """The reasons why an entry, or a reading of it, was refused."""
    return [answer] if isinstance(answer, Problem) else list(answer.rejected)


def not_kept(what: str) -> Problem:
    """The warning that something is of no supported MIV, which is not the gateway's mistake: its status is 200."""
    return Problem(HTTPStatus.OK, "unknown-code", f"Not kept: {what} is not in any ValueSet of the supported MIVs")


def doubtful(detail: str) -> Problem:
    """The warning about a value that is kept but unusual."""
    return Problem(HTTPStatus.OK, "implausible", detail)


def response_bundle(kind: str, answers: Iterable[Answer | Problem], reasons: str) -> Json:
    """The Bundle that answers one of type `kind`, entry by entry; `reasons` is the system of the reason codes."""
    entries = [{"response": _response(answer, f"Bundle.entry[{i}]", reasons)} for i, answer in enumerate(answers)]
    bundle: Json = {"resourceType": "Bundle", "type": f"{kind}-response"}
    return bundle | ({"entry": entries} if entries else {})  # FHIR forbids empty arrays


def _response(answer: Answer | Problem, place: str, reasons: str) -> Json:
    if isinstance(answer, Problem):
        return {"status": str(answer.status), "outcome": outcome([issue(answer, reasons, place)])}
    response: Json = {"status": str(answer.status)}
    if answer.location:
        history = "" if answer.version is None else f"/_history/{answer.version}"
        response["location"] = answer.location + history
    if answer.version is not None:
        response["etag"] = f'W/"{answer.version}"'
    severity = "warning" if answer.status < HTTPStatus.BAD_REQUEST else "error"
    issues = [issue(problem, reasons, place, severity) for problem in answer.rejected]
    issues += [issue(problem, reasons, place, "warning") for problem in answer.passed_over[:MAX_ISSUES]]
    if answer.remark:
        issues.insert(0, {"severity": "information", "code": "informational", "diagnostics": answer.remark})
    return response | ({"outcome": outcome(issues)} if issues else {})


def outcome(issues: Sequence[Json]) -> Json:
    """An OperationOutcome."""
    return {"resourceType": "OperationOutcome", "issue": list(issues)}


def issue(problem: Problem, reasons: str, place: str | None = None, severity: str = "error") -> Json:
    """One issue: the code of the JSON API in `details`, its text in `diagnostics`."""
    code = _REASON_CODES.get(problem.code) or _ISSUE_CODES.get(problem.status, "invalid")
    values = f"{problem.values}: " if isinstance(problem, OfValues) else ""
    found: Json = {
        "severity": severity,
        "code": code,
        "details": {"coding": [{"system": reasons, "code": problem.code}]},
        "diagnostics": values + printable(echo(problem.detail)),
    }
    return found | ({"expression": [place]} if place else {})
