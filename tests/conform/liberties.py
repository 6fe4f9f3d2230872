"""What another vendor's recorder may do differently within HDDT 1.0.1 and FHIR R4: none of it is a failure.

Each is put between the kit and our recorder like a fault (tests/conform/faults), and all of one group together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.conform.faults.tamper import Harm, Json, Tamper, asks, edited, replaced, resources, wrapping

Wrap = Callable[[httpx.BaseTransport, str], httpx.BaseTransport]
FHIR = r"/fhir/(Observation|Device|DeviceMetric)\b"
METRICS = r"/fhir/DeviceMetric(/_search)?$"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
ZONE = timezone(timedelta(hours=5, minutes=30))


def together(*harms: Harm) -> Wrap:
    """All of them, one after another."""
    wraps = [wrapping(harm) for harm in harms]

    def wrap(transport: httpx.BaseTransport, client_id: str) -> httpx.BaseTransport:
        for one in wraps:
            transport = one(transport, client_id)
        return transport

    return wrap


def _bodies(edit: Callable[[Tamper, httpx.Request, Json], object]) -> Harm:
    """Change successful responses of the FHIR server, in JSON and in XML alike."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        served = asks(request, FHIR) and answer.is_success and "$" not in request.url.path
        return edited(answer, lambda body: edit(tamper, request, body)) if served else answer

    return harm


def _each(edit: Callable[[Json], object]) -> Harm:
    def of_ours(_tamper: Tamper, _request: httpx.Request, body: Json) -> None:
        for one in resources(body):
            if one["resourceType"] in ("Observation", "Device", "DeviceMetric"):
                edit(one)

    return _bodies(of_ours)


def _walk(found: Any, change: Callable[[str], str]) -> Any:
    """Every string of a resource, except ids and the content of SampledData."""
    if isinstance(found, dict):
        return {key: value if key in ("id", "data") else _walk(value, change) for key, value in found.items()}
    if isinstance(found, list):
        return [_walk(one, change) for one in found]
    return change(found) if isinstance(found, str) else found


def _elsewhere(text: str) -> str:
    """The same instant in another time zone."""
    if not _TIME.fullmatch(text):
        return text
    moment = datetime.fromisoformat(text).astimezone(ZONE)
    return moment.isoformat(timespec="milliseconds" if "." in text else "seconds")


def _zone(one: Json) -> None:
    changed = _walk(one, _elsewhere)
    one.update(changed)


def _references(before: str, after: str = "") -> Callable[[Json], object]:
    def change(one: Json) -> None:
        for name in ("device", "source"):
            if name in one:
                one[name] = {"reference": f"{before}{one[name]['reference'].rpartition('/fhir/')[2]}{after}"}
        for part in one.get("derivedFrom") or ():
            part["reference"] = f"{before}{part['reference']}{after}"

    return change


def _plain(one: Json) -> None:
    """No profile is named; there is an identifier and an extension of the manufacturer's."""
    one["meta"].pop("profile", None)
    if one["resourceType"] != "Device":
        one["identifier"] = [{"system": "https://maker.example/ids", "value": one["id"]}]
    one["extension"] = [{"url": "https://maker.example/battery", "valueString": "full"}]


def _own_coding(one: Json) -> None:
    """A coding of the manufacturer's in addition to LOINC's."""
    if one.get("resourceType") == "Observation":
        one["code"]["coding"].append({"system": "https://maker.example/codes", "code": "a-value"})


def _own_unit(one: Json) -> None:
    """The unit of a DeviceMetric has a code of ISO/IEEE 11073 in addition to UCUM's, and a text."""
    if "unit" in one:
        one["unit"]["coding"].append({"system": "urn:iso:std:iso:11073:10101", "code": "264274"})
        one["unit"]["text"] = "mg/dL"


def _bare_bundle(tamper: Tamper, request: httpx.Request, body: Json) -> None:
    """No total; no `entry` instead of an empty list; no search.mode where nothing is included."""
    if body.get("resourceType") != "Bundle":
        return
    body.pop("total", None)
    if not body.get("entry"):
        body.pop("entry", None)
    elif all(entry["search"]["mode"] == "match" for entry in body["entry"]):
        for entry in body["entry"]:
            entry.pop("search")


