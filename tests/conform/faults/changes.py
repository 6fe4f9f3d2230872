"""Faults that show when data changes while a DiGA reads (tests/conform/test_changes.py)."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.conform.faults.fault import Fault, each, refusals
from tests.conform.faults.tamper import Json, Tamper, asks, edited, replaced, resources

CGM = "valueSampledData"


def _single(edit: Callable[[Json], object]) -> Callable[[Json], object]:
    return lambda one: None if CGM in one else edit(one)


def _stamped_late(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """An Observation that appears after a search was read to its end gets an old lastUpdated."""
    answer = tamper.pass_on(request)
    if not asks(request, "/fhir/Observation$") or not answer.is_success:
        return answer
    known: set[str] = tamper.memory.setdefault("known", set())

    def stamp(body: Json) -> None:
        for one in resources(body):
            if tamper.memory.get("read") and one["id"] not in known:
                one["meta"]["lastUpdated"] = "2020-01-01T00:00:00Z"
            else:
                known.add(one["id"])
        if not any(link["relation"] == "next" for link in body["link"]):
            tamper.memory["read"] = True

    return edited(answer, stamp)


def _by_offset(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """The first match of a page is the last one of the previous page, as with paging by offset when data are added."""
    answer = tamper.pass_on(request)
    if not asks(request, "/fhir/Observation$") or not answer.is_success:
        return answer

    def shift(body: Json) -> None:
        matches = [entry for entry in body.get("entry", ()) if entry["search"]["mode"] == "match"]
        last = tamper.memory.get("last")
        if last and matches and "_include" not in str(request.url):
            matches[0]["resource"], matches[0]["fullUrl"] = last["resource"], last["fullUrl"]
        more = any(link["relation"] == "next" for link in body["link"])
        tamper.memory["last"] = dict(matches[-1]) if matches and more else None

    return edited(answer, shift)


def _one_device(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Every DeviceMetric leads to the device that was seen first."""

    def same(body: Json) -> None:
        for one in resources(body):
            if one.get("resourceType") == "DeviceMetric":
                first = tamper.memory.setdefault("device", one["source"]["reference"])
                one["source"]["reference"] = first

    return edited(tamper.pass_on(request), same)


CHANGES = (
    Fault(
        "new-is-old",
        "a new Observation has an earlier lastUpdated than existing ones",
        _stamped_late,
        "new-values-are-served",
    ),
    Fault(
        "pages-by-number",
        "new data shift the pages of a search that is still being read",
        _by_offset,
        "paging-survives-changes",
    ),
    Fault(
        "correction-is-silent",
        "a corrected measurement keeps the status final",
        each("Observation", _single(lambda one: one.update(status="final"))),
        "corrections-are-told",
    ),
    Fault(
        "correction-has-no-version",
        "a corrected measurement keeps its versionId",
        each("Observation", _single(lambda one: one["meta"].update(versionId="1"))),
        "corrections-are-told",
    ),
    Fault(
        "deleted-is-unknown",
        "a deleted resource is answered with 404 instead of 410",
        refusals("/fhir/Observation/", lambda answer: replaced(answer, status=404), 410),
        "deleted-is-gone",
    ),
    Fault(
        "calibration-goes-on",
        "a change of calibration does not end the chunk",
        each("Observation", lambda one: one.update(status="preliminary") if CGM in one else None),
        "calibration-starts-a-chunk",
    ),
    Fault(
        "device-stays",
        "a new sensor has the Device of the previous one",
        _one_device,
        "another-device-starts-a-chunk",
    ),
)
