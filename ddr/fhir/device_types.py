"""Codes of devices and what they measure: SNOMED CT types of Device, ISO/IEEE 11073 types of DeviceMetric."""

from __future__ import annotations

from typing import Any

from ddr.miv.model import LOINC

SNOMED = "http://snomed.info/sct"
SNOMED_VERSION = "http://snomed.info/sct/11000274103/version/20251115"  # the edition that the HDDT ValueSets name
NOMENCLATURE = "urn:iso:std:iso:11073:10101"

# HDDT ValueSet hddt-device-type (binding: required).
DEVICE_TYPES = {
    "337414009": "Blood glucose meter (physical object)",
    "700585005": "Invasive interstitial-fluid glucose monitoring system (physical object)",
    "701815004": "Non-invasive interstitial-fluid glucose monitoring system (physical object)",
    "702203005": "Invasive interstitial fluid glucose monitoring/insulin infusion system (physical object)",
    "463729000": "Point-of-care blood glucose continuous monitoring system (physical object)",
    "701750003": "Subcutaneous glucose sensor (physical object)",
    "70665002": "Blood pressure cuff, device (physical object)",
    "334990001": "Peak flow meter (physical object)",
    "303501006": "Spirometer (physical object)",
}

_GLUCOSE_INTERSTITIAL = ("160212", "MDC_CONC_GLU_ISF")
_GLUCOSE_CAPILLARY = ("160184", "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD")
_GLUCOSE_BLOOD = ("160364", "MDC_CONC_GLU_UNDETERMINED_WHOLEBLOOD")
_GLUCOSE_PLASMA = ("160368", "MDC_CONC_GLU_UNDETERMINED_PLASMA")
_PEAK_FLOW = ("152584", "MDC_FLOW_AWAY_EXP_FORCED_PEAK")
_FEV1 = ("152586", "MDC_VOL_AWAY_EXP_FORCED_1S")

# What a sensor measures, by the LOINC code of its values.
_METRIC_TYPES = {
    "99504-3": _GLUCOSE_INTERSTITIAL,
    "105272-9": _GLUCOSE_INTERSTITIAL,
    "41653-7": _GLUCOSE_CAPILLARY,
    "14743-9": _GLUCOSE_CAPILLARY,
    "2339-0": _GLUCOSE_BLOOD,
    "15074-8": _GLUCOSE_BLOOD,
    "2345-7": _GLUCOSE_PLASMA,
    "14749-6": _GLUCOSE_PLASMA,
    "85354-9": ("150020", "MDC_PRESS_BLD_NONINV"),
    "19935-6": _PEAK_FLOW,
    "20150-9": _FEV1,
}


def device_type(code: str) -> dict[str, Any]:
    """The CodeableConcept of Device.type for a code of DEVICE_TYPES."""
    return {"coding": [{"system": SNOMED, "version": SNOMED_VERSION, "code": code, "display": DEVICE_TYPES[code]}]}


def metric_type(system: str, code: str) -> dict[str, Any]:
    """The CodeableConcept of DeviceMetric.type for a sensor of values under `system`|`code`.

    A MIV that is not in this table gets the code of its values, so that a new package needs no change here.
    """
    found = _METRIC_TYPES.get(code) if system == LOINC else None
    if found is None:
        return {"coding": [{"system": system, "code": code}]}
    return {"coding": [{"system": NOMENCLATURE, "code": found[0], "display": found[1]}]}


def loinc_codes(metric: str) -> list[str]:
    """The LOINC codes of the values of a metric with this ISO/IEEE 11073 type."""
    return [code for code, (number, _) in _METRIC_TYPES.items() if number == metric]