def _with_a_remark(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Refusals have another issue before the error."""
    answer = tamper.pass_on(request)

    def remark(body: Json) -> None:
        if body.get("resourceType") == "OperationOutcome":
            told = {"severity": "information", "code": "informational", "diagnostics": "See our guide."}
            body["issue"].insert(0, told)

    return edited(answer, remark) if answer.is_client_error and "fhir+" in answer.headers["content-type"] else answer


def _paged_elsewhere(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Pages are at the FHIR base, under a meaningless name, as with HAPI."""
    pages: dict[str, str] = tamper.memory.setdefault("pages", {})
    if name := request.url.params.get("_getpages"):
        headers = {key: value for key, value in request.headers.items() if key != "host"}
        request = httpx.Request("GET", pages[name], headers=headers)
    answer = tamper.pass_on(request)
    if not asks(request, FHIR) or not answer.is_success:
        return answer

    def move(body: Json) -> None:
        for link in body.get("link") or ():
            if link["relation"] == "next":
                name = f"page-{len(pages)}"
                pages[name] = link["url"]
                link["url"] = f"{link['url'].partition('/fhir/')[0]}/fhir?_getpages={name}"

    return edited(answer, move)


def _other_heads(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Media types with a charset, no ETag, no headers about limits."""
    answer = tamper.pass_on(request)
    kind = answer.headers.get("content-type", "")
    if "fhir+" not in kind:
        return answer
    content_type = f"{kind.partition(';')[0]};charset=UTF-8"
    return replaced(answer, content_type=content_type, ratelimit=None, ratelimit_policy=None, etag=None)


def _without_metrics(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Observations refer to their Device; there is no DeviceMetric."""
    token = request.headers.get("authorization", "")
    metrics: dict[str, str] = tamper.memory.setdefault(token, {})
    if asks(request, "/fhir/DeviceMetric/(?!_search)"):
        asked = request.url.path.partition("/DeviceMetric/")[2].partition("/")[0]
        request = httpx.Request("GET", f"{_base(request)}/DeviceMetric/there-is-none", headers=_headers(request))
        answer = tamper.pass_on(request)
        return replaced(answer, answer.content.replace(b"there-is-none", asked.encode()))
    if not metrics and asks(request, FHIR) and token:
        _learn(tamper, request, metrics)
    answer = tamper.pass_on(request)
    if not asks(request, FHIR) or not answer.is_success:
        return answer

    def direct(body: Json) -> None:
        if "entry" in body:
            kept = [one for one in body["entry"] if one["resource"]["resourceType"] != "DeviceMetric"]
            body["entry"] = kept
            if asks(request, METRICS) and "total" in body:
                body["total"] = 0
            if asks(request, METRICS):
                body["link"] = [link for link in body["link"] if link["relation"] != "next"]
        for one in resources(body):
            reference = (one.get("device") or {}).get("reference", "")
            if reference in metrics:
                one["device"] = {"reference": metrics[reference]}

    return edited(answer, direct)


def _fewer_parameters(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Nothing is declared beyond HDDT."""

    def without(body: Json) -> None:
        for kind in body["rest"][0]["resource"]:
            if "searchParam" in kind:
                kind["searchParam"] = [one for one in kind["searchParam"] if one["name"] not in ("device", "status")]

    answer = tamper.pass_on(request)
    return edited(answer, without) if asks(request, "/fhir/metadata$") and answer.is_success else answer


def _learn(tamper: Tamper, request: httpx.Request, metrics: dict[str, str]) -> None:
    headers = {**_headers(request), "accept": "application/fhir+json"}
    answer = tamper.pass_on(httpx.Request("GET", f"{_base(request)}/DeviceMetric?_count=100", headers=headers))
    for entry in answer.json().get("entry", ()) if answer.is_success else ():
        one = entry["resource"]
        metrics[f"DeviceMetric/{one['id']}"] = one["source"]["reference"]


def _base(request: httpx.Request) -> str:
    parts = urlsplit(str(request.url))
    return f"{parts.scheme}://{parts.netloc}/fhir"


def _headers(request: httpx.Request) -> dict[str, str]:
    return {name: request.headers[name] for name in ("authorization", "accept") if name in request.headers}


def _oldest_first(tamper: Tamper, request: httpx.Request, body: Json) -> None:
    """Matches have another order within a page when no order is requested."""
    ordered: set[str] = tamper.memory.setdefault("ordered", set())  # further pages of what was asked for in order
    if "_sort" in str(request.url) or str(request.url) in ordered:
        ordered.update(link["url"] for link in body.get("link") or () if link["relation"] == "next")
    elif body.get("resourceType") == "Bundle" and body.get("entry"):
        matches = [entry for entry in body["entry"] if entry["search"]["mode"] == "match"]
        others = [entry for entry in body["entry"] if entry["search"]["mode"] != "match"]
        body["entry"] = [*reversed(matches), *others]


def groups(base: str) -> dict[str, Iterable[Harm]]:
    """Harmless changes by what they have in common; `base` is the FHIR base URL."""
    return {
        "forms": (
            _each(_zone),
            _each(_references(f"{base}/")),
            _each(_plain),
            _each(_own_coding),
            _each(_own_unit),
            _bodies(_oldest_first),
            _bodies(_bare_bundle),
            _paged_elsewhere,
            _with_a_remark,
            _other_heads,
        ),
        "devices": (_fewer_parameters, _without_metrics, _each(_references("", "/_history/1"))),
    }
