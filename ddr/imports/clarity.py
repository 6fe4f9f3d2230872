"""Reads CSV exports of Dexcom Clarity. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import tzinfo

from ddr.imports.export import Export, column, export


def clarity(lines: Iterable[str], zone: tzinfo) -> Export:
    """A Dexcom Clarity export: a reading every five minutes, in local time of `zone`. Raises ExportError."""
    rows = csv.DictReader(lines)
    names = rows.fieldnames or ()
    time = column(names, "Timestamp")
    value = column(names, "Glucose Value")
    device = column(names, "Transmitter ID", "Source Device ID")
    return export(
        value,
        5,
        ((row[device], row[time], row[value], (row.get("Event Type") or "").upper() == "EGV") for row in rows),
        zone,
        ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"),
    )
