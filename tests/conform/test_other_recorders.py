"""Other vendors' recorders, within what HDDT and FHIR leave open: no failure; and faults that used to pass."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from ddr.conform.authorization import OBSERVATION, address, push, token
from ddr.conform.earlier import Earlier, remembered
from ddr.conform.found import Found
from ddr.conform.kit import Kit
from ddr.conform.report import model
from ddr.conform.report.model import Run
from ddr.conform.run import Result, run
from ddr.conform.target import MIV, Account, Target
from ddr.conform.verdict import Verdict
from ddr.conform.view import Elsewhere
from tests.conform.test_endings import CHECKS, DIGA, FHIR, ISSUER, check, kit

Json = dict[str, Any]
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PASSED, FAILED, PERSON = Verdict.PASSED, Verdict.FAILED, Verdict.PERSON
Finds = Callable[[str, str, Json], bool]  # parameter, value, resource


def statement(*parameters: str) -> Json:
    kinds = [
        {
            "type": kind,
            "interaction": [{"code": "read"}, {"code": "vread"}],
            "searchParam": [{"name": one, "type": "string"} for one in parameters],
        }
        for kind in ("Observation", "Device", "DeviceMetric")
    ]
    return {"resourceType": "CapabilityStatement", "rest": [{"resource": kinds}], "format": ["json", "xml"]}


def recorder(
    *resources: Json,
    finds: Finds = lambda *_: True,
    more: Mapping[str, Json] | None = None,
    mivs: str = "",
    link: str = "",
) -> Kit:
    """A kit at a recorder with these resources; `finds` is its search, `more` what it answers at other paths."""
    scope = " ".join(OBSERVATION + MIV + one for one in mivs.split())
    fixed = {"/fhir": {"scope": scope, "sub": "s" * 30}, "/fhir/metadata": statement(), **(more or {})}

    def answer(request: httpx.Request) -> httpx.Response:
        path, asked = request.url.path, dict(request.url.params)
        if path in fixed and not asked:
            return httpx.Response(200, headers=FHIR, content=json.dumps(fixed[path]))
        kind, _, name = path.removeprefix("/fhir/").partition("/")
        if name == "_search":
            name, asked = "", dict(parse_qsl(request.content.decode()))
        own = [one for one in resources if one["resourceType"] == kind]
        if name:
            found = next((one for one in reversed(own) if one["id"] == name), {"resourceType": "OperationOutcome"})
            return httpx.Response(200, headers=FHIR, content=json.dumps(found))
        if "_sort" in asked:  # from some time on: it is the same
            asked.pop("date", None)
        asked = {key: value for key, value in asked.items() if key[0] != "_" or key in ("_lastUpdated", "_id")}
        unique = {one["id"]: one for one in reversed(own)}
        matches = [one for one in unique.values() if all(finds(*pair, one) for pair in asked.items())]
        others = [one for one in resources if kind == "Observation" and one["resourceType"] != kind]
        entries = [{"resource": one, "search": {"mode": "match"}} for one in matches]
        entries += [{"resource": one, "search": {"mode": "include"}} for one in others]
        links = [{"relation": "self", "url": str(request.url)}]
        links += [{"relation": "next", "url": link}] if link else []
        page = {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}
        return httpx.Response(200, headers=FHIR, content=json.dumps(page))

    found = kit(answer)
    found.now_ms = lambda: int(NOW.timestamp() * 1000)
    return found


def of(found: Kit, name: str) -> Result:
    (result,) = run(found, [check(CHECKS[name].run, name)])
    return result


def at(days: float = 0.0, **more: float) -> str:
    return (NOW + timedelta(days=days, **more)).isoformat()


def value(name: str, when: str, **more: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "2339-0"}]},
        "effectiveDateTime": when,
        **more,
    }


def chunk(name: str, start: float, hours: float, device: str = "DeviceMetric/m", **more: Any) -> Json:
    """This many hours of values, from this many days ago."""
    data = {"period": 300_000, "dimensions": 1, "data": " ".join(["100"] * int(hours * 12))}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": "99504-3"}]},
        "device": {"reference": device},
        "effectivePeriod": {"start": at(start), "end": at(start, hours=hours, seconds=-1)},
        "valueSampledData": data,
        **more,
    }


def metric(version: str) -> Json:
    meta = {"versionId": version, "lastUpdated": at(-1)}
    return {"resourceType": "DeviceMetric", "id": "m", "source": {"reference": "Device/d"}, "meta": meta}


def landed(found: Kit, **said: str) -> Kit:
    """Set the redirect of the one pairing to these parameters."""
    view = found.views[0]
    view.pairing = replace(view.pairing, landed=str(httpx.URL("https://diga.example/cb", params=said)))
    return found


@pytest.mark.parametrize(
    ("promised", "said", "verdict"),
    [
        (False, {}, Verdict.NOT_APPLICABLE),
        (True, {}, FAILED),
        (False, {"iss": "https://other.example"}, FAILED),
        (False, {"iss": ISSUER}, PASSED),
    ],
)
def test_a_redirect_need_not_name_its_issuer(promised: bool, said: dict[str, str], verdict: Verdict) -> None:
    """HDDT does not name RFC 9207. Formerly a missing `iss` failed a MUST."""
    told = {"authorization_response_iss_parameter_supported": promised}
    found = landed(recorder(more={"/.well-known/oauth-authorization-server": told}), **said)
    assert of(found, "redirect-names-the-issuer").verdict is verdict


@pytest.mark.parametrize(
    ("registered", "told", "verdict"),
    [("", "", PASSED), ("/", "/", PASSED), ("", "/", FAILED), ("/", "", FAILED)],
)
def test_an_issuer_may_end_with_a_slash(registered: str, told: str, verdict: Verdict) -> None:
    found = recorder(more={"/.well-known/oauth-authorization-server": {"issuer": ISSUER + told}})
    found.target = Target(found.target.fhir_base, ISSUER + registered)
    assert of(found, "issuer-is-the-one-that-was-asked").verdict is verdict
    assert found.server_metadata.url == f"{ISSUER}/.well-known/oauth-authorization-server"


IN_VERSIONS = (
    chunk("a", -3, 24, "DeviceMetric/m/_history/1"),
    chunk("b", -2, 7, "DeviceMetric/m/_history/1"),
    chunk("c", -2 + 7 / 24, 24, "DeviceMetric/m/_history/2"),
)


@pytest.mark.parametrize("name", ["chunks-have-one-span", "chunks-follow-one-grid"])
def test_a_calibration_may_be_another_version_of_a_metric(name: str) -> None:
    """HDDT leaves it to the recorder whether to use another DeviceMetric or version. Formerly a version failed."""
    plain = [{**one, "device": {"reference": "DeviceMetric/m"}} for one in IN_VERSIONS]
    assert of(recorder(*IN_VERSIONS, metric("2")), name).verdict is PASSED
    assert of(recorder(*plain, metric("2")), name).verdict is PASSED, "references may name no version"
    assert of(recorder(*plain, metric("1")), name).verdict is FAILED, "there was one state only"
    later = [*plain[:2], chunk("c", -1.2, 24)]
    assert of(recorder(*later, metric("2")), name).verdict is FAILED, "nothing goes on where it was cut"


@pytest.mark.parametrize(
    ("status", "data", "reason", "verdict"),
    [
        ("preliminary", None, "temp-unknown", PASSED),
        ("preliminary", None, "error", FAILED),
        ("preliminary", "E E", "", FAILED),
        ("final", "E E", "", PASSED),
        ("final", None, "error", PASSED),
        ("final", None, "temp-unknown", FAILED),
    ],
)
def test_what_is_lost_for_good_may_be_final(status: str, data: str | None, reason: str, verdict: Verdict) -> None:
    """HDDT speaks of data that is missing for a while, and of errors. Formerly only the first was accepted."""
    one = chunk("a", -3, 24, status=status)
    if data is None:
        one.pop("valueSampledData")
    else:
        one["valueSampledData"]["data"] = data
    if reason:
        one["dataAbsentReason"] = {"coding": [{"code": reason}]}
    assert of(recorder(one, metric("1")), "empty-chunks-say-so").verdict is verdict


@pytest.mark.parametrize(("end", "verdict"), [(None, PASSED), (-1, PASSED), (-9999, FAILED)])
def test_a_reference_value_in_force_is_no_history(end: float | None, verdict: Verdict) -> None:
    """It began long ago, so `date=lt` finds it. Formerly this failed."""
    period = {"start": "1990-01-01T00:00:00Z", **({"end": at(end)} if end else {})}
    reference = value("r", "", effectivePeriod=period)
    reference.pop("effectiveDateTime")
    assert of(recorder(reference), "before-the-history-is-empty").verdict is verdict


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"data": "100 250 E L", "lowerLimit": 40, "upperLimit": 400}, PASSED),
        ({"data": "1000 2500", "factor": 0.1, "lowerLimit": 40, "upperLimit": 400}, PASSED),
        ({"data": "10 160", "origin": {"value": 90}, "lowerLimit": 40, "upperLimit": 400}, PASSED),
        ({"data": "5000", "factor": 0.1, "lowerLimit": 40, "upperLimit": 400}, FAILED),
        ({"data": "500", "lowerLimit": 40, "upperLimit": 400}, FAILED),
        ({"data": "1,5 foo NaN", "lowerLimit": 40, "upperLimit": 400}, PASSED),  # samples-are-readable tells those
    ],
)
def test_numbers_of_a_chunk_may_have_an_origin_and_a_factor(data: Json, verdict: Verdict) -> None:
    """FHIR R4 datatypes.html#SampledData. Formerly such numbers were beyond the limits, and an invalid one was a kit
    error."""
    one = chunk("c", -1, 1, valueSampledData={"period": 300_000, "dimensions": 1, **data})
    assert of(recorder(one, metric("1")), "values-lie-within-the-limits").verdict is verdict


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [({}, FAILED), ({"factor": 0.1}, PASSED), ({"factor": 0.05, "origin": {"code": "mg/dL", "value": 50}}, PASSED)],
)
def test_a_summary_is_of_what_the_numbers_stand_for(factor: Json, verdict: Verdict) -> None:
    """Formerly the kit used the numbers as written in the chunk."""
    data = {"period": 300_000, "dimensions": 1, "data": " ".join(["1000"] * 288), "origin": {"code": "mg/dL"}}
    mean = {
        "resourceType": "Observation",
        "code": {"coding": [{"system": LOINC, "code": "97507-8"}]},
        "valueQuantity": {"value": 100},
    }
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": mean}]}
    more = {"/fhir/Observation/$hddt-cgm-summary": bundle}
    one = chunk("c", -3, 24, valueSampledData={**data, **factor})
    found = recorder(one, metric("1"), mivs="continuous-glucose-measurement", more=more)
    assert (result := of(found, "summary-agrees-with-the-chunks")).verdict is verdict, result.text


@pytest.mark.parametrize(("period", "verdict"), [(300_000, PASSED), (60_000, PASSED), (300, FAILED), (0, FAILED)])
def test_a_period_in_seconds_is_told(period: int, verdict: Verdict) -> None:
    """A reader would put the values of a day into a minute and a half. Formerly this passed."""
    one = chunk("c", -1, 24)
    one["valueSampledData"]["period"] = period
    one["valueSampledData"]["data"] = "100 101 102"
    assert of(recorder(one, metric("1")), "samples-are-readable").verdict is verdict


@pytest.mark.parametrize(
    ("word", "verdict"),
    [("mg/dL", PASSED), ("mg/dl", PASSED), ("Milligramm je Deziliter", PASSED), ("mmol/L", FAILED), ("%", FAILED)],
)
def test_a_unit_says_to_people_what_it_says_to_programs(word: str, verdict: Verdict) -> None:
    """Formerly this passed, although a page that shows `unit` would be wrong by a factor of 18."""
    amount = {"value": 100, "unit": word, "system": UCUM, "code": "mg/dL"}
    data = {"origin": {**amount, "value": 0}, "period": 300_000, "dimensions": 1, "data": "100"}
    found = recorder(value("v", at(), valueQuantity=amount), chunk("c", -1, 1, valueSampledData=data), metric("1"))
    for name in ("glucose-units-fit", "sampled-data-is-complete"):
        assert of(found, name).verdict is verdict


def test_without_a_refresh_token_one_check_says_so() -> None:
    """Formerly there was a kit error, and an absent token counted as refused."""
    found = recorder(value("v", at()))
    names = ("altered-refresh-token-is-refused", "refresh-token-opens-nothing", "revoking-ends-everything")
    assert found.views[0].refresh_token == ""
    for name in names:
        assert (result := of(found, name)).verdict is Verdict.NOT_RUN, result.text
    assert of(found, "token-answer-is-complete").verdict is FAILED


@pytest.mark.parametrize(
    ("time", "verdict"),
    [
        ("9999-12-31", PASSED),
        ("9999", PASSED),
        ("2024-02-29", PASSED),
        ("2026-02-29", FAILED),
        ("2026-02-30T10:00:00Z", FAILED),
        ("2026-11-20T10:00:00+99:00", FAILED),
        ("0000-11-20T10:00:00Z", FAILED),
    ],
)
def test_times_are_those_of_the_calendar(time: str, verdict: Verdict) -> None:
    """Formerly an impossible time was a kit error, as was year 9999, which stands for "until further notice"."""
    found = recorder(value("v", time, meta={"lastUpdated": at()}))
    assert of(found, "everything-is-fhir-r4").verdict is verdict
    results = [of(found, name) for name in ("newest-comes-first", "sort-orders", "search-by-date")]
    assert not [one for one in results if one.verdict is Verdict.KIT_ERROR], results


@pytest.mark.parametrize(
    ("metadata", "failing"),
    [
        ({"authorization_endpoint": "https://[x"}, "addresses-are-https"),
        ({"token_endpoint": "https://recorder.example:abc/token"}, "addresses-are-https"),
        ({"token_endpoint": "/token"}, "addresses-are-https"),
        ({"scopes_supported": [1, 2]}, "scopes-offered"),
        ({"grant_types_supported": [{"a": 1}]}, "grants-offered"),
    ],
)
def test_metadata_of_another_shape_are_the_recorders(metadata: Json, failing: str) -> None:
    """This also holds for checks that find the metadata read already. Formerly it was a kit error."""
    metadata = {"issuer": ISSUER, **metadata}
    found = recorder(more={"/.well-known/oauth-authorization-server": metadata})
    assert found.server_metadata.status == 200
    names = (failing, "scopes-offered", "grants-offered", "summary-declared", "unknown-request-uri-is-refused")
    results = {name: of(found, name) for name in names}
    assert results[failing].verdict is FAILED
    assert not [one for one in results.values() if one.verdict is Verdict.KIT_ERROR], results


AUTHORIZE, PUSH = "authorization_endpoint", "pushed_authorization_request_endpoint"


def before_its_page(request: httpx.Request) -> httpx.Response | None:
    """A recorder's responses before the browser comes: to requests for metadata and to PAR."""
    if "well-known" in request.url.path:
        return httpx.Response(200, json={name: f"{ISSUER}/{name}" for name in (AUTHORIZE, PUSH)})
    if request.url.path == f"/{PUSH}":
        return httpx.Response(201, json={"request_uri": "urn:a", "expires_in": 60})
    return None


