"""Faults of $hddt-cgm-summary: its shape, its numbers, its parameters, its errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

import httpx

from tests.conform.faults.fault import Edit, Fault, answers
from tests.conform.faults.tamper import Harm, Json, Tamper, answered, asks, edited

SUMMARY = r"hddt-cgm-summary"
MEAN, MOLES, GMI, RANGES, WORN, ACTIVE = "97507-8", "105273-7", "97506-0", "106793-3", "104636-6", "104637-4"


def _report(edit: Edit) -> Harm:
    """Reports are changed; refusals are not."""
    return answers(SUMMARY, lambda body: edit(body) if body["resourceType"] == "Bundle" else None)


def _code(resource: Json) -> str:
    found: str = resource["code"]["coding"][0]["code"]
    return found


def _metric(code: str, edit: Edit) -> Harm:
    def changed(body: Json) -> None:
        for entry in body["entry"]:
            if entry["resource"]["resourceType"] == "Observation" and _code(entry["resource"]) == code:
                edit(entry["resource"])

    return _report(changed)


def _value(code: str, number: float) -> Harm:
    return _metric(code, lambda one: one["valueQuantity"].update(value=number))


def _without(code: str) -> Edit:
    def edit(body: Json) -> None:
        body["entry"] = [entry for entry in body["entry"] if _code(entry["resource"]) != code]

    return edit


def _swapped(one: Json) -> None:
    """Swap the values of the ranges "in range" and "high"."""
    parts = one["component"]
    parts[2]["valueQuantity"], parts[3]["valueQuantity"] = parts[3]["valueQuantity"], parts[2]["valueQuantity"]


def _later(one: Json, days: int) -> None:
    period = one["effectivePeriod"]
    period["start"] = (date.fromisoformat(period["start"]) + timedelta(days)).isoformat()


def _all(edit: Edit) -> Edit:
    return lambda body: [edit(entry["resource"]) for entry in body["entry"]] and None


def _when(fits: Callable[[str], bool], status: int, body: Json) -> Harm:
    """Requests whose body fits get this status and body."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        if asks(request, SUMMARY) and fits(request.content.decode()):
            return answered(request, status, body)
        return tamper.pass_on(request)

    return harm


def _outcome(code: str, detail: str) -> Json:
    coding = {"system": "http://terminology.hl7.org/CodeSystem/operation-outcome", "code": detail}
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "details": {"coding": [coding], "text": "no"}}],
    }


