"""UCUM units for the same quantities as those of the first MIVs, with exact factors (ucum.org).

Mass and substance concentration (mg/dL, mmol/L) are different kinds of quantity and are never converted.
"""

from __future__ import annotations

from decimal import Decimal

from ddr.miv.ucum import with_litre

_MASS = {"mg/dL": "1", "g/L": "100", "mg/L": "0.1", "ug/mL": "0.1", "mg/mL": "100", "g/dL": "1000", "mg/100.mL": "1"}
_SUBSTANCE = {"mmol/L": "1", "umol/L": "0.001", "mol/L": "1000", "umol/mL": "1", "mol/m3": "1"}
_FLOW = {"L/min": "1", "L/s": "60", "mL/min": "0.001", "mL/s": "0.06", "dL/min": "0.1"}
_VOLUME = {"L": "1", "mL": "0.001", "dL": "0.1", "cL": "0.01"}
_PRESSURE = {"mm[Hg]": "1", "cm[Hg]": "10", "m[Hg]": "1000"}
_RATIO = {"%": "1", "1": "100"}

_FACTORS = {
    unit: (next(iter(kind)), Decimal(factor))
    for kind in (_MASS, _SUBSTANCE, _FLOW, _VOLUME, _PRESSURE, _RATIO)
    for unit, factor in kind.items()
}


def to_common(unit: str) -> tuple[str, Decimal]:
    """The unit in which quantities of this kind are compared, and the factor to it.

    Any other unit stands for itself, with litres written as L, because a MIV package may use it.
    """
    return _FACTORS.get(with_litre(unit), (with_litre(unit), Decimal(1)))
