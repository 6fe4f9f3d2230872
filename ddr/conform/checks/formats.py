"""JSON and XML, content negotiation, and the errors of both (HDDT use_of_hl7_fhir.md, error-codes.md)."""

from __future__ import annotations

from collections import Counter

from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.judging import expect_refused
from ddr.conform.kit import Kit
from ddr.conform.laws.leaves import json_leaves, xml_leaves
from ddr.conform.verdict import Failed, NotApplicable, expect
from ddr.conform.view import View, key_of

PATIENT = (Need.PATIENT,)
XML, JSON = "application/fhir+xml", "application/fhir+json"


@check("RS-007", needs=PATIENT, searches=1)
def xml_says_the_same(kit: Kit) -> None:
    """Each kind of resource in XML holds exactly what it holds in JSON."""
    for view in kit.views:
        for key in _samples(view):
            plain, marked, again = view.get(key), view.get(key, accept=XML), view.get(key)
            expect(marked.status == 200, f"{key} is not answered in XML", marked)
            expect(marked.media_type == XML, f"Content-Type is {marked.media_type}", marked)
            if json_leaves(plain.json) == json_leaves(again.json):  # else it changed meanwhile
                _compare(key, plain, marked)


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


def _compare(key: str, plain: Exchange, marked: Exchange) -> None:
    try:
        found = xml_leaves(marked.content)
    except ValueError as error:
        raise Failed(f"{key}: {error}", marked) from None
    wanted = json_leaves(plain.json)
    lost, more = wanted - found, found - wanted
    if lost or more:
        what = f"JSON has {_first(lost)}" if lost else f"XML has {_first(more)}"
        raise Failed(f"{key}: {what}, the other has not", plain, marked)


def _first(leaves: Counter[tuple[str, str]]) -> str:
    path, value = min(leaves)
    return f"{path} = {value}"


@check("RS-007", needs=PATIENT, searches=1)
def searchset_in_xml(kit: Kit) -> None:
    """A search is answered in XML, too, with as many entries."""
    view = kit.views[0]
    for kind in ("Device", "DeviceMetric"):
        plain, marked = view.get(kind), view.get(kind, accept=XML)
        expect(marked.status == 200 and marked.media_type == XML, "a search is not answered in XML", marked)
        try:
            paths = Counter(path for path, _ in xml_leaves(marked.content).elements())
        except ValueError as error:
            raise Failed(str(error), marked) from None
        entries = len(plain.json.get("entry") or ())
        told = paths[f"Bundle.entry.resource.{kind}.id"]
        expect(told == entries, f"{told} entries in XML, {entries} in JSON", plain, marked)


@check("RS-007", "RS-004")
def metadata_in_xml(kit: Kit) -> None:
    """The CapabilityStatement is answered in XML, too."""
    answer = kit.wire.send("GET", kit.capability_answer.url, headers={"accept": XML})
    expect(answer.status == 200 and answer.media_type == XML, "not answered in XML", answer)


@check("RS-011", needs=PATIENT)
def format_parameter(kit: Kit) -> None:
    """`_format` asks for JSON or XML, whatever Accept says."""
    view = kit.views[0]
    for text, wanted in (("xml", XML), ("json", JSON)):
        answer = view.get(f"Device?_format={text}", accept=JSON if text == "xml" else XML)
        expect(answer.status == 200, f"_format={text} is not answered with 200", answer)
        expect(answer.media_type == wanted, f"_format={text} is answered as {answer.media_type}", answer)


@check("RS-047", needs=PATIENT)
def plain_types_are_accepted(kit: Kit) -> None:
    """Accept application/json, */* or none is answered with FHIR JSON."""
    view = kit.views[0]
    for accept in ("application/json", "*/*"):
        answer = view.get("Device", accept=accept)
        expect(answer.status == 200, f"Accept: {accept} is not answered with 200", answer)


UNSUPPORTED = "Requested format not supported"


@check("RS-008", needs=PATIENT)
def other_formats_are_refused(kit: Kit) -> None:
    """An Accept that is not supported gets 406 with the prescribed OperationOutcome."""
    answer = kit.views[0].get("Device", accept="text/turtle")
    expect_refused(answer, 406, UNSUPPORTED, "not-supported")


@check("RS-009", needs=PATIENT)
def other_bodies_are_refused(kit: Kit) -> None:
    """A Content-Type that is not supported gets 415 with the prescribed OperationOutcome."""
    view = kit.views[0]
    answer = view.post_uncounted("Device/_search", "a", "text/turtle")
    expect_refused(answer, 415, "Content-Type not supported", "not-supported")


@check("RS-010", needs=PATIENT)
def fhir_version_is_understood(kit: Kit) -> None:
    """fhirVersion=4.0 in Accept is served; another version gets 406 with the prescribed OperationOutcome."""
    view = kit.views[0]
    good = view.get("Device", accept=f"{JSON}; fhirVersion=4.0")
    expect(good.status == 200, "fhirVersion=4.0 is refused", good)
    bad = view.get("Device", accept=f"{JSON}; fhirVersion=5.0")
    expect_refused(bad, 406, "FHIR version not supported", "not-supported")


@check("RS-007", needs=PATIENT)
def errors_in_the_asked_form(kit: Kit) -> None:
    """An error is an OperationOutcome in XML for whoever asks for XML."""
    answer = kit.views[0].get("Device?there-is-none=1", accept=XML)
    if answer.status < 400:
        raise NotApplicable("unknown parameters are not refused")
    expect(answer.media_type == XML, f"an error is answered as {answer.media_type or 'nothing'}", answer)
