"""meta.versionId: what was shown under one stays its content, also when the database is restored from a backup.

A restored database counts its versions on from the backup, and may have shown the next numbers with another content.
Versions from after a restore therefore have numbers that none before it can have had: higher by the instant at which it
was declared, in ms, because no resource changes as often. FHIR R4 http.html#versioning leaves the form open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LARGEST = 2**31 - 1  # of a number as it is stored
DIGITS = 15


class Restore(NamedTuple):
    """A restore that was declared at `declared_ms`; the backup knew nothing from after `known_ms`."""

    known_ms: int
    declared_ms: int


def version_number(version: int, updated_ms: int, restores: Sequence[Restore]) -> int:
    """The number for meta.versionId of the version that is stored as `version` and came into being at `updated_ms`."""
    return version + max((one.declared_ms for one in restores if updated_ms > one.known_ms), default=0)


def stored_versions(version_id: str, restores: Sequence[Restore]) -> list[int]:
    """The versions that may be stored for what is shown as `version_id`; none for a text that is no number."""
    if not (version_id.isascii() and version_id.isdigit() and len(version_id) <= DIGITS):
        return []
    shown = int(version_id)
    return [n for n in (shown - by for by in (0, *(one.declared_ms for one in restores))) if 0 < n <= LARGEST]
