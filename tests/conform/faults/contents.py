"""Faults of resources: missing content, wrong content, and changes between two times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from tests.conform.faults.fault import Edit, Fault, each, with_, without
from tests.conform.faults.tamper import Json

CGM, GLUCOSE, PRESSURE, LUNG = "valueSampledData", "2339-0", "85354-9", "19935-6"


def _of(code: str, edit: Edit) -> Edit:
    """For Observations with this code, or with sampled data."""

    def changed(one: Json) -> None:
        codes = [coding["code"] for coding in one["code"]["coding"]]
        if code in codes or code in one:
            edit(one)

    return changed


def _with_status(status: str, edit: Edit) -> Edit:
    return lambda one: edit(one) if one["status"] == status else None


def _moved(text: str, **by: float) -> str:
    return (datetime.fromisoformat(text) + timedelta(**by)).isoformat()


def _period(one: Json, end: str, **by: float) -> None:
    one["effectivePeriod"][end] = _moved(one["effectivePeriod"][end], **by)


def _data(change: Callable[[list[str]], list[str]]) -> Edit:
    return lambda one: one[CGM].update(data=" ".join(change(one[CGM].get("data", "").split())))


def _shifted(samples: list[str]) -> list[str]:
    """Each value one period too late."""
    return ["E", *samples[:-1]]


def _without_limits(one: Json) -> None:
    """A sample is below a limit that is not given."""
    _data(lambda found: ["L", *found[1:]])(one)
    for name in ("lowerLimit", "upperLimit"):
        one[CGM].pop(name, None)


def _unit(one: Json, unit: str) -> None:
    one["valueQuantity"].update(code=unit, unit=unit)


def _components(edit: Callable[[list[Json]], object]) -> Edit:
    return _of(PRESSURE, lambda one: edit(one["component"]))


def _version_stays(one: Json) -> None:
    one["note"] = [{"text": "changed"}]


CONTENTS = (
    Fault(
        "unknown-element",
        "an Observation has an element that FHIR does not know",
        each("Observation", with_(colour="red")),
        "everything-is-fhir-r4",
        ("xml-says-the-same",),
    ),
    Fault(
        "modifier-extension",
        "an Observation has a modifierExtension",
        each("Observation", with_(modifierExtension=[{"url": "https://x.example/not", "valueBoolean": True}])),
        "no-modifier-extensions",
    ),
    Fault(
        "own-profile",
        "an Observation names only a profile of the manufacturer",
        each("Observation", lambda one: one["meta"].update(profile=["https://x.example/own"])),
        "meta-is-complete",
    ),
    Fault(
        "no-status",
        "an Observation has no status",
        each("Observation", _of(GLUCOSE, without("status"))),
        "observations-are-complete",
        ("everything-is-fhir-r4", "search-by-declared-extras"),
    ),
    Fault(
        "local-code",
        "the code of an Observation is from a system of the manufacturer",
        each("Observation", _of(GLUCOSE, lambda one: one["code"]["coding"][0].update(system="https://x.example"))),
        "codes-are-loinc",
        ("search-by-code-with-system", "values-have-the-right-type"),
    ),
    Fault(
        "reason-beside-a-value",
        "an Observation has a dataAbsentReason although it has a value",
        each(
            "Observation",
            _of(
                GLUCOSE,
                with_(
                    dataAbsentReason={
                        "coding": [
                            {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}
                        ]
                    }
                ),
            ),
        ),
        "no-reason-beside-a-value",
    ),
    Fault(
        "no-device",
        "an Observation refers to no device",
        each("Observation", _of(GLUCOSE, without("device"))),
        "observations-name-their-device",
        ("devices-can-be-reached", "includes-bring-nothing-else", "search-by-declared-extras"),
    ),
    Fault(
        "glucose-in-grams",
        "blood glucose is in g/L",
        each("Observation", _of(GLUCOSE, lambda one: _unit(one, "g/L"))),
        "glucose-units-fit",
        ("search-by-value-quantity",),
    ),
    Fault(
        "lung-in-mmol",
        "lung function is in mmol/L",
        each("Observation", _of(LUNG, lambda one: _unit(one, "mmol/L"))),
        "lung-units-fit",
        ("search-by-value-quantity",),
    ),
    Fault(
        "no-origin-code",
        "the origin of sampled data has no unit code",
        each("Observation", _of(CGM, lambda one: one[CGM]["origin"].pop("code"))),
        "sampled-data-is-complete",
    ),
    Fault(
        "limits-missing",
        "sampled data with L or U have no limits",
        each("Observation", _of(CGM, _without_limits)),
        "limits-are-given",
    ),
    Fault(
        "beyond-the-limits",
        "samples lie beyond the limits",
        each("Observation", _of(CGM, lambda one: one[CGM].update(upperLimit=41))),
        "values-lie-within-the-limits",
    ),
    Fault(
        "unreadable-sample",
        "a sample is unreadable",
        each("Observation", _of(CGM, _data(lambda found: ["X", *found[1:]]))),
        "samples-are-readable",
        ("values-lie-within-the-limits", "sampled-data-is-complete", "everything-is-fhir-r4"),
    ),
    Fault(
        "period-in-seconds",
        "the period of sampled data is in seconds instead of milliseconds",
        each("Observation", _of(CGM, lambda one: one[CGM].update(period=300))),
        "samples-are-readable",
        ("sampled-data-is-complete", "everything-is-fhir-r4"),
    ),
    Fault(
        "another-word",
        "blood glucose in mg/dL has the unit text mmol/L",
        each("Observation", _of(GLUCOSE, lambda one: one["valueQuantity"].update(unit="mmol/L"))),
        "glucose-units-fit",
    ),
    Fault(
        "overlapping-chunks",
        "a chunk begins before the previous one has ended",
        each("Observation", _of(CGM, _with_status("preliminary", lambda one: _period(one, "start", hours=-20)))),
        "chunks-do-not-overlap",
        (
            "chunks-have-one-span",
            "chunks-follow-one-grid",
            "preliminary-chunks-cover-the-span",
            "nothing-is-final-too-early",
            "samples-are-readable",
            "newest-comes-first",
            "sort-orders",
            "search-by-date",
            "search-by-dates",
            "search-by-code-and-date",
            "silent-devices-are-unknown",
            "empty-chunks-say-so",
        ),
    ),
    Fault(
        "short-preliminary",
        "a preliminary chunk covers only half of its span",
        each("Observation", _of(CGM, _with_status("preliminary", lambda one: _period(one, "end", hours=-12)))),
        "preliminary-chunks-cover-the-span",
        (
            "chunks-have-one-span",
            "samples-are-readable",
            "search-by-date",
            "search-by-dates",
            "search-by-code-and-date",
        ),
    ),
    Fault(
        "never-final",
        "a full chunk stays preliminary",
        each("Observation", _of(CGM, _with_status("final", with_(status="preliminary")))),
        "full-chunks-are-final",
    ),
    Fault(
        "final-too-early",
        "a chunk is final before its span has ended",
        each("Observation", _of(CGM, _with_status("preliminary", with_(status="final")))),
        "nothing-is-final-too-early",
        ("search-by-declared-extras", "empty-chunks-say-so"),
    ),
    Fault(
        "pressure-in-kpa",
        "blood pressure is in kPa",
        each("Observation", _components(lambda found: found[0]["valueQuantity"].update(code="kPa", unit="kPa"))),
        "pressure-values",
        ("search-by-component-value", "search-by-component-code-and-value"),
    ),
    Fault(
        "systolic-twice",
        "blood pressure has two systolic values",
        each("Observation", _components(lambda found: found.append(found[0]))),
        "pressure-components",
    ),
    Fault(
        "no-vital-signs",
        "blood pressure has no category",
        each("Observation", _of(PRESSURE, without("category"))),
        "pressure-category",
    ),
    Fault(
        "subject-named",
        "an Observation names the patient",
        each("Observation", _of(GLUCOSE, with_(subject={"display": "Anna Muster"}))),
        "no-subjects",
        ("subjects-lead-to-nobody",),
    ),
    Fault(
        "too-old",
        "an Observation is older than the Historic-Data-Period",
        each(
            "Observation",
            _of(GLUCOSE, lambda one: one.update(effectiveDateTime=_moved(one["effectiveDateTime"], days=-60))),
        ),
        "history-is-not-exceeded",
        (
            "search-by-date",
            "search-by-dates",
            "search-by-code-and-date",
            "sort-orders",
            "newest-comes-first",
            "hidden-observations-are-not-found",
        ),
    ),
    Fault(
        "lung-too-old",
        "an Observation is older than the Historic-Data-Period of its kind but within that of another",
        each(
            "Observation",
            _of(LUNG, lambda one: one.update(effectiveDateTime=_moved(one["effectiveDateTime"], days=-20))),
        ),
        "history-is-not-exceeded",
        ("search-by-date", "search-by-dates", "search-by-code-and-date", "sort-orders", "newest-comes-first"),
    ),
    Fault(
        "no-serial-number",
        "devices have no serial number",
        each("Device", without("serialNumber")),
        "devices-have-a-serial-number",
    ),
    Fault(
        "no-device-name",
        "devices have no name",
        each("Device", without("deviceName")),
        "devices-have-a-name",
        ("search-by-device-name",),
    ),
    Fault(
        "no-device-status",
        "devices have no status",
        each("Device", without("status")),
        "devices-have-a-status",
        ("silent-devices-are-unknown",),
    ),
    Fault(
        "unknown-device-type",
        "the type of a device is not in the ValueSet",
        each("Device", with_(type={"coding": [{"system": "http://snomed.info/sct", "code": "1"}]})),
        "device-types-are-known",
        ("search-by-device-type",),
    ),
    Fault(
        "patient-of-a-device",
        "a device names its patient",
        each("Device", with_(patient={"display": "Anna"})),
        "no-subjects",
        ("subjects-lead-to-nobody",),
    ),
    Fault(
        "no-source",
        "DeviceMetrics have no source",
        each("DeviceMetric", without("source")),
        "metrics-have-a-source",
        (
            "devices-can-be-reached",
            "includes-bring-nothing-else",
            "search-metrics-by-source",
            "includes-bring-the-devices",
            "only-devices-behind-observations",
            "silent-devices-are-unknown",
        ),
    ),
    Fault(
        "no-category",
        "DeviceMetrics have no category",
        each("DeviceMetric", without("category")),
        "metrics-have-type-and-category",
        ("everything-is-fhir-r4",),
    ),
    Fault(
        "unit-in-words",
        "the unit of a DeviceMetric is a text without a code",
        each("DeviceMetric", lambda one: one.update(unit={"text": "mg/dL"}) if "unit" in one else None),
        "metrics-have-ucum-units",
    ),
    Fault(
        "unknown-calibration",
        "a calibration has a state that FHIR does not know",
        each("DeviceMetric", with_(calibration=[{"state": "good", "time": "2026-11-01T00:00:00Z"}])),
        "calibrations-have-a-state",
    ),
)

# Faults that only two runs show: the second run is on a recorder with the fault.
LATER = (
    Fault(
        "sample-shifted",
        "the samples of a final chunk have moved by one period",
        each("Observation", _of(CGM, _with_status("final", _data(_shifted)))),
        "final-stays-final",
        ("versions-move-with-content", "last-updated-moves-on"),
    ),
    Fault(
        "value-lost",
        "a growing chunk has lost a value",
        each("Observation", _of(CGM, _with_status("preliminary", _data(lambda found: ["E" for _ in found])))),
        "growing-chunks-keep-values",
        ("versions-move-with-content", "last-updated-moves-on", "empty-chunks-say-so"),
    ),
    Fault(
        "version-stays",
        "content changes while the version stays the same",
        each("Observation", _of(GLUCOSE, _version_stays)),
        "versions-move-with-content",
        ("last-updated-moves-on", "final-stays-final"),
    ),
    Fault(
        "clock-went-back",
        "lastUpdated moves back",
        each("Observation", lambda one: one["meta"].update(lastUpdated=_moved(one["meta"]["lastUpdated"], hours=-1))),
        "last-updated-moves-on",
        ("search-observations-by-last-updated",),
    ),
)
