"""What the MIV packages say about plausible values, for all ways into the gateway API. Pure."""

from __future__ import annotations

from functools import lru_cache

from ddr.gateway.problem import Problem
from ddr.miv.model import Miv, MivCatalog, MivCode, MivComponent
from ddr.miv.model import Plausible as Numbers
from ddr.series.plausible import Plausible

SYSTOLIC, DIASTOLIC, MEAN = "8480-6", "8462-4", "8478-0"


def implausible(detail: str, field: str = "") -> Problem:
    """422: an impossible value."""
    return Problem(422, "implausible", f"{field} {detail}".strip(), field or None)


def of_code(miv: Miv, code: MivCode | MivComponent) -> Plausible | None:
    """Which values of a code are plausible; None when its package does not say."""
    if code.unit is None or code.plausible is None:
        return None
    if isinstance(code, MivComponent):
        return Plausible(code.unit, *code.plausible)
    others = (
        other
        for other in miv.codes
        if other.unit not in {None, code.unit} and (other.kind, other.quantity) == (code.kind, code.quantity)
    )
    other = next(((o.unit, o.plausible) for o in others if o.unit and o.plausible), None)
    return _plausible(code.unit, code.plausible, other)


def of_unit(catalog: MivCatalog, valueset: str, unit: str) -> Plausible | None:
    """Which values of a continuous MIV in this unit are plausible."""
    miv = catalog.by_valueset(valueset)
    code = miv and next((code for code in miv.codes if code.unit == unit), None)
    return of_code(miv, code) if miv and code else None


@lru_cache(maxsize=256)
def _plausible(unit: str, numbers: Numbers, other: tuple[str, Numbers] | None) -> Plausible:
    return Plausible(unit, *numbers, None if other is None else Plausible(other[0], *other[1]))


def check_value(value: float, comparator: str | None, plausible: Plausible | None, field: str) -> str | None:
    """The warning about a value, or None. Raises Problem 422 for an impossible one.

    A comparator says that the number is a limit of the device, which may be low or high.
    """
    if plausible is None or (comparator is not None and plausible.least <= value <= plausible.most):
        return None
    if problem := plausible.problem(value):
        raise implausible(problem.removeprefix("value "), field)
    return plausible.warning(value)


def check_pressures(values: dict[str, float]) -> str | None:
    """The warning about the components of a blood pressure, or None. What a cuff measured is kept, however odd."""
    systolic, diastolic, mean = (values.get(code) for code in (SYSTOLIC, DIASTOLIC, MEAN))
    if systolic is None or diastolic is None:
        return None
    if systolic <= diastolic:
        return f"the systolic value ({SYSTOLIC}) is not above the diastolic value ({DIASTOLIC}); are they swapped?"
    if mean is not None and not diastolic <= mean <= systolic:
        return f"the mean ({MEAN}) is not between the diastolic and the systolic value"
    return None
