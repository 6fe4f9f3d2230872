"""A dedicated measurement as FHIR Observation (HDDT retrieving-data.md, dedicated measurements)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.fhir.references import ResourceIds, device_reference, meta
from ddr.fhir.representation import exact_value
from ddr.miv.model import MivCode


def measurement_resource(
    row: Mapping[str, Any], ids: ResourceIds, code: MivCode, subject: str | None = None
) -> dict[str, Any]:
    """The Observation of a row of the table measurement (or of a former version merged over it).

    `content` is its JSON without id, meta, subject, device and derivedFrom; decimals keep their digits. `subject` is
    the Pairing ID where a base profile requires a subject, else None.
    """
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": ids.measurement(row["measurement_no"]),
        "meta": meta(row["version"], row["updated_ms"], code.profile),
        **exact_value(row["content"]),
        "status": row["status"],
    }
    if subject is not None:
        resource["subject"] = opaque_subject(subject)
    if device := device_reference(ids, row["epoch_no"], row["device_no"]):
        resource["device"] = device
    if row["derived_from"]:
        resource["derivedFrom"] = [{"reference": f"Observation/{ids.measurement(no)}"} for no in row["derived_from"]]
    return resource


def opaque_subject(pairing_id: str) -> dict[str, Any]:
    """A logical reference to the patient that cannot be resolved: the DiGA knows the Pairing ID from its token anyway.

    HDDT measurement-blood-pressure.md wants a pseudonym here, security-and-privacy.md forbids a Patient endpoint.
    """
    return {"type": "Patient", "identifier": {"value": pairing_id}}
