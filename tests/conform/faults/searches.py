"""Faults of searching, reading and refusing: what is found, how it is told, and to whom."""

from __future__ import annotations

import httpx

from tests.conform.faults.fault import Fault, answers, refusals, requests, without
from tests.conform.faults.tamper import Json, Tamper, answered, asks, edited, replaced

OBSERVATIONS = "/fhir/Observation(/_search)?$"
SOMEWHERE = "/fhir/"
# Checks that compare a search with everything that was read: what is read once too much, they miss.
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


def _lose(body: Json) -> None:
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


def _foreign(body: Json) -> None:
    """A search without a code brings one Observation of a kind that was not granted."""
    matches = [one for one in _entries(body) if one["resource"]["resourceType"] == "Observation"]
    if matches and "total" in body:
        leaked = {**matches[-1]["resource"], "id": "leaked"}
        leaked["code"] = {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}
        body["entry"].append(
            {"fullUrl": "https://x/Observation/leaked", "resource": leaked, "search": {"mode": "match"}}
        )
        body["total"] += 1


def _known(tamper: Tamper, request: httpx.Request, answer: httpx.Response) -> dict[str, Tamper]:
    """The tokens that were good so far, each with the way on which it was."""
    known: dict[str, Tamper] = tamper.memory.setdefault("tokens", {})
    bearer = request.headers.get("authorization", "")
    if answer.is_success and "/fhir/" in request.url.path and bearer:
        known[bearer] = tamper
    return known


