"""Expands extensional ValueSets of a package: listed concepts, and includes of other ValueSets of the same package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.miv.model import MivError

Concept = tuple[str, str]  # (system, code)


def expand(canonical: str, valuesets: Mapping[str, Any], _open: tuple[str, ...] = ()) -> dict[Concept, str]:
    """(system, code) → display of the ValueSet `canonical` among `valuesets` (canonical → resource).

    Only `compose.include.concept` and `compose.include.valueSet` are supported, which is how MIV ValueSets are written;
    filters, excludes and unknown includes raise MivError (FHIR R4 ValueSet.compose).
    """
    if canonical in _open:
        raise MivError(f"ValueSet {canonical} includes itself")
    valueset = valuesets.get(canonical)
    if valueset is None:
        raise MivError(f"ValueSet {canonical} is included but not in the package")
    compose = valueset.get("compose", {})
    if compose.get("exclude"):
        raise MivError(f"ValueSet {canonical}: exclude is not supported")
    concepts: dict[Concept, str] = {}
    for include in compose.get("include", []):
        concepts.update(_include(canonical, include, valuesets, (*_open, canonical)))
    if not concepts:
        raise MivError(f"ValueSet {canonical} has no codes")
    return concepts


def _include(
    canonical: str, include: Mapping[str, Any], valuesets: Mapping[str, Any], opened: tuple[str, ...]
) -> dict[Concept, str]:
    if include.get("filter") or not (include.get("concept") or include.get("valueSet")):
        raise MivError(f"ValueSet {canonical}: only listed concepts and included ValueSets are supported")
    listed = {
        (include["system"], entry["code"]): entry.get("display", entry["code"]) for entry in include.get("concept", [])
    }
    for other in include.get("valueSet", []):
        listed.update(expand(other.split("|")[0], valuesets, opened))
    return listed