@pytest.mark.parametrize("location", ["https://[x", "https://evil.example:abc/", "mailto:"])
def test_a_redirect_that_leads_nowhere_is_the_recorders(location: str) -> None:
    """Formerly this was a kit error."""

    def answer(request: httpx.Request) -> httpx.Response:
        return before_its_page(request) or httpx.Response(303, headers={"location": location})

    found = kit(answer)
    found.target = replace(found.target, digas=(DIGA,))
    found.wire._clients[DIGA.client_id, DIGA.certificate] = found.wire._client(None)
    assert of(found, "unknown-request-uri-is-refused").verdict is FAILED
    assert of(found, "login-cannot-be-framed").verdict is PERSON


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"access_token": "a\nb"}, "access_token is not a string as RFC 6749 allows"),
        ({"access_token": "ü"}, "access_token is not a string as RFC 6749 allows"),
        ({"access_token": "a", "refresh_token": "ü"}, "refresh_token is not a string as RFC 6749 allows"),
        ({"access_token": "a", "expires_in": 10**400}, ""),
        ({"access_token": "a", "expires_in": -(10**400)}, ""),
    ],
)
def test_tokens_that_nobody_can_send_are_the_recorders(tokens: Json, said: str) -> None:
    """Formerly this was a kit error in every check after the pairing."""

    def answer(request: httpx.Request) -> httpx.Response:
        names = ("pushed_authorization_request_endpoint", "authorization_endpoint", "token_endpoint")
        if "well-known" in request.url.path:
            return httpx.Response(200, json={name: f"{ISSUER}/{name}" for name in names})
        return httpx.Response(200, json={"request_uri": "urn:a", **tokens})

    found = kit(answer, lambda _: f"{DIGA.redirect_uri}?code=1")
    found.target = replace(found.target, digas=(DIGA,))
    found.wire._clients[DIGA.client_id, DIGA.certificate] = found.wire._client(None)
    del found.__dict__["_paired"]
    result = of(found, "pairing-succeeds")
    assert (result.verdict, result.text) == (FAILED if said else PASSED, said)


