"""Data that checks need in the recorder, and an operator's plug-in that provides them (--data).

The kit itself writes nothing. A plug-in is a Python file with a function `provide(data, patient)`: `data` is one of
Data, `patient` is the test patient as described in the target. It returns True when the data is on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Protocol

from ddr.conform.target import Account, TargetError


class Data(StrEnum):
    """The kinds of data; WORDS describes each."""

    GLUCOSE = "blood-glucose"
    CONTINUOUS = "continuous-glucose"
    LUNG = "lung-function"
    PRESSURE = "blood-pressure"
    NEW = "new"
    CORRECTION = "correction"
    DELETION = "deletion"
    CALIBRATION = "calibration"
    DEVICE = "device"


WORDS = {
    Data.GLUCOSE: "blood glucose values of the last days, in mg/dL and in mmol/L, one of them LO",
    Data.CONTINUOUS: "a worn sensor with values of at least a day up to now, with a gap and one value below its limit",
    Data.LUNG: "peak flow, and FEV1 with a reference value and a relative value",
    Data.PRESSURE: "blood pressure, once with a mean",
    Data.NEW: "one more single measurement of each kind, measured now",
    Data.CORRECTION: "another value for a stored single measurement of each kind",
    Data.DELETION: "the deletion of the last single measurement of each kind that came as new",
    Data.CALIBRATION: "a change of the worn sensor's calibration state, now",
    Data.DEVICE: "the end of the worn sensor, now, and the beginning of another one of its type",
}
# Provided at the start, by the last part of the MIV's canonical URL.
OF_MIV = {
    "blood-glucose-measurement": Data.GLUCOSE,
    "continuous-glucose-measurement": Data.CONTINUOUS,
    "lung-function-testing": Data.LUNG,
    "blood-pressure-value": Data.PRESSURE,
}
# The data that checks of requirements with these prefixes need.
OF_CHAPTER = {
    "BG": Data.GLUCOSE,
    "CGM": Data.CONTINUOUS,
    "SER": Data.CONTINUOUS,
    "SUM": Data.CONTINUOUS,
    "LF": Data.LUNG,
    "BP": Data.PRESSURE,
}


class Source(Protocol):
    """A plug-in. If it raises anything, the check is not run, and says why."""

    def provide(self, data: str, patient: Mapping[str, Any]) -> bool:
        """Provide `data` for this patient; False when that is impossible."""


def described(account: Account) -> dict[str, Any]:
    """The description of a patient for a plug-in."""
    return {"username": account.username, "password": account.password, **account.more}


def read_source(file: Path) -> Source:
    """The plug-in in a Python file. Raises TargetError."""
    specification = spec_from_file_location("ddr_conform_data", file)
    if not file.is_file() or specification is None or specification.loader is None:
        raise TargetError(f"{file} is not a Python file")
    module = module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise TargetError(f"{file}: {type(error).__name__}: {error}") from None
    if not callable(getattr(module, "provide", None)):
        raise TargetError(f"{file} has no function provide(data, patient)")
    return module
