"""Faults of searching and reading: what is found, and how it is returned."""

from __future__ import annotations

import httpx

from tests.conform.faults.fault import Fault, answers, requests, without
from tests.conform.faults.tamper import Harm, Json, Tamper, answered, asks, edited

OBSERVATIONS = "/fhir/Observation(/_search)?$"
# Checks that compare a search with everything read before: they also fail if that contained one resource too many.
COMPARING = (
    "newest-comes-first",
    "pages-lose-and-repeat-nothing",
    "post-search-equals-get",
    "search-by-code",
    "search-by-code-and-date",
    "search-by-code-with-system",
    "search-by-component-code",
    "search-by-component-code-and-value",
    "search-by-component-value",
    "search-by-date",
    "search-by-dates",
    "search-by-declared-extras",
    "search-by-foreign-code",
    "search-by-value-quantity",
    "search-observations-by-id",
    "search-observations-by-last-updated",
    "sort-orders",
    "what-is-found-can-be-read",
    "xml-says-the-same",
)


def _entries(body: Json) -> list[Json]:
    found: list[Json] = body.get("entry", []) if body.get("resourceType") == "Bundle" else []
    return found


def _no_includes(body: Json) -> None:
    if entries := _entries(body):
        body["entry"] = [entry for entry in entries if entry["search"]["mode"] != "include"]


def lose(body: Json) -> None:
    """A page lacks its first entry."""
    body["entry"] = _entries(body)[1:]


def _count_hidden(body: Json) -> None:
    if "total" in body:
        body["total"] += 1


def _no_self(body: Json) -> None:
    if "link" in body:
        body["link"] = [one for one in body["link"] if one["relation"] != "self"]


def _no_full_url(body: Json) -> None:
    for entry in _entries(body):
        entry.pop("fullUrl", None)


def _type(body: Json) -> None:
    if body.get("resourceType") == "Bundle":
        body["type"] = "collection"


def foreign(body: Json) -> None:
    """A search without a code returns one Observation of a kind that was not granted."""
    matches = [one for one in _entries(body) if one["resource"]["resourceType"] == "Observation"]
    if matches and "total" in body:
        leaked = {**matches[-1]["resource"], "id": "leaked"}
        leaked["code"] = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
        body["entry"].append(
            {"fullUrl": "https://x/Observation/leaked", "resource": leaked, "search": {"mode": "match"}}
        )
        body["total"] += 1


