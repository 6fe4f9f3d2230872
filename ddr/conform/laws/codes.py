"""Codes of HDDT 1.0.1: ValueSets of the MIVs, units, devices, content of a summary (mivs.md, measurement-*.md)."""

from __future__ import annotations

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
NOMENCLATURE = "urn:iso:std:iso:11073:10101"
SNOMED = "http://snomed.info/sct"
CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
LUNG_CODES = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-temporary-codes"
LUNG_METHODS = "https://gematik.de/fhir/hddt/CodeSystem/hddt-lung-function-reference-value-method-codes"

_BG = {
    "2339-0": "mg/dL",
    "15074-8": "mmol/L",
    "2345-7": "mg/dL",
    "14749-6": "mmol/L",
    "41653-7": "mg/dL",
    "14743-9": "mmol/L",
}
CGM = {"99504-3": "mg/dL", "105272-9": "mmol/L"}
LUNG_RAW = {"19935-6": "L/min", "20150-9": "L"}
LUNG_REFERENCE = {"83368-1": "L/min", "20149-1": "L"}
LUNG_RELATIVE = {"20152-5": "%", "PEF-measured/predicted": "%"}
PRESSURE = "85354-9"
COMPONENTS = {"8480-6": "systolic", "8462-4": "diastolic", "8478-0": "mean"}

# By the last part of the ValueSet's canonical URL.
VALUESETS: dict[str, frozenset[str]] = {
    "blood-glucose-measurement": frozenset(_BG),
    "continuous-glucose-measurement": frozenset(CGM),
    "lung-function-testing": frozenset({**LUNG_RAW, **LUNG_REFERENCE, **LUNG_RELATIVE}),
    "blood-pressure-value": frozenset({PRESSURE}),
}
BLOOD_GLUCOSE = frozenset(_BG)
# UCUM unit of the value by code.
UNITS = {**_BG, **CGM, **LUNG_RAW, **LUNG_REFERENCE, **LUNG_RELATIVE}

DEVICE_TYPES = frozenset(
    ["337414009", "700585005", "701815004", "702203005", "463729000", "701750003", "70665002", "334990001", "303501006"]
)
LUNG_METHOD_CODES = frozenset({"personal-best", "GLI-2012", "GLI-2022", "other"})
CALIBRATION_STATES = frozenset({"not-calibrated", "calibration-required", "calibrated", "unspecified"})
METRIC_CATEGORIES = frozenset({"measurement", "setting", "calculation", "unspecified"})
OBSERVATION_STATES = frozenset(
    ["registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"]
)
DEVICE_STATES = frozenset({"active", "inactive", "entered-in-error", "unknown"})

SUMMARY = {
    "107931-8": "summary",
    "97507-8": "mean glucose, mass",
    "105273-7": "mean glucose, moles",
    "106793-3": "times in ranges",
    "97506-0": "GMI",
    "104638-2": "coefficient of variation",
    "104636-6": "days of wear",
    "104637-4": "sensor active",
}
RANGES = ("104642-4", "104641-6", "97510-2", "104640-8", "104639-0")  # very low to very high
