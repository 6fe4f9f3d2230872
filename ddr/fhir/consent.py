"""A consent as FHIR R4 Consent, for the patient's copy (GDPR Article 15; http://hl7.org/fhir/R4/consent.html)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ddr.fhir.instants import instant
from ddr.fhir.xml_writer import XHTML_NAMESPACE

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
PRIVACY_CONSENT = {"system": "http://loinc.org", "code": "59284-0", "display": "Consent Document"}
PATIENT = {"type": "Patient", "display": "Whose copy this is"}


def role_of(row: Mapping[str, Any], act: str) -> str:
    """In which role a representative did `act` (given, ended); "" for the patient and for everybody else."""
    return next((found["role"] or "" for found in row["acts"] or () if found["act"] == act), "")


def consent_resource(
    row: Mapping[str, Any], name: str, *, app: str, kind: str, now_ms: int, story: Sequence[str]
) -> dict[str, Any]:
    """The Consent of a row of ddr.store.patients.export.consents under the id `name`.

    `app` and `kind` are the names of the DiGA and of the kind of data, `story` says in words what happened.
    """
    end_ms = row["until_ms"] if row["withdrawn_ms"] is None else min(row["withdrawn_ms"], row["until_ms"])
    resource = {
        "resourceType": "Consent",
        "id": name,
        "text": _narrative(story),
        "identifier": [{"value": row["pairing_id"]}],
        "status": "active" if end_ms > now_ms else "inactive",
        "scope": _concept("consentscope", "patient-privacy"),
        "category": [{"coding": [PRIVACY_CONSENT]}],
        "patient": PATIENT,
        "dateTime": instant(row["granted_ms"]),
        "policyRule": _concept("v3-ActCode", "OPTIN"),
        "provision": {
            "type": "permit",
            "period": {"start": instant(row["granted_ms"]), "end": instant(end_ms)},
            "actor": [
                {
                    "role": _concept("v3-ParticipationType", "IRCP"),
                    "reference": {"identifier": {"value": row["client_id"]}, "display": app},
                }
            ],
            "action": [_concept("consentaction", "access")],
            "code": [{"coding": [{"system": "urn:ietf:rfc:3986", "code": row["miv_url"]}], "text": kind}],
        },
    }
    if role := role_of(row, "given"):
        resource["performer"] = [{"display": role}]  # who agreed, if that was not the patient
    if row["content"]:
        resource["sourceAttachment"] = _attachment(row)
    return resource


def research_consent_resource(row: Mapping[str, Any], name: str, *, story: Sequence[str]) -> dict[str, Any]:
    """The Consent of a row of ddr.store.authorization.research.of_patient under the id `name`."""
    end = {} if row["ended_ms"] is None else {"end": instant(row["ended_ms"])}
    resource = {
        "resourceType": "Consent",
        "id": name,
        "text": _narrative(story),
        "status": "inactive" if end else "active",
        "scope": _concept("consentscope", "research"),
        "category": [{"coding": [PRIVACY_CONSENT]}],
        "patient": PATIENT,
        "dateTime": instant(row["given_ms"]),
        "policyRule": _concept("v3-ActCode", "OPTIN"),
        "sourceAttachment": _attachment(row),
        "provision": {
            "type": "permit",
            "period": {"start": instant(row["given_ms"]), **end},
            "purpose": [{"system": f"{TERMINOLOGY}v3-ActReason", "code": "HRESCH"}],
        },
    }
    if row["given_role"]:
        resource["performer"] = [{"display": row["given_role"]}]
    return resource


def _narrative(story: Sequence[str]) -> dict[str, str]:
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in story)
    return {"status": "generated", "div": f'<div xmlns="{XHTML_NAMESPACE}">{paragraphs}</div>'}


def _attachment(row: Mapping[str, Any]) -> dict[str, Any]:
    """The text to which the patient agreed, verbatim."""
    return {
        "contentType": "text/plain; charset=utf-8",
        "language": row["language"],
        "data": base64.b64encode(row["content"].encode()).decode(),
        "title": f"{row['version']}, SHA-256 {row['text_sha256'].hex()}",
    }


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": TERMINOLOGY + system, "code": code}]}
