"""meta.versionId: its content never changes once shown, even when the database is restored from a backup.

A restored database continues to count versions from the backup, and may already have shown the next numbers with other
content. So versions from after a restore have numbers that none before it can have had: they are increased by the
instant of its declaration in ms, because no resource changes that often. FHIR R4 http.html#versioning leaves the form
open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LARGEST = 2**31 - 1  # of a version number as stored
DIGITS = 15


class Restore(NamedTuple):
    """A restore that was declared at `declared_ms`; the backup contained nothing from after `known_ms`."""

    known_ms: int
    declared_ms: int


def version_number(version: int, updated_ms: int, restores: Sequence[Restore]) -> int:
    """The number for meta.versionId of the version that is stored as `version` and was made at `updated_ms`."""
    return version + max((one.declared_ms for one in restores if updated_ms > one.known_ms), default=0)


def stored_versions(version_id: str, restores: Sequence[Restore]) -> list[int]:
    """The stored versions that may be shown as `version_id`; none for a text that is not a number."""
    if not (version_id.isascii() and version_id.isdigit() and len(version_id) <= DIGITS):
        return []
    shown = int(version_id)
    return [n for n in (shown - by for by in (0, *(one.declared_ms for one in restores))) if 0 < n <= LARGEST]