def _former(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A read by id returns an earlier version."""
    answer = tamper.pass_on(request)
    one = asks(request, "/fhir/Observation/[^/_]+$", "GET") and answer.is_success
    former = {"versionId": "former", "lastUpdated": "2020-01-01T00:00:00Z"}
    return edited(answer, lambda body: body["meta"].update(former)) if one else answer


def _other_read(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A resource read by its id differs from the one that a search returns."""
    answer = tamper.pass_on(request)
    one = asks(request, "/fhir/Observation/[^/_]+$", "GET") and answer.is_success
    return edited(answer, without("category")) if one else answer


def _no_such_include(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A search that includes devices is refused."""
    if not asks(request, OBSERVATIONS, query="_include=Observation(%3A|:)device"):
        return tamper.pass_on(request)
    return answered(request, 400, NO, **{"content-type": "application/fhir+json"})


def _next(url: str) -> Harm:
    """The search for everything gets the next link `url`; `{}` in it is the address of the search."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        if asks(request, OBSERVATIONS, query="page=lost"):
            return answered(request, 404, NO, **{"content-type": "application/fhir+json"})
        answer = tamper.pass_on(request)
        if not asks(request, OBSERVATIONS, query="iterate") or not answer.is_success:
            return answer
        following = {"relation": "next", "url": url.format(request.url)}
        kept = [one for one in answer.json()["link"] if one["relation"] != "next"]
        return edited(answer, lambda body: body.update(link=[*kept, following]))

    return harm


NO = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing", "diagnostics": "No"}]}
SEARCHES = (
    Fault(
        "include-refused",
        "a search with `_include` is answered with 400",
        _no_such_include,
        "search-is-answered-with-a-searchset",
    ),
    Fault(
        "page-is-gone",
        "the second page of a search is answered with 404",
        _next("{}&page=lost"),
        "search-is-answered-with-a-searchset",
    ),
    Fault(
        "pages-in-a-circle",
        "the next link leads back to its own page",
        _next("{}"),
        "search-is-answered-with-a-searchset",
    ),
    Fault(
        "page-elsewhere",
        "the next link leads to another server",
        _next("https://cluster.example/fhir/Observation?page=2"),
        "links-name-the-search",
    ),
    Fault(
        "date-means-since",
        "a date without a prefix is treated as ge",
        requests(OBSERVATIONS, r"date=(?=\d)", "date=ge"),
        "search-by-date",
    ),
    Fault(
        "days-are-instants",
        "a day is treated as its first second",
        requests(OBSERVATIONS, r"date=(\d{4}-\d\d-\d\d)(?=&|$)", r"date=\1T00:00:00Z"),
        "search-by-date",
    ),
    Fault(
        "zones-are-ignored",
        "the time zone of a date is ignored",
        requests(OBSERVATIONS, r"(date=[^&]*)%2B\d\d%3A\d\d", r"\1Z"),
        "search-by-date",
    ),
    Fault(
        "code-ignored",
        "the parameter code is ignored",
        requests(OBSERVATIONS, r"(^|&)code=[^&]*"),
        "search-by-code",
        (
            "search-by-code-with-system",
            "search-by-foreign-code",
            "search-by-code-and-date",
            "newest-comes-first",
            "hidden-observations-are-not-found",
            "single-metrics-are-not-found",
        ),
    ),
    Fault(
        "after-means-since",
        "date=gt is treated as ge",
        requests(OBSERVATIONS, "date=gt", "date=ge"),
        "search-by-date",
        ("search-by-dates",),
    ),
    Fault(
        "second-date-ignored",
        "only one of two dates is applied",
        requests(OBSERVATIONS, r"date=[^&]*&(date=[^&]*)", r"\1"),
        "search-by-dates",
        ("search-by-code-and-date", "reversed-ranges-are-refused"),
    ),
    Fault(
        "id-ignored",
        "_id is ignored",
        requests(OBSERVATIONS, r"(^|&)_id=[^&]*"),
        "search-observations-by-id",
        ("empty-searches-are-answered", "hidden-observations-are-not-found", "post-search-equals-get"),
    ),
    Fault(
        "last-updated-ignored",
        "_lastUpdated is ignored",
        requests(OBSERVATIONS, r"(^|&)_lastUpdated=[^&]*"),
        "search-observations-by-last-updated",
        ("malformed-dates-are-refused",),
    ),
    Fault(
        "value-ignored",
        "value-quantity is ignored",
        requests(OBSERVATIONS, r"(^|&)value-quantity=[^&]*"),
        "search-by-value-quantity",
        ("malformed-controls-are-refused",),
    ),
    Fault(
        "above-means-from",
        "value-quantity=gt is treated as ge",
        requests(OBSERVATIONS, r"((^|&)value-quantity=)gt", r"\1ge"),
        "search-by-value-quantity",
    ),
    Fault(
        "units-ignored",
        "component-value-quantity ignores the unit",
        requests(OBSERVATIONS, r"(component-value-quantity=[^&%]*)%7C[^&]*", r"\1"),
        "search-by-component-value",
    ),
    Fault(
        "no-system-is-any-system",
        "a code with an empty system matches a code of any system",
        requests(OBSERVATIONS, "%2C%7C", "%2C"),
        "search-by-code-with-system",
    ),
    Fault(
        "date-beside-a-code-ignored",
        "date is ignored in a search that also has code",
        requests(OBSERVATIONS, r"((^|&)code=[^&]*)&date=[^&]*", r"\1"),
        "search-by-code-and-date",
    ),
    Fault(
        "source-ignored",
        "source is ignored in a search for DeviceMetrics",
        requests("/fhir/DeviceMetric$", r"(^|&)source=[^&]*"),
        "search-metrics-by-source",
    ),
    Fault(
        "component-apart",
        "a code and a value of different components match together",
        requests(OBSERVATIONS, r"component-code-value-quantity=[^&]*?(\$|%24)", "component-value-quantity="),
        "search-by-component-code-and-value",
    ),
    Fault(
        "oldest-first",
        "_sort=-date returns the oldest first",
        requests(OBSERVATIONS, "_sort=-date", "_sort=date"),
        "newest-comes-first",
        ("sort-orders",),
    ),
    Fault(
        "newest-of-any-code",
        "code is ignored when only the newest value is requested",
        requests(OBSERVATIONS, "code=[^&]*&(_sort=-date&_count=1)", r"\1"),
        "newest-comes-first",
    ),
    Fault(
        "sort-ignored",
        "_sort=date returns the newest first",
        requests(OBSERVATIONS, r"_sort=date", "_sort=-date"),
        "sort-orders",
        ("newest-comes-first",),
    ),
    Fault(
        "devices-are-not-sorted",
        "_sort is ignored for Devices and DeviceMetrics",
        requests("/fhir/Device(Metric)?$", r"(^|&)_sort=[^&]*"),
        "sort-orders",
    ),
    Fault(
        "total-counts-hidden",
        "total also counts hidden resources",
        answers(OBSERVATIONS, _count_hidden),
        "total-is-right",
        ("hidden-observations-are-not-found", "pages-lose-and-repeat-nothing"),
    ),
    Fault(
        "pages-lose",
        "a later page lacks an entry",
        answers(OBSERVATIONS, lose, query="page="),
        "pages-lose-and-repeat-nothing",
        ("sort-orders",),
    ),
    Fault("no-self-link", "a searchset has no self link", answers(OBSERVATIONS, _no_self), "links-name-the-search"),
    Fault("no-full-url", "entries have no fullUrl", answers(OBSERVATIONS, _no_full_url), "entries-are-complete"),
    Fault(
        "collection",
        "a search is answered with a Bundle of type collection",
        answers(OBSERVATIONS, _type),
        "search-is-answered-with-a-searchset",
        ("empty-searches-are-answered",),
    ),
    Fault(
        "include-missing",
        "_include returns nothing",
        answers(OBSERVATIONS, _no_includes),
        "includes-bring-the-devices",
        ("devices-can-be-reached",),
    ),
    Fault(
        "post-ignores-its-form",
        "POST _search ignores _id and code",
        requests("/_search$", r"(^|&)(_id|code)=[^&]*", method="POST"),
        "post-search-equals-get",
    ),
    Fault("read-is-former", "a read returns an earlier version", _former, "what-is-found-can-be-read"),
    Fault("read-differs", "a read returns other content than the search", _other_read, "what-is-found-can-be-read"),
    Fault(
        "device-name-ignored",
        "device-name is ignored",
        requests("/fhir/Device$", r"(^|&)device-name=[^&]*"),
        "search-by-device-name",
        ("hidden-devices-are-not-found",),
    ),
    Fault(
        "devices-on-one-page",
        "_count is ignored for Devices and DeviceMetrics",
        requests("/fhir/Device(Metric)?$", r"(^|&)_count=[^&]*"),
        "devices-come-in-pages",
    ),
)