def finds_text(name: str, asked: str, one: Json) -> bool:
    """A string search by the standard: unescaped commas separate values; case and accents do not matter."""
    known = one["manufacturer"] if name == "manufacturer" else one["deviceName"][0]["name"]
    parts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\),", asked)]
    plain = str.maketrans("éüö", "euo")
    return any(known.lower().translate(plain).startswith(part.lower().translate(plain)) for part in parts)


@pytest.mark.parametrize("name", ["search-by-manufacturer", "search-by-device-name"])
def test_names_may_have_commas_and_sharp_s(name: str) -> None:
    """Formerly the kit searched for "Dexcom" or " Inc." instead of "Dexcom, Inc.", and "SS" had to find ß."""
    makers = ("Dexcom, Inc.", "Dexcom GmbH", "Groß & Weiß", "A\\B | C$")
    devices = [
        {"resourceType": "Device", "id": str(place), "manufacturer": one, "deviceName": [{"name": one}]}
        for place, one in enumerate(makers)
    ]
    for first in range(len(devices)):
        turned = [*devices[first:], *devices[:first]]
        assert (found := of(recorder(*turned, finds=finds_text), name)).verdict is PASSED, found.text


def test_stamps_may_be_finer_than_milliseconds() -> None:
    """Many servers have such timestamps. Formerly the kit rounded the requested one up, so that it was not found."""
    stamps = ["2026-11-20T10:00:00.1234567Z", "2026-11-20T10:00:00.1236001Z", "2026-11-20T10:00:00.1240000Z"]
    values = [value(str(place), at(), meta={"lastUpdated": one}) for place, one in enumerate(stamps)]

    def exact(name: str, asked: str, one: Json) -> bool:
        prefix, when = asked[:2], datetime.fromisoformat(asked[2:])
        own = datetime.fromisoformat(one["meta"]["lastUpdated"])
        return {"gt": own > when, "ge": own >= when, "lt": own < when, "le": own <= when}[prefix]

    more = {"/fhir/metadata": statement("_lastUpdated")}
    for chosen in (values, values[:2], values[1:]):
        result = of(recorder(*chosen, finds=exact, more=more), "search-observations-by-last-updated")
        assert result.verdict is PASSED, result.text


