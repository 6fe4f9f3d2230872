"""What an incoming resource says about itself: labels (FHIR R4 security-labels.html) and modifiers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEST_DATA = "HTEST"  # of v3-ActReason, which FHIR has called by several URLs


def is_test(resource: Mapping[str, Any]) -> bool:
    """Whether it belongs to no patient: a control solution, a demonstration (PHD guide, Measurement Status)."""
    meta = resource.get("meta")
    labels = meta.get("security") if isinstance(meta, dict) else None
    return isinstance(labels, list) and any(isinstance(one, dict) and one.get("code") == TEST_DATA for one in labels)


def is_modified(resource: Mapping[str, Any]) -> bool:
    """Whether it contains a modifierExtension anywhere, as in a component or a calibration.

    A receiver that does not know a modifier must not process the element that it modifies (FHIR R4 extensibility.html).
    """
    parts: list[Any] = [resource]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            if part.get("modifierExtension") is not None:
                return True
            parts += part.values()
    return False
