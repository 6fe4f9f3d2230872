"""The rows of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. `kept` is False when a promise (`compared` says which) does not hold."""

    name: str
    value: str
    compared: str = ""
    kept: bool = True
