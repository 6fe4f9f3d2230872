"""Why there is no service: three codes, the same in every body and header (HDDT operational-requirements, OPS-005)."""

from __future__ import annotations

from enum import StrEnum

HEADER = "Outage-Cause"
SYSTEM = "urn:hddt:device-data-recorder:outage"  # of the codings in an OperationOutcome
LEFT = "This Device Data Recorder no longer supports the HDDT API"  # in every answer once it has left (CON-016)
MEMBER = "outage"  # in the JSON of OAuth errors (RFC 6749 section 5.2) and in problem documents (RFC 9457)


class Outage(StrEnum):
    """What a DiGA can tell its users, and how long it should wait."""

    PLANNED_MAINTENANCE = "planned-maintenance"  # announced in /status; over at Retry-After
    TEMPORARY_DISRUPTION = "temporary-disruption"  # too many requests at once, or something is just being changed
    DEPENDENCY_FAILED = "dependency-failed"  # the database, a registry or a login provider does not answer


DOCUMENTATION = (
    f"A 503 gives its cause in the header {HEADER} and in OperationOutcome.issue.details.coding ({SYSTEM}): "
    "planned-maintenance (announced in /status; Retry-After is its end), temporary-disruption (with issue code "
    "throttled when there are too many requests) or dependency-failed. Every 503 and 429 has Retry-After in seconds."
)
