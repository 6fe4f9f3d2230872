"""The makers of glucose sensors: names of their devices, also for those without one, and the limits of their
measurements. Pure.

Limits are from the instructions for use: the values that "Low" and "High" in an export refer to (HDDT CGM-009).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ddr.durations import MINUTE_MS
from ddr.imports.model import CGM_SYSTEM, CUFF, GLUCOSE_METER, PEAK_FLOW_METER, SPIROMETER

Limits = dict[str, tuple[Decimal, Decimal]]


def _limits(lowest: str, highest: str, lowest_mmol: str, highest_mmol: str) -> Limits:
    return {"mg/dL": (Decimal(lowest), Decimal(highest)), "mmol/L": (Decimal(lowest_mmol), Decimal(highest_mmol))}


# Of glucose sensors of unknown make, as the summary uses them (ddr.series.glucose).
USUAL_LIMITS = _limits("40", "400", "2.2", "22.2")


@dataclass(frozen=True, eq=False)
class Maker:
    """A product line; `period_ms` is the period of its exports when a file is too short to tell."""

    manufacturer: str
    name: str
    limits: Limits
    period_ms: int
    type: str = CGM_SYSTEM


DEXCOM = Maker("Dexcom, Inc.", "Dexcom", _limits("40", "400", "2.2", "22.2"), 5 * MINUTE_MS)
ABBOTT = Maker("Abbott", "FreeStyle Libre", _limits("40", "500", "2.2", "27.8"), 15 * MINUTE_MS)
MEDTRONIC = Maker("Medtronic", "Guardian", _limits("40", "400", "2.2", "22.2"), 5 * MINUTE_MS)
SENSEONICS = Maker("Senseonics", "Eversense", _limits("40", "400", "2.2", "22.2"), 5 * MINUTE_MS)
# Names of devices other than sensors, by type, where a file does not name them.
UNNAMED = {
    CUFF: "Blood pressure monitor",
    GLUCOSE_METER: "Blood glucose meter",
    PEAK_FLOW_METER: "Peak flow meter",
    SPIROMETER: "Spirometer",
}
NOT_STATED = Maker("not stated in the export", "Glucose sensor", {}, 5 * MINUTE_MS)
METER = Maker("not stated in the export", UNNAMED[GLUCOSE_METER], {}, 0, GLUCOSE_METER)
# The words of a German table for a missing name or maker, and their names here.
GERMAN = {
    "Glukosesensor": NOT_STATED.name,
    "Blutzuckermessgerät": UNNAMED[GLUCOSE_METER],
    "Blutdruckmessgerät": UNNAMED[CUFF],
    "Peak-Flow-Messgerät": UNNAMED[PEAK_FLOW_METER],
    "in der Datei nicht angegeben": NOT_STATED.manufacturer,
}

_WORDS = {
    "dexcom": DEXCOM,
    "dexg": DEXCOM,
    "libre": ABBOTT,
    "abbott": ABBOTT,
    "medtronic": MEDTRONIC,
    "guardian": MEDTRONIC,
}
_WORDS |= {"minimed": MEDTRONIC, "eversense": SENSEONICS, "senseonics": SENSEONICS}


def maker_of(text: str, otherwise: Maker = NOT_STATED) -> Maker:
    """The maker whose name or product occurs in `text`."""
    told = text.casefold()
    return next((maker for word, maker in _WORDS.items() if word in told), otherwise)