@pytest.mark.parametrize(
    ("order", "verdict"), [("v c d", PASSED), ("c v d", PASSED), ("d v c", FAILED), ("d c v", FAILED)]
)
def test_periods_may_be_sorted_by_their_end(order: str, verdict: Verdict) -> None:
    """FHIR R4 does not say by which end. Formerly only the beginning was accepted."""
    running = chunk("c", -0.5, 24, status="preliminary")
    known = {one["id"]: one for one in (value("v", at(hours=-2)), running, chunk("d", -1.5, 24))}

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        shown = [known[name] for name in order.split() if asked.get("code", "") in json.dumps(known[name])]
        shown = shown[::-1] if asked.get("_sort") == "date" else shown
        size, page = int(asked.get("_count", 9)), int(asked.get("page", 0))
        entries = [{"resource": one, "search": {"mode": "match"}} for one in shown[page * size : (page + 1) * size]]
        link = {"relation": "next", "url": str(request.url.copy_set_param("page", page + 1))}
        links = [link] if (page + 1) * size < len(shown) else []
        content = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links})
        return httpx.Response(200, headers=FHIR, content=content)

    assert of(kit(answer), "sort-orders").verdict is verdict
    assert of(kit(answer), "newest-comes-first").verdict is verdict


@pytest.mark.parametrize(
    ("link", "verdict"),
    [
        ("https://recorder.example:443/fhir/p?q=2", PASSED),
        ("HTTPS://RECORDER.example/fhir/p?q=2", PASSED),
        ("https://recorder.example:444/fhir/p?q=2", FAILED),
        ("http://recorder.example/fhir/p?q=2", FAILED),
        ("https://recorder.example:99999/fhir/p?q=2", FAILED),
    ],
)
def test_a_server_is_the_same_however_its_address_is_written(link: str, verdict: Verdict) -> None:
    """RFC 3986 section 6.2.3. Formerly the link seemed to lead to another server, and nothing more was read."""
    found, one = recorder(value("v", at()), link=link), Found()
    one.take(found.views[0].get("Observation"))
    found.views[0]._read["Observation"] = one
    assert of(found, "links-name-the-search").verdict is verdict
    try:
        assert found.views[0].following(one.pages[0]) is not None
    except Elsewhere:
        assert verdict is FAILED


