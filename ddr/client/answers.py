"""What a FHIR server answers, as JSON: some speak XML only (FHIR R4 json.html, xml.html)."""

from __future__ import annotations

import json
from typing import Any

import httpx

from ddr.client.errors import Unreachable
from ddr.client.xml import FhirXmlError, from_xml

Json = dict[str, Any]


def content_of(answer: httpx.Response) -> Json:
    """The resource. Raises Unreachable for what is none: an answer that was cut, or of something in between."""
    try:
        found = from_xml(answer.content) if "xml" in answer.headers.get("content-type", "") else answer.json()
    except (ValueError, FhirXmlError):
        found = None
    if not isinstance(found, dict) or "resourceType" not in found:
        raise Unreachable("an answer that is no FHIR resource")
    return found


def outcome_of(answer: httpx.Response) -> tuple[str, str]:
    """Code and text of the first issue of an OperationOutcome, or what HTTP says."""
    try:
        issue = (content_of(answer).get("issue") or [{}])[0]
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics") or answer.reason_phrase
        return str(issue.get("code", "error")), str(text)
    except (Unreachable, LookupError, AttributeError, json.JSONDecodeError):
        return "error", answer.reason_phrase
