"""A check as data: the requirements that it shows, its description, its needs; and the table of all checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from ddr.conform.catalogue import Requirement, catalogue

if TYPE_CHECKING:
    from ddr.conform.kit import Kit

Run = Callable[["Kit"], None]


class Need(StrEnum):
    """What must be available before a check can run."""

    CERTIFICATE = "the certificate of a listed DiGA"
    TWO_DIGA = "two listed DiGA"
    PATIENT = "a test patient who consents"
    CONSENTS = "further consents: a recipe that logs in automatically"
    EARLIER = "the state file of an earlier run (--against)"
    THROTTLE = "permission to search once within the Grace-Period (--provoke)"
    DATA = "a plug-in that changes data during the run (--data)"
    UNPAIR = "permission to end the pairing (no --keep)"


@dataclass(frozen=True)
class Check:
    """`requirements` are ids of the catalogue; the first one determines level, page and chapter."""

    name: str
    requirements: tuple[str, ...]
    words: str
    needs: frozenset[Need]
    searches: int  # Observation searches and summaries that count for the Grace-Period, per view
    run: Run

    @property
    def requirement(self) -> Requirement:
        """The row of the catalogue under which the check is listed."""
        return catalogue()[self.requirements[0]]

    @property
    def recommended(self) -> bool:
        """Whether all of its requirements are only recommended: there may be good reasons to deviate (RFC 2119)."""
        return all(catalogue()[name].level in ("SHOULD", "SHOULD NOT") for name in self.requirements)


_FOUND: dict[str, Check] = {}

# Order of running: checks without needs first, those that end the pairing last.
MODULES = (
    "transport",
    "client_certificates",
    "oauth_metadata",
    "fhir_metadata",
    "par",
    "authorize",
    "tokens",
    "pairing",
    "search_observations",
    "search_results",
    "search_devices",
    "formats",
    "access",
    "isolation",
    "errors",
    "profiles",
    "devices",
    "chunks",
    "summary",
    "changes",
    "two_times",
    "limits",
    "consents",
    "ending",
    "whole_run",
)


def check(*requirements: str, needs: tuple[Need, ...] = (), searches: int = 0) -> Callable[[Run], Run]:
    """Register a function as the check named after it; the first line of its docstring describes it."""

    def register(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        assert name not in _FOUND, name
        words = (run.__doc__ or "").strip().split("\n")[0]
        _FOUND[name] = Check(name, requirements, words, frozenset(needs), searches, run)
        return run

    return register


def all_checks() -> list[Check]:
    """Every check, in the order of running, whichever module was imported first."""
    modules = [f"ddr.conform.checks.{name}" for name in MODULES]
    for module in modules:
        import_module(module)
    return sorted(_FOUND.values(), key=lambda one: modules.index(one.run.__module__))