@pytest.mark.parametrize("meta", [{}, {"meta": {"profile": []}}])
def test_nobody_has_to_say_when_something_has_changed(meta: Json) -> None:
    """FHIR does not require `meta.lastUpdated`; HDDT requires the search by it only for continuous glucose."""
    one = value("v", at(), **meta)
    assert of(recorder(one, mivs="blood-glucose-measurement"), "meta-is-complete").verdict is PASSED
    assert of(recorder(one, mivs="continuous-glucose-measurement"), "meta-is-complete").verdict is FAILED
    declared = {"/fhir/metadata": statement("_lastUpdated")}
    assert of(recorder(one, more=declared), "meta-is-complete").verdict is FAILED


@pytest.mark.parametrize(("days", "verdict"), [(0, PASSED), (0.01, FAILED), (300, FAILED)])
def test_nothing_has_changed_in_the_future(days: float, verdict: Verdict) -> None:
    """A client that polls would continue from that instant, and miss all earlier changes. Formerly this passed."""
    one = value("v", at(), meta={"lastUpdated": at(days)})
    assert of(recorder(one), "meta-is-complete").verdict is verdict


def test_the_total_is_that_of_all_pages() -> None:
    """Formerly the number of matches on one page passed as the total."""
    known = [value(str(day), at(-day)) for day in range(20)]

    def answer(total: Callable[[int], Json], request: httpx.Request) -> httpx.Response:
        size, page = int(request.url.params.get("_count", 100)), int(request.url.params.get("page", 0))
        shown = known[page * size : (page + 1) * size]
        link = {"relation": "next", "url": str(request.url.copy_set_param("page", page + 1))}
        entries = [{"resource": one} for one in shown]
        body = {"resourceType": "Bundle", "type": "searchset", "entry": entries, **total(len(shown))}
        body["link"] = [link] if (page + 1) * size < len(known) else []
        return httpx.Response(200, headers=FHIR, content=json.dumps(body))

    for total, verdict in (
        (lambda _: {"total": 20}, PASSED),
        (lambda _: {}, PASSED),
        (lambda shown: {"total": shown}, FAILED),
    ):
        found = kit(partial(answer, total))
        assert (result := of(found, "pages-lose-and-repeat-nothing")).verdict is verdict, result.text


def test_what_grows_without_versions_may_differ_from_what_was_found() -> None:
    """Formerly this failed, "though the version is the same"."""
    before, now = (chunk("c", -1, hours, meta={"lastUpdated": at(-1, hours=hours)}) for hours in (5, 6))
    assert of(recorder(before, now), "what-is-found-can-be-read").verdict is PASSED
    same = {**now, "meta": before["meta"]}
    assert of(recorder(before, same), "what-is-found-can-be-read").verdict is FAILED


EVENT = {"begin": at(), "until": None, "reason": "x"}
SNAKE = ("planned_start", "planned_end", "root_cause", "fhir_endpoints")
CAMEL = ("plannedStart", "validTo", "rootCause", "fhirEndPoints")


@pytest.mark.parametrize(
    ("feed", "verdict"),
    [
        ({"status": "operational", "updated": at()}, PERSON),
        ({"status": "operational", "updated": at(), "events": [EVENT]}, FAILED),
        ({"status": "operational", "updated": at(), "events": [{**EVENT, "affected": []}]}, PASSED),
        ({"status": "operational", "updated": at(), "events": [{**EVENT, "endpoints": []}]}, PASSED),
        ({"status": "demoted", "updated": at()}, FAILED),
        ({"status": "fine", "updated": at()}, FAILED),
        ({}, PERSON),
        ({"status": "unavailable", "updated": at(), "start": at(), "cause": "x", "endpoints": []}, FAILED),
        ({"status": "unavailable", "updated": at(), "start": at(), "cause": "x", "endPoints": []}, FAILED),
        ({"status": "demoted", "updated": at(), **dict.fromkeys(SNAKE)}, PASSED),
        ({"status": "demoted", "updated": at(), **dict.fromkeys(CAMEL)}, PASSED),
    ],
)
def test_a_feed_has_names_of_its_own(feed: Json, verdict: Verdict) -> None:
    """HDDT says what a feed contains but not by which names, and nothing about an end that is not known yet. Formerly
    only our names passed, and "endpoint" counted as an end."""
    found = recorder(more={"/status": feed})
    found.target = replace(found.target, status_url="https://recorder.example/status")
    assert of(found, "status-feed").verdict is verdict


