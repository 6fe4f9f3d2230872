"""What an upload does to a measurement that is already stored: nothing, a new version, or a refusal. Pure (OBS-032)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.gateway.problem import conflict

# The members that say what was measured; a change of other members only adds to it (FHIR R4 observation-status).
RESULT = ("valueQuantity", "component", "dataAbsentReason")


def next_status(stored: str, wanted: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The status of the new version, or None when the upload repeats what is stored.

    `before` and `after` are all of the measurement except its status. A gateway need not know what it sent before:
    content that differs from a finished measurement makes it `corrected` if the result changed, else `amended`. A
    measurement that was entered in error stays so, because a delayed repetition must not revive it (Problem 409).
    """
    same = before == after
    if stored == "entered-in-error":
        if wanted == stored and same:
            return None
        raise conflict(
            "This measurement was entered in error; send the correct one under a new key", "entered-in-error"
        )
    if same and wanted in {stored, "preliminary"}:
        return None
    if stored == "preliminary" or wanted in {"amended", "corrected", "entered-in-error"}:
        return wanted
    if same:
        return None
    return "corrected" if any(before.get(name) != after.get(name) for name in RESULT) else "amended"
