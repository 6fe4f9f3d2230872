"""Faults of formats, of refusals, and of access control."""

from __future__ import annotations

import httpx

from tests.conform.faults.fault import Fault, answers, refusals, requests
from tests.conform.faults.searches import COMPARING, OBSERVATIONS, foreign, lose
from tests.conform.faults.tamper import Harm, Json, Tamper, answered, asks, edited, loaded, replaced, resources

SOMEWHERE = "/fhir/"


def _known(tamper: Tamper, request: httpx.Request, answer: httpx.Response) -> dict[str, Tamper]:
    """The tokens that have worked so far, each with the client's connection on which it worked."""
    known: dict[str, Tamper] = tamper.memory.setdefault("tokens", {})
    bearer = request.headers.get("authorization", "")
    if answer.is_success and "/fhir/" in request.url.path and bearer:
        known[bearer] = tamper
    return known


def _any_token(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A token also works over the connection of another DiGA."""
    answer = tamper.pass_on(request)
    known = _known(tamper, request, answer)
    way = known.get(request.headers.get("authorization", ""))
    return way.pass_on(request) if way and answer.status_code in (401, 403) else answer


def _any_view(tamper: Tamper, request: httpx.Request, path: str = "[^/]+$") -> httpx.Response:
    """A read by id returns resources of other pairings."""
    answer = tamper.pass_on(request)
    known = _known(tamper, request, answer)
    if answer.status_code == 404 and asks(request, f"/fhir/(Device|DeviceMetric|Observation)/{path}", "GET"):
        for other, way in known.items():
            found = way.pass_on(httpx.Request("GET", request.url, headers={**request.headers, "authorization": other}))
            if found.is_success:
                return found
    return answer


def _any_version(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A read of one version returns resources of other pairings."""
    return _any_view(tamper, request, "[^/]+/_history/1$")


def _no_token_needed(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A request without a token is answered with 400."""
    answer = tamper.pass_on(request)
    missing = asks(request, "/fhir/") and answer.status_code == 401 and "authorization" not in request.headers
    return replaced(answer, status=400) if missing else answer


def _writes(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A DELETE is answered as if it had succeeded."""
    return answered(request, 204) if request.method == "DELETE" else tamper.pass_on(request)


def _other_xml(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """An Observation has another status in XML than in JSON."""
    answer = tamper.pass_on(request)
    if "xml" in answer.headers.get("content-type", "") and asks(request, "/fhir/(Device|Observation|DeviceMetric)"):
        return replaced(answer, answer.content.replace(b'<status value="final"/>', b'<status value="amended"/>'))
    return answer


def _swapped_xml(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """The systolic and the diastolic value are swapped in XML."""
    answer = tamper.pass_on(request)
    if "xml" not in answer.headers.get("content-type", "") or not asks(request, "/fhir/Observation/"):
        return answer

    def swap(body: Json) -> None:
        if len(parts := body.get("component", ())) > 1:
            parts[0]["valueQuantity"], parts[1]["valueQuantity"] = parts[1]["valueQuantity"], parts[0]["valueQuantity"]

    return edited(answer, swap)


def _as_text(path: str, good: bool) -> Harm:
    """JSON is sent as text/plain: in successful responses (`good`) or in errors."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        fits = asks(request, path) and answer.is_success is good and "json" in answer.headers.get("content-type", "")
        return replaced(answer, content_type="text/plain") if fits else answer

    return harm


def _open(path: str, whoever: bool = False) -> Harm:
    """Existing data is returned without a token; with `whoever`, also for any bad token."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        known = _known(tamper, request, answer)
        refused = answer.status_code == 401 and asks(request, path)
        if not refused or (not whoever and "authorization" in request.headers):
            return answer
        fields = {key: value for key, value in request.headers.items() if key not in ("host", "content-length")}
        for token, way in known.items():
            asked = httpx.Request(
                request.method, request.url, headers={**fields, "authorization": token}, content=request.content
            )
            if (found := way.pass_on(asked)).is_success:
                return found
        return answer

    return harm


def _any_link(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A link to a further page works for every pairing."""
    answer = tamper.pass_on(request)
    known = _known(tamper, request, answer)
    if answer.is_success or not asks(request, "/fhir/Observation$", query="(^|&)_page="):
        return answer
    for token, way in known.items():
        asked = httpx.Request("GET", request.url, headers={**request.headers, "authorization": token})
        if (found := way.pass_on(asked)).is_success:
            return found
    return answer


def _history(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """The history of Observation contains the Observations of all pairings."""
    seen: dict[str, Json] = tamper.memory.setdefault("seen", {})
    if asks(request, "/fhir/Observation/_history$", "GET"):
        body = {"resourceType": "Bundle", "type": "history", "entry": [{"resource": one} for one in seen.values()]}
        return answered(request, 200, body, **{"content-type": "application/fhir+json"})
    answer = tamper.pass_on(request)
    if asks(request, "/fhir/Observation$") and answer.is_success and "json" in answer.headers["content-type"]:
        for one in resources(loaded(answer.content)):
            if one["resourceType"] == "Observation":
                seen[one["id"]] = {"resourceType": "Observation", "id": one["id"]}
    return answer


def _fewer_in_xml(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A searchset in XML lacks an entry."""
    answer = tamper.pass_on(request)
    in_xml = "xml" in answer.headers.get("content-type", "") and asks(request, "/fhir/Device(/_search)?$")
    return edited(answer, lose) if in_xml else answer


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


def _throttled(text: str = "Rate limit exceeded. Please retry after the specified time.", **headers: str) -> Harm:
    """A search is refused as too early, as if the Grace-Period were running."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        if not asks(request, "/fhir/Observation$", query="_sort=-date&_count=1"):
            return tamper.pass_on(request)
        issue = {"severity": "error", "code": "throttled", "diagnostics": text}
        body = {"resourceType": "OperationOutcome", "issue": [issue]}
        return answered(request, 429, body, **{"content-type": "application/fhir+json", **headers})

    return harm


REFUSALS = (
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
        "a hidden resource is answered with 403",
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
        "an invalid date is answered with 500",
        refusals(OBSERVATIONS, lambda answer: replaced(answer, status=500), 400, "date="),
        "malformed-dates-are-refused",
        ("no-failures", "reversed-ranges-are-refused"),
    ),
    Fault(
        "xml-differs",
        "an Observation has another status in XML than in JSON",
        _other_xml,
        "xml-says-the-same",
        ("searchset-in-xml",),
    ),
    Fault("xml-lacks-an-entry", "a searchset in XML lacks an entry", _fewer_in_xml, "searchset-in-xml"),
    Fault(
        "xml-swaps-components",
        "the systolic and the diastolic value are swapped in XML",
        _swapped_xml,
        "xml-says-the-same",
    ),
    Fault(
        "json-as-text",
        "Observations in JSON are sent as text/plain",
        _as_text("/fhir/Observation(/|$)", True),
        "xml-says-the-same",
        ("searchset-in-xml", "summary-is-a-collection", "summary-in-xml"),
    ),
    Fault(
        "errors-as-text",
        "errors in JSON are sent as text/plain",
        _as_text("/fhir/", False),
        "errors-in-the-asked-form",
    ),
    Fault(
        "read-without-token",
        "a read by id needs no token",
        _open("/fhir/(Observation|Device|DeviceMetric)/[^/_$]+$"),
        "no-token-no-data",
        ("token-in-the-address-is-refused",),
    ),
    Fault(
        "posted-without-token",
        "a search by POST needs no token",
        _open("/_search$"),
        "no-token-no-data",
    ),
    Fault(
        "summary-without-token",
        "the summary needs no token",
        _open("hddt-cgm-summary$"),
        "no-token-no-data",
    ),
    Fault(
        "read-with-any-token",
        "a read by id accepts any token",
        _open("/fhir/(Observation|Device|DeviceMetric)/[^/_$]+$", True),
        "bad-tokens-are-refused",
        (
            "no-token-no-data",
            "token-in-the-address-is-refused",
            "refresh-token-opens-nothing",
            "token-needs-its-diga",
        ),
    ),
    Fault("format-ignored", "_format is ignored", requests(SOMEWHERE, r"(^|&)_format=[^&]*"), "format-parameter"),
    Fault("no-token-is-400", "a request without a token is answered with 400", _no_token_needed, "no-token-no-data"),
    Fault(
        "token-is-anybodys",
        "a token works for another DiGA",
        _any_token,
        "token-needs-its-diga",
        after=("includes-bring-the-devices",),
    ),
    Fault(
        "others-are-read",
        "a read by id returns resources of other pairings",
        _any_view,
        "resources-of-others-are-unknown",
        ("only-devices-behind-observations", "hidden-devices-are-not-found", "devices-need-their-scope"),
    ),
    Fault(
        "scope-leaks",
        "a search without code returns a kind of data that was not granted",
        answers(OBSERVATIONS, foreign),
        "only-granted-codes",
        ("codes-are-loinc", *COMPARING),
    ),
    Fault(
        "versions-of-others-are-read",
        "a read of one version returns resources of other pairings",
        _any_version,
        "resources-of-others-are-unknown",
    ),
    Fault(
        "link-is-anybodys",
        "the link to a further page works for another pairing",
        _any_link,
        "links-belong-to-their-pairing",
    ),
    Fault(
        "history-of-all",
        "the history of Observation contains the Observations of all pairings",
        _history,
        "other-interactions-bring-nothing-hidden",
        after=("includes-bring-the-devices",),
    ),
    Fault("patient-is-there", "Patient can be read", _patient, "no-patient-endpoint"),
    Fault("delete-accepted", "DELETE is answered with 204", _writes, "nothing-can-be-written"),
    Fault(
        "subject-ignored",
        "the parameter subject is ignored",
        requests(OBSERVATIONS, r"(^|&)(subject|patient)=[^&]*"),
        "subject-is-refused",
    ),
    Fault(
        "patient-in-a-form-ignored",
        "the parameter patient is ignored in a form",
        requests("/fhir/Device(Metric)?/_search$", r"(^|&)patient=[^&]*", method="POST"),
        "patient-is-refused",
    ),
    Fault(
        "versions-by-any-name",
        "a read of a missing version returns the newest version",
        _newest,
        "unknown-versions-are-404",
    ),
    Fault(
        "throttled-without-a-time",
        "429 has no Retry-After header",
        _throttled(),
        "refusals-say-when",
        ("newest-comes-first",),
        after=("newest-comes-first",),
    ),
    Fault(
        "throttled-in-other-words",
        "429 has another text than the prescribed one",
        _throttled("Too early", **{"retry-after": "0"}),
        "refusals-say-when",
        ("newest-comes-first",),
        after=("newest-comes-first",),
    ),
    Fault(
        "throttled-until-soon",
        '429 has the Retry-After header "soon"',
        _throttled(**{"retry-after": "soon"}),
        "refusals-say-when",
        ("newest-comes-first",),
        after=("newest-comes-first",),
    ),
)