def _read_as(old: str, new: str) -> Harm:
    """Requests are misread: `old` in the body is read as `new`."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        if asks(request, SUMMARY):
            headers = {key: value for key, value in request.headers.items() if key not in ("content-length", "host")}
            content = re.sub(old, new, request.content.decode())
            request = httpx.Request(request.method, request.url, headers=headers, content=content)
        return tamper.pass_on(request)

    return harm


def _long_ago(text: str) -> bool:
    found = re.findall(r"\d{4}-\d\d-\d\d", text)
    return bool(found) and date.fromisoformat(found[0]) < date.today() - timedelta(days=300)


def _never_related(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    def without(body: Json) -> None:
        body["entry"] = [entry for entry in body.get("entry", ()) if entry["resource"]["resourceType"] != "Device"]

    answer = tamper.pass_on(request)
    return edited(answer, without) if asks(request, SUMMARY) and answer.is_success else answer


def _json_always(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """The summary is always JSON, whatever Accept asks for."""
    if asks(request, SUMMARY):
        headers = {key: value for key, value in request.headers.items() if key not in ("content-length", "host")}
        headers["accept"] = "application/fhir+json"
        request = httpx.Request(request.method, request.url, headers=headers, content=request.content)
    return tamper.pass_on(request)


def _other_xml(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """The summary has another status in XML."""
    answer = tamper.pass_on(request)
    in_xml = asks(request, SUMMARY) and "xml" in answer.headers.get("content-type", "")
    return edited(answer, _all(lambda one: one.update(status="amended"))) if in_xml else answer


REPORTS = (
    Fault("summary-json-only", "a summary is always JSON, whatever Accept asks for", _json_always, "summary-in-xml"),
    Fault("summary-differs-in-xml", "a summary has another status in XML", _other_xml, "summary-in-xml"),
    Fault(
        "summary-searchset",
        "a summary is a Bundle of type searchset",
        _report(lambda body: body.update(type="searchset")),
        "summary-is-a-collection",
    ),
    Fault(
        "summary-with-metric",
        "a summary contains a DeviceMetric",
        _report(lambda body: body["entry"].append({"resource": {"resourceType": "DeviceMetric", "id": "1"}})),
        "summary-is-a-collection",
    ),
    Fault(
        "summary-without-gmi",
        "a summary lacks the GMI",
        _report(_without(GMI)),
        "summary-has-every-metric",
    ),
    Fault(
        "summary-unit",
        "the mean in a summary has another unit than its code requires",
        _metric(MEAN, lambda one: one["valueQuantity"].update(code="mmol/L")),
        "summary-has-every-metric",
    ),
    Fault(
        "summary-reason",
        "a metric without a value has no dataAbsentReason",
        _metric(GMI, lambda one: one.pop("valueQuantity")),
        "summary-has-every-metric",
    ),
    Fault(
        "summary-four-ranges",
        "a summary has only four ranges",
        _metric(RANGES, lambda one: one["component"].pop()),
        "summary-has-every-metric",
    ),
    Fault(
        "summary-gmi-formula",
        "the GMI does not follow from the mean",
        _value(GMI, 5.4),
        "summary-numbers-fit-together",
        ("summary-agrees-with-the-chunks",),
    ),
    Fault(
        "summary-two-means",
        "the two means of a summary contradict each other",
        _value(MOLES, 9.9),
        "summary-numbers-fit-together",
        ("summary-agrees-with-the-chunks",),
    ),
    Fault(
        "summary-shares",
        "the ranges of a summary do not sum to 100 %",
        _metric(RANGES, lambda one: one["component"][4]["valueQuantity"].update(value=40)),
        "summary-numbers-fit-together",
        ("summary-agrees-with-the-chunks",),
    ),
    Fault(
        "summary-swapped-ranges",
        "two ranges of a summary are swapped",
        _metric(RANGES, _swapped),
        "summary-agrees-with-the-chunks",
    ),
    Fault(
        "summary-days",
        "a summary counts days on which no sensor was worn",
        _value(WORN, 9),
        "summary-agrees-with-the-chunks",
    ),
    Fault(
        "summary-active",
        "a summary says that the sensor was active only half of the time",
        _value(ACTIVE, 50),
        "summary-agrees-with-the-chunks",
    ),
    Fault(
        "summary-variation",
        "the coefficient of variation in a summary does not follow from the values",
        _value("104638-2", 21.5),
        "summary-agrees-with-the-chunks",
    ),
    Fault(
        "summary-too-short",
        "without a requested period, a summary reaches back only two days",
        _report(_all(lambda one: _later(one, 11))),
        "summary-without-a-period",
        ("summary-of-seven-days",),
    ),
    Fault(
        "summary-of-its-own-period",
        "a summary always covers the last two weeks, whatever period is requested",
        _read_as(r', "parameter": \[\{"name": "effectivePeriodStart"[^\]]*\]', ""),
        "summary-of-seven-days",
        ("summary-of-thirty-days", "summary-agrees-with-the-chunks", "summary-without-data", "summary-errors"),
    ),
    Fault(
        "summary-no-devices",
        "`related` returns no devices",
        _never_related,
        "summary-brings-related-devices",
    ),
    Fault(
        "summary-devices-unasked",
        "a summary contains devices although nobody asked for them",
        _read_as(r'"parameter": \[', r'"parameter": [{"name": "related", "valueBoolean": true}, '),
        "summary-brings-related-devices",
    ),
    Fault(
        "summary-empty",
        "without data, a summary is an empty Bundle",
        _when(_long_ago, 200, {"resourceType": "Bundle", "type": "collection"}),
        "summary-without-data",
    ),
    Fault(
        "summary-unknown-ignored",
        "unknown parameters of a summary are ignored",
        _read_as("foo", "related"),
        "summary-errors",
    ),
    Fault(
        "summary-error-codes",
        "errors of a summary have other codes than the prescribed ones",
        _when(lambda text: "yesterday" in text, 400, _outcome("processing", "MSG_PARAM_INVALID")),
        "summary-errors",
    ),
)