def test_formats_may_have_parameters() -> None:
    told = {**statement(), "format": ["application/fhir+json; fhirVersion=4.0", "application/fhir+xml;charset=utf-8"]}
    assert of(recorder(more={"/fhir/metadata": told}), "formats-declared").verdict is PASSED


@pytest.mark.parametrize(
    ("name", "finds", "advice"),
    [
        ("subject-is-refused", True, True),
        ("patient-is-refused", True, True),
        ("subject-is-refused", False, False),
        ("patient-is-refused", False, False),
    ],
)
def test_who_ignores_a_named_patient_is_advised(name: str, finds: bool, advice: bool) -> None:
    """HDDT demands that the parameter is ignored, and recommends 400. Formerly this failed a MUST."""
    device = {"resourceType": "Device", "id": "d"}
    result = of(recorder(value("v", at()), device, metric("1"), finds=lambda *_: finds), name)
    assert (result.verdict, result.advice) == (FAILED, advice), result.text


@pytest.mark.parametrize(
    ("status", "code", "told", "verdict", "advice"),
    [
        (503, "transient", None, FAILED, True),
        (503, "throttled", None, FAILED, False),
        (429, "throttled", None, FAILED, False),
        (503, "transient", "soon", FAILED, False),
        (503, "transient", "7", PASSED, False),
    ],
)
def test_a_recorder_that_is_closed_should_say_until_when(
    status: int, code: str, told: str | None, verdict: Verdict, advice: bool
) -> None:
    """HDDT recommends Retry-After for load and maintenance, and demands it for limits. Formerly the former failed a
    MUST."""
    issue = {"severity": "error", "code": code}
    headers = {**FHIR, **({"retry-after": told} if told else {})}
    content = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
    found = kit(lambda _: httpx.Response(status, headers=headers, content=content))
    found.wire.patience = None
    found.wire.send("GET", f"{found.target.fhir_base}/Device")
    result = of(found, "refusals-say-when")
    assert (result.verdict, result.advice) == (verdict, advice), result.text
    assert model._result(Run(found, [result], 0, 0, ["ddr"], "0"), result)["remark"] is advice


def test_a_limit_may_be_told_in_xml_where_that_was_asked_for() -> None:
    """Formerly the kit found no OperationOutcome in it, which failed a MUST."""
    headers = {"content-type": "application/fhir+xml", "retry-after": "7"}
    content = (
        '<OperationOutcome xmlns="http://hl7.org/fhir"><issue><code value="throttled"/></issue></OperationOutcome>'
    )
    found = kit(lambda _: httpx.Response(429, headers=headers, content=content))
    found.wire.patience = None
    found.wire.send("GET", f"{found.target.fhir_base}/Device/d", headers={"accept": headers["content-type"]})
    assert of(found, "refusals-say-when").verdict is PASSED


@pytest.mark.parametrize(("named", "verdict"), [("Device/{}", PASSED), ("{}", PASSED), ("x{}", FAILED)])
def test_what_is_not_known_is_named_with_its_type_or_without(named: str, verdict: Verdict) -> None:
    """HDDT prescribes "Resource %s is not known". Formerly only the form with the type was accepted."""

    def answer(request: httpx.Request) -> httpx.Response:
        kind, name = request.url.path.rpartition("/fhir/")[2].split("/")
        said = named.format(name).replace("Device/", f"{kind}/")
        issue = {"severity": "error", "code": "processing", "diagnostics": f"Resource {said} is not known"}
        content = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
        return httpx.Response(404, headers=FHIR, content=content)

    found = recorder()
    found.wire._wrap = lambda *_: httpx.MockTransport(answer)
    found.wire._clients.clear()
    assert of(found, "unknown-ids-are-404").verdict is verdict


@pytest.mark.parametrize(("brought", "verdict"), [("d", PASSED), ("", FAILED), ("d e", FAILED)])
def test_a_search_for_metrics_brings_their_devices(brought: str, verdict: Verdict) -> None:
    """HDDT demands `_include` for all types. Formerly the kit used it for Observations only."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params
        found = [] if asked.get("_id") == "there-is-none" or "DeviceMetric" not in str(request.url) else [metric("1")]
        entries = [{"resource": one, "search": {"mode": "match"}} for one in found]
        for name in brought.split() if "_include" in asked else ():
            entries.append({"resource": {"resourceType": "Device", "id": name}, "search": {"mode": "include"}})
        content = json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries})
        return httpx.Response(200, headers=FHIR, content=content)

    assert of(kit(answer), "search-devices-by-id").verdict is verdict


@pytest.mark.parametrize("without", [True, False])
@pytest.mark.parametrize("name", ["search-by-value-quantity", "search-by-component-value"])
def test_values_are_searched_without_unit_too(name: str, without: bool) -> None:
    """HDDT's examples do so. Formerly the kit searched with a unit only, although its description named both."""
    miv = "blood-pressure-value" if "component" in name else "blood-glucose-measurement"

    def finds(parameter: str, asked: str, one: Json) -> bool:
        if parameter == "_id":
            return bool(asked == one["id"])
        number, *unit = asked[2:].split("|")
        parts = [one, *one.get("component", ())]
        held = [part["valueQuantity"] for part in parts if "valueQuantity" in part]
        own = [each["value"] for each in held if not unit or unit[-1] == each["code"]]
        if not unit and not without:
            return False
        compare = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt}[asked[:2]]
        return any(compare(each, float(number)) for each in own)

    quantities = [{"value": number, "system": UCUM, "code": "mm[Hg]"} for number in (80, 120, 140)]
    values = [{"valueQuantity": each} for each in quantities]
    bodies = [{"component": [one]} if "component" in name else one for one in values]
    shown = [value(str(place), at(-place), **body) for place, body in enumerate(bodies)]
    wanted = PASSED if without else FAILED
    result = of(recorder(*shown, finds=finds, mivs=miv), name)
    assert result.verdict is wanted, result.text


