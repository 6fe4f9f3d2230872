"""Codes, concepts and numbers of uploaded resources: LOINC or ISO/IEEE 11073, as in the PHD guide. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from ddr.fhir.device_types import NOMENCLATURE, SNOMED, loinc_codes
from ddr.gateway.door.answers import not_kept
from ddr.gateway.fields import Fields, given
from ddr.gateway.problem import Problem, invalid
from ddr.miv.model import LOINC, UCUM, Miv, MivCatalog, MivCode
from ddr.miv.ucum import with_litre

Json = dict[str, Any]
Coding = tuple[str | None, str | None]

MAX_CODINGS = 20

GATEWAY_DEVICE = (NOMENCLATURE, "531981")  # MDC_MOC_VMS_MDS_AHD: the phone or hub itself
TIME_STAMPS = {(NOMENCLATURE, code) for code in ("67975", "67983", "67984", "68226")}  # the PHD's clock, not a value

# ISO/IEEE 11073-10101 specialisations of personal health devices, as SNOMED CT types of HDDT.
_SPECIALIZATIONS = {
    "528401": "337414009",  # MDC_DEV_SPEC_PROFILE_GLUCOSE
    "528409": "700585005",  # MDC_DEV_SPEC_PROFILE_CGM
    "528391": "70665002",  # MDC_DEV_SPEC_PROFILE_BP
    "528405": "334990001",  # MDC_DEV_SPEC_PROFILE_PEFM
}
_COMPONENTS = {"150021": "8480-6", "150022": "8462-4", "150023": "8478-0"}  # MDC_PRESS_BLD_NONINV_SYS, _DIA, _MEAN


def codings(concept: Fields | None) -> list[Coding]:
    """(system, code) of each coding of a CodeableConcept."""
    if concept is None:
        return []
    return [(entry.text("system"), entry.text("code")) for entry in concept.objects("coding", MAX_CODINGS) or ()]


def measured(catalog: MivCatalog, found: Iterable[Coding], unit: str | None) -> tuple[Miv, MivCode] | None:
    """The MIV and code that a concept says was measured, or None.

    A code of the MIVs with this unit counts, wherever it stands in the list (FHIR R4 CodeableConcept); otherwise a code
    of the nomenclature, which has one code for both units of glucose; otherwise a code of the MIVs with another unit.
    When codes belong to several MIVs (an app may send its only code for blood glucose beside the sensor's), the first
    matching one decides.
    """
    known: list[tuple[Miv, MivCode]] = []
    every: list[tuple[Miv, MivCode]] = []
    for system, code in found:
        if system == NOMENCLATURE:
            every += filter(None, (catalog.code(LOINC, loinc) for loinc in loinc_codes(code or "")))
        elif (entry := catalog.code(system or "", code or "")) is not None:
            known.append(entry)
            every.append(entry)
    fitting = [entry for entry in every if entry[1].unit in {None, unit}]
    if not fitting:
        return known[0] if known else None
    return next((entry for entry in fitting if entry in known and entry[0] is fitting[0][0]), fitting[0])


def unknown(catalog: MivCatalog, found: Sequence[Coding], units: str | None, where: str = "code") -> Problem:
    """Why `measured` finds nothing: 200 for what belongs to no MIV (a pulse, a battery), which is not kept.

    A value that was meant for a MIV but has a wrong unit or system (none, https://loinc.org) must not be skipped: 422.
    """
    known = {code.code for miv in catalog.mivs for code in miv.codes}
    metrics = [code or "" for system, code in found if not system or system == NOMENCLATURE]
    named = [*(code for _, code in found), *(loinc for metric in metrics for loinc in loinc_codes(metric))]
    if not known.isdisjoint(named):
        return invalid(where, f"belongs to no supported MIV with this system and the unit {units}", "unknown-code")
    return not_kept(f"code {', '.join(code or '?' for _, code in found) or '?'}")


def component_code(fields: Fields) -> str | None:
    """The LOINC code of a component."""
    for system, code in codings(fields.object("code")):
        if system == LOINC:
            return code
        if system == NOMENCLATURE and code in _COMPONENTS:
            return _COMPONENTS[code]
    return None


def device_code(concepts: Iterable[Fields | None]) -> str | None:
    """The SNOMED CT type of a device, from its type or its specialisations; None when neither tells it."""
    for system, code in (coding for concept in concepts for coding in codings(concept)):
        if system == SNOMED:
            return code
        if system == NOMENCLATURE and code in _SPECIALIZATIONS:
            return _SPECIALIZATIONS[code]
    return None


def unit_of(quantity: Fields | None) -> str | None:
    """The UCUM code of a Quantity (litres as L), or its unit as written if it has no code.

    Raises Problem 422 for a unit of another system.
    """
    if quantity is None:
        return None
    if quantity.text("system") not in {None, UCUM}:
        raise invalid(quantity.at("system"), f"must be {UCUM}", "unit")
    found = quantity.text("code") or quantity.text("unit")
    return found and with_litre(found)


def concept(found: Fields | None) -> Json | None:
    """A CodeableConcept with the members that the JSON API accepts."""
    if found is None:
        return None
    members = ("system", "version", "code", "display")
    entries = [
        given({name: entry.raw(name) for name in members}) for entry in found.objects("coding", MAX_CODINGS) or ()
    ]
    return ({"coding": entries} if entries else {}) | given({"text": found.raw("text")})


def plain(value: Any) -> Any:
    """A decimal as the number that a JSON body would have; anything else unchanged."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value.as_tuple().exponent == 0 else float(value)
