"""What `meta.security` says of a resource that comes in (FHIR R4 security-labels.html). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEST_DATA = "HTEST"  # of v3-ActReason, which FHIR has called by several URLs


def is_test(resource: Mapping[str, Any]) -> bool:
    """Whether it is of no patient: a control solution, a demonstration (PHD guide, Measurement Status)."""
    meta = resource.get("meta")
    labels = meta.get("security") if isinstance(meta, dict) else None
    return isinstance(labels, list) and any(isinstance(one, dict) and one.get("code") == TEST_DATA for one in labels)
