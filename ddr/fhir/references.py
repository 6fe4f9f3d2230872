"""Ids, references and meta elements shared by the builders of resources."""

from __future__ import annotations

from typing import Any, Protocol

from ddr.fhir.instants import instant
from ddr.miv.model import UCUM

PROFILES = "https://gematik.de/fhir/hddt/StructureDefinition/"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


class ResourceIds(Protocol):
    """Turns numbers of rows into logical ids (ddr.store.database.ids.IdCipher)."""

    def device(self, device_no: int) -> str:
        """Id of a Device."""

    def metric(self, epoch_no: int) -> str:
        """Id of a DeviceMetric."""

    def chunk(self, epoch_no: int, k: int) -> str:
        """Id of the Observation that is chunk `k` of an epoch."""

    def measurement(self, measurement_no: int) -> str:
        """Id of the Observation of a dedicated measurement."""


def meta(version: int, updated_ms: int, profile: str) -> dict[str, Any]:
    """Resource.meta with version, time of the last change and canonical of the profile."""
    return {"versionId": str(version), "lastUpdated": instant(updated_ms), "profile": [profile]}


def device_reference(ids: ResourceIds, epoch_no: int | None, device_no: int | None) -> dict[str, str] | None:
    """Observation.device: the DeviceMetric of `epoch_no` if given, else the Device, else nothing (OBS-022)."""
    if epoch_no is not None:
        return {"reference": f"DeviceMetric/{ids.metric(epoch_no)}"}
    if device_no is not None:
        return {"reference": f"Device/{ids.device(device_no)}"}
    return None


def unit_concept(code: str) -> dict[str, Any]:
    """A UCUM unit as CodeableConcept."""
    return {"coding": [{"system": UCUM, "code": code, "display": code}]}
