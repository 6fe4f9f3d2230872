"""Faults of times, devices and persons in resources, beyond the profiles' values."""

from __future__ import annotations

import httpx

from tests.conform.faults.fault import Fault, each
from tests.conform.faults.tamper import Json, Tamper, edited, resources

KVNR = "http://fhir.de/sid/gkv/kvid-10"
GLUCOSE, PRESSURE = "2339-0", "85354-9"


def _of_a_year(one: Json) -> None:
    if one["code"]["coding"][0]["code"] == PRESSURE:
        one["effectiveDateTime"] = one["effectiveDateTime"][:4]


def _named(one: Json) -> None:
    if one["code"]["coding"][0]["code"] == PRESSURE:
        one["subject"]["display"] = "Anna Muster"


def _sharing(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """Blood glucose refers to the same DeviceMetric as the first chunk."""

    def same(body: Json) -> None:
        found = [one for one in resources(body) if one.get("resourceType") == "Observation"]
        for one in found:
            if "valueSampledData" in one:
                tamper.memory.setdefault("device", one["device"])
        for one in found:
            if "device" in tamper.memory and one["code"]["coding"][0]["code"] == GLUCOSE:
                one["device"] = tamper.memory["device"]

    return edited(tamper.pass_on(request), same)


PERSONS = (
    Fault(
        "pressure-of-a-year",
        "blood pressure gives only a year as its time",
        each("Observation", _of_a_year),
        "pressure-time",
        ("search-by-date", "search-by-dates", "search-by-code-and-date", "sort-orders", "newest-comes-first"),
    ),
    Fault(
        "one-metric-for-all",
        "blood glucose refers to the DeviceMetric of the CGM sensor",
        _sharing,
        "metrics-measure-one-value",
        ("includes-bring-the-devices", "search-by-declared-extras"),
    ),
    Fault(
        "pressure-of-anna",
        "the subject of a blood pressure displays the patient's name",
        each("Observation", _named),
        "subjects-lead-to-nobody",
    ),
    Fault(
        "metric-in-snomed",
        "the type of a DeviceMetric is not from ISO/IEEE 11073",
        each("DeviceMetric", lambda one: one["type"]["coding"][0].update(system="http://snomed.info/sct")),
        "metric-types-are-of-iso-11073",
    ),
    Fault(
        "insurance-number",
        "a device has the patient's health insurance number",
        each("Device", lambda one: one.update(identifier=[{"system": KVNR, "value": "A123456780"}])),
        "no-health-insurance-number",
    ),
)