@pytest.mark.parametrize(("hours", "verdict"), [(0, PASSED), (1, FAILED)])
def test_a_chunk_may_tell_its_start_in_another_zone(hours: float, verdict: Verdict) -> None:
    """The zone may differ after a change of clocks or of versions. Formerly the chunk "starts at another time"."""
    now = chunk("a", -0.5, 24, status="preliminary")
    berlin = (NOW + timedelta(days=-0.5, hours=hours)).astimezone(timezone(timedelta(hours=1)))
    before = {**now, "effectivePeriod": {**now["effectivePeriod"], "start": berlin.isoformat()}}
    found = recorder(now, metric("1"))
    found.earlier = Earlier(found.target.fhir_base, 0, {found.views[0].name: {"Observation/a": remembered(before)}})
    assert of(found, "growing-chunks-keep-values").verdict is verdict


@pytest.mark.parametrize("left_out", [(), ("15074-8",)])
def test_a_search_without_code_has_all_codes(left_out: tuple[str, ...]) -> None:
    """Formerly a search that left a code out passed, since nobody searched for codes that had not been seen."""
    values = [value(code, at(), code={"coding": [{"system": LOINC, "code": code}]}) for code in ("2339-0", "15074-8")]

    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params.get("code", "").split(",")
        shown = [one for one in values if one["id"] in asked or (asked == [""] and one["id"] not in left_out)]
        found = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in shown]}
        scope = OBSERVATION + MIV + "blood-glucose-measurement"
        return httpx.Response(200, headers=FHIR, content=json.dumps({"scope": scope, **found}))

    assert of(kit(answer), "only-granted-codes").verdict is (FAILED if left_out else PASSED)