def _any_token(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A token is good over the connection of another DiGA, too."""
    answer = tamper.pass_on(request)
    known = _known(tamper, request, answer)
    way = known.get(request.headers.get("authorization", ""))
    return way.pass_on(request) if way and answer.status_code in (401, 403) else answer


def _any_view(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A read by id finds what another pairing may see."""
    answer = tamper.pass_on(request)
    known = _known(tamper, request, answer)
    if answer.status_code == 404 and asks(request, "/fhir/(Device|DeviceMetric|Observation)/[^/]+$", "GET"):
        for other, way in known.items():
            found = way.pass_on(httpx.Request("GET", request.url, headers={**request.headers, "authorization": other}))
            if found.is_success:
                return found
    return answer


def _no_token_needed(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Whoever has no token is answered 400."""
    answer = tamper.pass_on(request)
    missing = asks(request, "/fhir/") and answer.status_code == 401 and "authorization" not in request.headers
    return replaced(answer, status=400) if missing else answer


def _writes(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A DELETE is answered like a success."""
    return answered(request, 204) if request.method == "DELETE" else tamper.pass_on(request)


def _other_xml(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """XML has another status than JSON."""
    answer = tamper.pass_on(request)
    if "xml" in answer.headers.get("content-type", "") and asks(request, "/fhir/(Device|Observation|DeviceMetric)"):
        return replaced(answer, answer.content.replace(b'<status value="final"/>', b'<status value="amended"/>'))
    return answer


def _other_read(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A resource read by its id differs from what a search brings."""
    answer = tamper.pass_on(request)
    one = asks(request, "/fhir/Observation/[^/_]+$", "GET") and answer.is_success
    return edited(answer, without("category")) if one else answer


def _patient(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """There is a Patient."""
    if asks(request, "/fhir/Patient") and "authorization" in request.headers:
        return answered(
            request, 200, {"resourceType": "Patient", "id": "1"}, **{"content-type": "application/fhir+json"}
        )
    return tamper.pass_on(request)


def _silent(body: Json) -> None:
    for issue in body.get("issue", ()):
        issue.pop("details", None)
        issue.pop("diagnostics", None)


def _lenient(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    lenient = "lenient" in request.headers.get("prefer", "") and answer.status_code == 400
    body = {"resourceType": "Bundle", "type": "searchset"}
    return answered(request, 200, body, **{"content-type": "application/fhir+json"}) if lenient else answer


def _newest(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    path, history, _ = request.url.path.partition("/_history/")
    if not (history and answer.status_code == 404):
        return answer
    return tamper.pass_on(httpx.Request("GET", request.url.copy_with(raw_path=path.encode()), headers=request.headers))


def _throttled(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A search is too early, as if the Grace-Period ran."""
    if not asks(request, "/fhir/Observation$", query="_sort=-date&_count=1"):
        return tamper.pass_on(request)
    issue = {"severity": "error", "code": "throttled", "details": {"text": "Too early"}}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return answered(request, 429, body, **{"content-type": "application/fhir+json"})


SEARCHES = (
    Fault(
        "code-ignored",
        "the parameter code is not looked at",
        requests(OBSERVATIONS, r"(^|&)code=[^&]*"),
        "search-by-code",
        (
            "search-by-code-with-system",
            "search-by-foreign-code",
            "search-by-code-and-date",
            "hidden-observations-are-not-found",
            "single-metrics-are-not-found",
        ),
    ),
    Fault(
        "after-means-since",
        "date=gt is taken for ge",
        requests(OBSERVATIONS, "date=gt", "date=ge"),
        "search-by-date",
        ("search-by-dates",),
    ),
    Fault(
        "second-date-ignored",
        "of two dates one counts",
        requests(OBSERVATIONS, r"date=[^&]*&(date=[^&]*)", r"\1"),
        "search-by-dates",
        ("search-by-code-and-date", "reversed-ranges-are-refused"),
    ),
    Fault(
        "id-ignored",
        "_id is not looked at",
        requests(OBSERVATIONS, r"(^|&)_id=[^&]*"),
        "search-observations-by-id",
        ("empty-searches-are-answered", "hidden-observations-are-not-found", "post-search-equals-get"),
    ),
    Fault(
        "last-updated-ignored",
        "_lastUpdated is not looked at",
        requests(OBSERVATIONS, r"(^|&)_lastUpdated=[^&]*"),
        "search-observations-by-last-updated",
        ("malformed-dates-are-refused",),
    ),
    Fault(
        "value-ignored",
        "value-quantity is not looked at",
        requests(OBSERVATIONS, r"(^|&)value-quantity=[^&]*"),
        "search-by-value-quantity",
        ("malformed-controls-are-refused",),
    ),
    Fault(
        "component-apart",
        "code and value of different components are put together",
        requests(OBSERVATIONS, r"component-code-value-quantity=[^&]*?(\$|%24)", "component-value-quantity="),
        "search-by-component-code-and-value",
    ),
    Fault(
        "oldest-first",
        "_sort=-date brings the oldest first",
        requests(OBSERVATIONS, "_sort=-date", "_sort=date"),
        "newest-comes-first",
        ("sort-orders",),
    ),
    Fault(
        "sort-ignored",
        "_sort is not looked at",
        requests(OBSERVATIONS, r"_sort=date", "_sort=-date"),
        "sort-orders",
        ("newest-comes-first",),
    ),
    Fault(
        "total-counts-hidden",
        "total counts what is hidden, too",
        answers(OBSERVATIONS, _count_hidden),
        "total-is-right",
        ("hidden-observations-are-not-found",),
    ),
    Fault(
        "pages-lose",
        "a later page lacks an entry",
        answers(OBSERVATIONS, _lose, query="page="),
        "pages-lose-and-repeat-nothing",
        ("sort-orders",),
    ),
    Fault("no-self-link", "a searchset has no link self", answers(OBSERVATIONS, _no_self), "links-name-the-search"),
    Fault("no-full-url", "entries have no fullUrl", answers(OBSERVATIONS, _no_full_url), "entries-are-complete"),
    Fault(
        "collection",
        "a search is answered with a collection",
        answers(OBSERVATIONS, _type),
        "search-is-answered-with-a-searchset",
        ("empty-searches-are-answered",),
    ),
    Fault(
        "include-missing",
        "_include brings nothing",
        answers(OBSERVATIONS, _no_includes),
        "includes-bring-the-devices",
        ("devices-can-be-reached",),
    ),
    Fault(
        "post-ignores-its-form",
        "POST _search finds everything",
        requests("/_search$", r"(^|&)(_id|code)=[^&]*", method="POST"),
        "post-search-equals-get",
    ),
    Fault("read-differs", "what is read differs from what is found", _other_read, "what-is-found-can-be-read"),
    Fault(
        "device-name-ignored",
        "device-name is not looked at",
        requests("/fhir/Device$", r"(^|&)device-name=[^&]*"),
        "search-by-device-name",
        ("hidden-devices-are-not-found",),
    ),
    Fault(
        "unknown-parameters-ignored",
        "unknown parameters are ignored",
        requests(SOMEWHERE, r"(^|&)there-is-none=[^&]*"),
        "unknown-parameters-are-refused",
        ("lenient-changes-nothing",),
    ),
    Fault(
        "lenient",
        "Prefer: handling=lenient lets unknown parameters pass",
        _lenient,
        "lenient-changes-nothing",
    ),
    Fault(
        "no-outcome",
        "a missing resource is answered without an OperationOutcome",
        refusals(SOMEWHERE, lambda answer: answered(answer.request, 404), 404),
        "unknown-ids-are-404",
        (
            "unknown-types-are-404",
            "unknown-versions-are-404",
            "errors-in-the-asked-form",
            "errors-say-why",
            "junk-is-refused-politely",
            "resources-of-others-are-unknown",
        ),
    ),
    Fault(
        "empty-outcome",
        "errors have neither details nor diagnostics",
        refusals(SOMEWHERE, lambda answer: edited(answer, _silent), 404),
        "errors-say-why",
        ("unknown-ids-are-404", "unknown-types-are-404", "unknown-versions-are-404"),
        after=("unknown-ids-are-404",),
    ),
    Fault(
        "forbidden",
        "what is hidden is answered 403",
        refusals("/fhir/Device/", lambda answer: replaced(answer, status=403), 404),
        "never-403",
        (
            "resources-of-others-are-unknown",
            "unknown-ids-are-404",
            "unknown-versions-are-404",
            "junk-is-refused-politely",
        ),
        after=("resources-of-others-are-unknown",),
    ),
    Fault(
        "failure",
        "a date that is none is answered 500",
        refusals(OBSERVATIONS, lambda answer: replaced(answer, status=500), 400, "date="),
        "malformed-dates-are-refused",
        ("no-failures", "reversed-ranges-are-refused"),
    ),
    Fault("xml-differs", "XML says another status than JSON", _other_xml, "xml-says-the-same"),
    Fault("format-ignored", "_format is not looked at", requests(SOMEWHERE, r"(^|&)_format=[^&]*"), "format-parameter"),
    Fault("no-token-is-400", "a missing token is answered 400", _no_token_needed, "no-token-no-data"),
    Fault(
        "token-is-anybodys",
        "a token is good for another DiGA",
        _any_token,
        "token-needs-its-diga",
        after=("includes-bring-the-devices",),
    ),
    Fault(
        "others-are-read",
        "a read by id finds what others see",
        _any_view,
        "resources-of-others-are-unknown",
        ("only-devices-behind-observations", "hidden-devices-are-not-found", "devices-need-their-scope"),
    ),
    Fault(
        "scope-leaks",
        "a search without code brings a kind that was not granted",
        answers(OBSERVATIONS, _foreign),
        "only-granted-codes",
        ("codes-are-loinc", *COMPARING),
    ),
    Fault("patient-is-there", "Patient can be read", _patient, "no-patient-endpoint"),
    Fault("delete-accepted", "DELETE is answered 204", _writes, "nothing-can-be-written"),
    Fault(
        "subject-ignored",
        "the parameter subject is ignored",
        requests(OBSERVATIONS, r"(^|&)(subject|patient)=[^&]*"),
        "subject-is-refused",
    ),
    Fault(
        "versions-by-any-name",
        "a version that does not exist is answered by the newest",
        _newest,
        "unknown-versions-are-404",
    ),
    Fault(
        "throttled-without-a-time",
        "429 says nothing of when to come back",
        _throttled,
        "refusals-say-when",
        ("newest-comes-first",),
        after=("newest-comes-first",),
    ),
)
