"""An entry of the audit trail as FHIR R4 AuditEvent, for the patient's copy (http://hl7.org/fhir/R4/auditevent.html)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.fhir.instants import told_instant

TYPES = "http://terminology.hl7.org/CodeSystem/audit-event-type"
READ, EXECUTE = "R", "E"
SUCCESS, REFUSED = "0", "4"


def audit_event_resource(row: Mapping[str, Any], name: str, *, app: str, words: str, observer: str) -> dict[str, Any]:
    """The AuditEvent of a row of ddr.store.audit.patients.upto under the id `name`.

    `app` is what the DiGA is called, `words` says what happened, `observer` is this recorder.
    """
    source, _, action = row["event"].partition(":")
    read = action.startswith("data:")
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": name,
        "type": {"system": TYPES, "code": "rest" if source == "diga" else "object"},
        "subtype": [{"code": row["event"]}],
        "action": READ if read else EXECUTE,
        "recorded": told_instant(row["at_ms"]),
        "outcome": REFUSED if action.endswith(("refused", "failed", "replayed", "reused")) else SUCCESS,
        "outcomeDesc": words,
        "agent": [{"who": _who(_acting(source, row["detail"]), row["client_id"], app), "requestor": True}],
        "source": {"observer": {"display": observer}},
    }
    if entity := _entity(row):
        resource["entity"] = [entity]
    return resource


def _acting(source: str, detail: Mapping[str, Any]) -> str:
    """Who did it; it may have been a representative in the patient's place, in the role that the trail says."""
    return str(detail.get("by", source)) if source in ("patient", "representative") else source


def _who(source: str, client_id: str | None, app: str) -> dict[str, Any]:
    if source == "diga" and client_id:
        return {"identifier": {"value": client_id}, "display": app or client_id}
    return {"display": source}


def _entity(row: Mapping[str, Any]) -> dict[str, Any]:
    """The pairing, and what else the trail says."""
    detail = [{"type": key, "valueString": _text(value)} for key, value in row["detail"].items() if _text(value)]
    named = {"what": {"identifier": {"value": row["pairing_id"]}}} if row["pairing_id"] else {}
    return {**named, **({"detail": detail} if detail else {})} if named else {}


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
