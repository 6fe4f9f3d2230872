"""JSON and XML, content negotiation, and the errors of both (HDDT use_of_hl7_fhir.md, error-codes.md)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.found import key_of
from ddr.conform.judging import expect_media_type, expect_refused, expect_same_leaves
from ddr.conform.kit import Kit
from ddr.conform.laws.leaves import Leaves, json_leaves
from ddr.conform.verdict import Failed, NotApplicable, expect
from ddr.conform.view import INCLUDES, View

PATIENT = (Need.PATIENT,)
TYPES = ("Observation", "Device", "DeviceMetric")
FORM = "application/x-www-form-urlencoded"
XML, JSON = "application/fhir+xml", "application/fhir+json"
_CODED = re.compile(r"OperationOutcome\.issue(\[[0-9]+\])?\.(severity|code)")
WRONG_VERSION = "FHIR version not supported. This server supports FHIR R4 (version 4.0.1)"


@check("RS-007", needs=PATIENT, searches=1)
def xml_says_the_same(kit: Kit) -> None:
    """The XML of each kind of resource holds exactly what its JSON holds."""
    for view in kit.views:
        for key in _samples(view):
            plain, marked, again = view.get(key), view.get(key, accept=XML), view.get(key)
            expect(marked.status == 200, f"{key} is not answered in XML", marked)
            expect_media_type(marked, XML)
            expect_media_type(plain, JSON)
            if json_leaves(plain.json) == json_leaves(again.json):  # otherwise it changed meanwhile
                expect_same_leaves(key, plain, marked)


def _samples(view: View) -> list[str]:
    """Two resources of each type and code."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for kind in ("Observation", "Device", "DeviceMetric"):
        for one in view.listed(kind).matches:
            code = f"{kind} {one.get('code')}"
            seen[code] += 1
            if seen[code] <= 2:
                found.append(key_of(one))
    return found


@check("RS-007", needs=PATIENT, searches=3)
def searchset_in_xml(kit: Kit) -> None:
    """A search by GET or POST is also answered in XML, with the same entries."""
    view = kit.views[0]
    for kind in ("Device", "DeviceMetric"):
        posted = partial(view.send, "POST", f"{kind}/_search", {"content-type": FORM, "accept": XML})
        _expect_same_entries(kind, partial(view.get, kind), partial(view.get, kind, accept=XML))
        _expect_same_entries(kind, partial(view.get, kind), posted)
    for one in sorted(view.everything.matches, key=lambda each: each.get("status") != "final")[:1]:
        path = f"Observation?_id={one['id']}&{INCLUDES}"
        _expect_same_entries("Observation", partial(view.search, path), partial(view.search, path, accept=XML))


def _expect_same_entries(kind: str, ask: Callable[[], Exchange], in_xml: Callable[[], Exchange]) -> None:
    def compare() -> None:
        plain, marked = ask(), in_xml()
        expect(marked.status == 200 and marked.media_type == XML, f"{kind}: a search is not answered in XML", marked)
        expect_media_type(plain, JSON)
        expect_same_leaves(kind, plain, marked, _entries)

    try:
        compare()
    except Failed:  # it may have changed meanwhile
        compare()


def _entries(leaves: Leaves) -> Leaves:
    """The content of a Bundle's entries; links and ids of the Bundle itself vary."""
    return Counter({leaf: count for leaf, count in leaves.items() if leaf[0].startswith("Bundle.entry.")})


@check("RS-007", "RS-004")
def metadata_in_xml(kit: Kit) -> None:
    """The CapabilityStatement is also served in XML, with the same content."""
    answer = kit.wire.send("GET", kit.capability_answer.url, headers={"accept": XML})
    expect(answer.status == 200 and answer.media_type == XML, "not answered in XML", answer)
    if kit.capability:
        expect_same_leaves("metadata", kit.capability_answer, answer, _undated)


def _undated(leaves: Leaves) -> Leaves:
    """Without the date, which may be that of the response."""
    return Counter({leaf: count for leaf, count in leaves.items() if leaf[0] != "CapabilityStatement.date"})