@pytest.mark.parametrize(
    ("sub", "username", "verdict"),
    [
        ("3" * 39, "", PASSED),
        (str(2**128 // 50), "", PASSED),  # two of a hundred are as short
        ("3" * 30, "", FAILED),
        ("8fbc2annq01kzw7yt5dd", "ann", PASSED),  # by chance
        ("8fbc2annaq01kzw7yt5d", "Anna", FAILED),
        ("8fbc2", "", FAILED),
    ],
)
def test_a_pairing_id_may_be_a_long_number(sub: str, username: str, verdict: Verdict) -> None:
    found = recorder(more={"/fhir": {"scope": "", "sub": sub}})
    found.target = replace(found.target, patients=(Account(username),))
    assert of(found, "pairing-id-is-not-guessable").verdict is verdict


def test_endpoints_may_have_a_query() -> None:
    """RFC 6749 sections 3.1 and 3.2. Formerly the URL got two question marks, and there was a kit error."""
    names = ("authorization_endpoint", "pushed_authorization_request_endpoint", "token_endpoint", "revocation_endpoint")
    told = {name: f"{ISSUER}/{name}?tenant=a" for name in names}
    found = recorder(more={"/.well-known/oauth-authorization-server": told})
    assert address(found, "c", "u") == f"{ISSUER}/authorization_endpoint?tenant=a&client_id=c&request_uri=u"
    assert push(found, {"a": "b"}, None).url == told["pushed_authorization_request_endpoint"]
    assert token(found, {"a": "b"}, None).url == told["token_endpoint"]
    assert found.wire.send("POST", told["revocation_endpoint"], form={"a": "b"}).body == "a=b"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
@pytest.mark.parametrize("name", ["token-is-post-only", "par-is-post-only"])
def test_what_is_asked_by_get_is_refused_in_any_way(name: str, status: int) -> None:
    """The RFCs do not say how. Formerly a 401 for a request without client_id failed."""
    endpoints = {"token_endpoint": f"{ISSUER}/a", "pushed_authorization_request_endpoint": f"{ISSUER}/a"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=endpoints) if "well-known" in str(request.url) else httpx.Response(status)

    found = kit(answer)
    found.target = replace(found.target, digas=(DIGA,))
    found.wire._clients[DIGA.client_id, DIGA.certificate] = found.wire._client(None)
    assert of(found, name).verdict is PASSED


def without_pages(found: list[Json], *, worst: bool = False) -> Kit:
    """A kit at a recorder that returns at most `_count` resources and no link to more: the first ones in the requested
    order, or the `worst`."""

    def answer(request: httpx.Request) -> httpx.Response:
        path, asked = request.url.path.removesuffix("/_search"), dict(request.url.params)
        asked |= dict(parse_qsl(request.content.decode()))
        if path == "/fhir":
            return httpx.Response(200, headers=FHIR, content=json.dumps({"scope": "", "sub": "s" * 30}))
        own = [one for one in found if path.endswith(f"/{one['resourceType']}")]
        own = [one for one in own if one["id"] == asked.get("_id", one["id"])]
        if "_sort" in asked:
            own.sort(key=lambda one: str(one["effectiveDateTime"]), reverse=asked["_sort"].startswith("-"))
        size = int(asked.get("_count", len(own)))
        shown = own[-size:] if worst else own[:size]
        entries = [{"resource": one, "search": {"mode": "match"}} for one in shown]
        page = {"resourceType": "Bundle", "type": "searchset", "total": len(own), "entry": entries}
        return httpx.Response(200, headers=FHIR, content=json.dumps(page))

    return kit(answer)


MANY = [value(str(day), at(-day)) for day in range(149)] + [{"resourceType": "Device", "id": str(n)} for n in (1, 2)]


@pytest.mark.parametrize(
    ("name", "worst", "verdict", "advice"),
    [
        ("sort-orders", False, PASSED, False),
        ("sort-orders", True, FAILED, False),
        ("post-search-equals-get", False, PASSED, False),
        ("pages-lose-and-repeat-nothing", False, FAILED, True),
        ("devices-come-in-pages", False, FAILED, True),
        ("total-is-right", False, PASSED, False),
        ("newest-comes-first", False, PASSED, False),
        ("newest-comes-first", True, FAILED, False),
    ],
)
def test_pages_are_recommended_only(name: str, worst: bool, verdict: Verdict, advice: bool) -> None:
    """A recorder without pages returns no more than `_count` all the same. Formerly this failed a MUST."""
    result = of(without_pages(MANY, worst=worst), name)
    assert (result.verdict, result.advice) == (verdict, advice), result.text


@pytest.mark.parametrize(("hours", "verdict"), [(100, PASSED), (100.5, FAILED)])
def test_a_span_may_end_where_the_next_one_begins(hours: float, verdict: Verdict) -> None:
    """HDDT's examples do so. Formerly, after a gap of days, a chunk with a value every minute was off the grid."""
    found = []
    for name, after in (("a", 0.0), ("b", 1.0), ("c", hours)):
        period = {"start": at(-6, hours=after), "end": at(-6, hours=after + 1)}
        data = {"period": 60_000, "dimensions": 1, "data": " ".join(["100"] * 60)}
        found.append(chunk(name, 0, 1, effectivePeriod=period, valueSampledData=data))
    assert of(recorder(*found, metric("1")), "chunks-follow-one-grid").verdict is verdict


@pytest.mark.parametrize(
    ("chunks", "days", "verdict"),
    [
        ([chunk("a", -60, 24), chunk("b", -10, 225)], (10, 0.6), PASSED),  # of the second sensor
        ([chunk("b", -29, 225), chunk("a", -0.5, 12)], (29, 19), PASSED),  # what was worn again came later
        ([chunk("a", -29.5, 690)], (10, 0.6), FAILED),
        ([chunk("a", -5, 24, valueSampledData={"period": 300_000, "data": "E E"})], (29, 0.6), PASSED),
        ([chunk("a", -5, 24, valueSampledData={})], (29, 0.6), PASSED),
    ],
)
def test_a_summary_may_be_of_the_time_in_which_there_are_values(
    chunks: list[Json], days: tuple[float, float], verdict: Verdict
) -> None:
    """Formerly a pause of the sensor within a longer history failed, and no values at all was a kit error."""
    period = {"start": at(-days[0]), "end": at(-days[1])}
    report = {"resourceType": "Observation", "code": {"coding": [{"code": "97507-8"}]}, "effectivePeriod": period}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": report}]}
    more = {"/fhir/Observation/$hddt-cgm-summary": bundle}
    found = recorder(*chunks, mivs="continuous-glucose-measurement", more=more)
    result = of(found, "summary-of-thirty-days")
    assert result.verdict is verdict, result.text


@pytest.mark.parametrize(
    ("page", "headers", "verdict"),
    [
        ("/login", {}, FAILED),
        ("/login", {"x-frame-options": "DENY"}, PASSED),
        ("https://login.provider.example/", {}, PERSON),
        ("https://login.provider.example/", {"content-security-policy": "frame-ancestors 'none'"}, PASSED),
    ],
)
def test_a_page_of_a_provider_of_identities_is_not_the_recorders(
    page: str, headers: dict[str, str], verdict: Verdict
) -> None:
    """Formerly the recorder that redirects to it failed."""

    def answer(request: httpx.Request) -> httpx.Response:
        if found := before_its_page(request):
            return found
        if request.url.path == f"/{AUTHORIZE}":
            return httpx.Response(303, headers={"location": page})
        return httpx.Response(200, headers=headers)

    found = kit(answer)
    found.target = replace(found.target, digas=(DIGA,))
    found.wire._clients[DIGA.client_id, DIGA.certificate] = found.wire._client(None)
    result = of(found, "login-cannot-be-framed")
    assert result.verdict is verdict, result.text
