"""Rows as the store passes them to the builders, and ids that are readable in assertions."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from ddr.miv.loader import load_catalog
from ddr.miv.model import LOINC, MivCode
from ddr.series.view import ChunkView

NOW = 1_795_348_800_000  # 2026-11-22T12:00:00Z
DAY = 86_400_000
CATALOG = load_catalog(Path(__file__).parent.parent.parent / "miv_packages", {})


class Ids:
    """Ids that show what they name."""

    def device(self, device_no: int) -> str:
        return f"device-{device_no}"

    def metric(self, epoch_no: int) -> str:
        return f"metric-{epoch_no}"

    def chunk(self, epoch_no: int, k: int) -> str:
        return f"chunk-{epoch_no}-{k}"

    def measurement(self, measurement_no: int) -> str:
        return f"measurement-{measurement_no}"


IDS = Ids()


SHOWN = ChunkView(NOW - DAY, NOW - 1000, "final", 3, NOW + 5, "123 L U E 126")


def code(text: str) -> MivCode:
    """The catalogue's entry for a LOINC code."""
    found = CATALOG.code(LOINC, text)
    assert found
    return found[1]


def device_row(**changes: Any) -> dict[str, Any]:
    """A CGM sensor as row of table device."""
    return {
        "device_no": 7,
        "serial_number": "CGM1234567890",
        "device_name": "GlukkoCGM 18",
        "manufacturer": "Glukko Inc.",
        "model_number": "GCGMA98765",
        "type_code": "700585005",
        "expiration_date": "2026-12-01",
        "expiration_ms": NOW + 9 * DAY,
        "definition_url": None,
        "device_ended_ms": None,
        "heard_ms": NOW - 60_000,
        "device_updated_ms": NOW - DAY,
    } | changes


def sensor_row(**changes: Any) -> dict[str, Any]:
    """An epoch joined with its continuous sensor."""
    return {
        "device_no": 7,
        "epoch_no": 11,
        "k": 2,
        "code_system": LOINC,
        "code": "99504-3",
        "unit": "mg/dL",
        "calibrated_device": True,
        "metric": {},
        "method": None,
        "note": None,
        "period_ms": 300_000,
        "lower_limit": Decimal(40),
        "upper_limit": Decimal("400.5"),
        "calibration_state": "calibrated",
        "calibration_type": "unspecified",
        "calibration_time": "2026-11-20T08:00:00Z",
        "display_unit": None,
        "epoch_version": 2,
        "epoch_updated_ms": NOW,
    } | changes


def measurement_row(content: dict[str, Any] | bytes, **changes: Any) -> dict[str, Any]:
    """A dedicated measurement of a device without calibration."""
    return {
        "measurement_no": 5,
        "device_no": 7,
        "epoch_no": None,
        "content": content if isinstance(content, bytes) else orjson.dumps(content),
        "derived_from": [],
        "status": "final",
        "version": 1,
        "updated_ms": NOW,
    } | changes