@check("RS-011", needs=PATIENT)
def format_parameter(kit: Kit) -> None:
    """`_format` selects JSON or XML, whatever Accept says."""
    view = kit.views[0]
    names = {"xml": XML, "text/xml": XML, "application/xml": XML, "json": JSON, "application/json": JSON}
    for text, wanted in (*names.items(), (quote(XML), XML), (quote(JSON), JSON)):
        answer = view.get(f"Device?_format={text}", accept=JSON if wanted == XML else XML)
        expect(answer.status == 200, f"_format={text} is not answered with 200", answer)
        expect(answer.media_type == wanted, f"_format={text} is answered as {answer.media_type}", answer)


@check("RS-047", needs=PATIENT)
def plain_types_are_accepted(kit: Kit) -> None:
    """An Accept with the plain types of JSON and XML, or with */*, gets the FHIR media types."""
    view = kit.views[0]
    for accept in ("application/json", "text/json", "*/*", "application/xml", "text/xml"):
        answer = view.get("Device", accept=accept)
        expect(answer.status == 200, f"Accept: {accept} is not answered with 200", answer)
        wanted = (XML,) if "xml" in accept else (JSON,) if "json" in accept else (JSON, XML)
        expect(answer.media_type in wanted, f"Accept: {accept} is answered as {answer.media_type}", answer)


def _expect_unsupported(answer: Exchange, status: int, begins: str) -> None:
    """The prescribed refusal, which names what is supported."""
    expect_refused(answer, status, begins, "not-supported")
    named = XML in answer.issue["diagnostics"] and JSON in answer.issue["diagnostics"]
    expect(named, f"diagnostics do not name {JSON} and {XML}", answer)


@check("RS-008", "RS-020", needs=PATIENT)
def other_formats_are_refused(kit: Kit) -> None:
    """An Accept that is not supported gets 406 with the prescribed OperationOutcome: searches, reads, metadata."""
    view = kit.views[0]
    reads = [key_of(one) for one in view.listed("Device").matches[:1]]
    asked = [
        view.get(path, accept="text/turtle") for path in ("Observation?_count=1", "Device", "DeviceMetric", *reads)
    ]
    metadata = kit.wire.send("GET", kit.capability_answer.url, headers={"accept": "text/turtle"})
    for answer in (*asked, metadata):
        _expect_unsupported(answer, 406, "Requested format not supported")


@check("RS-009", "RS-020", needs=PATIENT)
def other_bodies_are_refused(kit: Kit) -> None:
    """A Content-Type that is not supported gets 415 with the prescribed OperationOutcome, for each type."""
    for kind in TYPES:
        answer = kit.views[0].post_uncounted(f"{kind}/_search", "a", "text/turtle")
        _expect_unsupported(answer, 415, "Content-Type not supported")


@check("RS-010", "RS-020", needs=PATIENT)
def fhir_version_is_understood(kit: Kit) -> None:
    """fhirVersion=4.0 in Accept is accepted; another version gets 406 with the prescribed OperationOutcome."""
    view = kit.views[0]
    for path in ("Observation?_count=1", "Device", "DeviceMetric"):
        if path in TYPES:  # searches of Observations are few
            good = view.get(path, accept=f"{JSON}; fhirVersion=4.0")
            expect(good.status == 200, "fhirVersion=4.0 is refused", good)
        bad = view.get(path, accept=f"{JSON}; fhirVersion=5.0")
        expect_refused(bad, 406, WRONG_VERSION, "not-supported")


@check("RS-007", needs=PATIENT)
def errors_in_the_asked_form(kit: Kit) -> None:
    """A client that asks for XML gets errors as an OperationOutcome in XML."""
    for path in ("Device?there-is-none=1", "Device/there-is-none"):
        plain, answer = kit.views[0].get(path), kit.views[0].get(path, accept=XML)
        if answer.status < 400:
            raise NotApplicable("unknown parameters are not refused")
        expect(answer.media_type == XML, f"an error is answered as {answer.media_type or 'nothing'}", answer)
        expect_media_type(plain, JSON)
        expect(answer.status == plain.status, f"an error is answered {answer.status} in XML", plain, answer)
        expect_same_leaves(path, plain, answer, _coded)


def _coded(leaves: Leaves) -> Leaves:
    """Severity and code of each issue; texts may name the request."""
    return Counter({leaf: count for leaf, count in leaves.items() if _CODED.fullmatch(leaf[0])})
