"""Reads CSV exports of LibreView. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import tzinfo

from ddr.imports.export import Export, ExportError, column, export

TIMES = ("%d-%m-%Y %H:%M", "%m-%d-%Y %I:%M %p", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M")


def libreview(lines: Iterable[str], zone: tzinfo) -> Export:
    """A LibreView export: the stored values, one every fifteen minutes, in local time of `zone`. Raises ExportError."""
    remaining = iter(lines)
    for line in remaining:  # the first line names the report
        if "Device Timestamp" in line:
            break
    else:
        raise ExportError("no column Device Timestamp: not a LibreView export")
    names = next(csv.reader([line]))
    rows = csv.DictReader(remaining, fieldnames=names)
    value = column(names, "Historic Glucose")
    found = (
        (row["Serial Number"], row["Device Timestamp"], row[value], row["Record Type"] == "0" and bool(row[value]))
        for row in rows
    )
    return export(value, 15, found, zone, TIMES)
