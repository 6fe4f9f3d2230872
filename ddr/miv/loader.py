"""Loads MIV packages from their folders and checks them against themselves and against the operator's settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddr.miv.model import LOINC, Miv, MivCatalog, MivCode, MivComponent, MivError, MivTerms, Plausible
from ddr.miv.ucum import is_unit
from ddr.miv.valuesets import Concept, expand
from ddr.miv.versions import LOST, MivVersion

KINDS = {"reading", "reference", "relative", "panel"}
OPTIONAL = {"category", "subject_required", "device_types"}
REQUIRED = {
    "valueset", "continuous", "title", "title_de", "description", "description_de",
    "search_parameters", "operations", "limits", "codes",
}  # fmt: skip


def load_catalog(
    packages: Path, settings: Mapping[str, Any], versions: Mapping[str, MivVersion] | None = None
) -> MivCatalog:
    """The catalog of all packages below `packages`, with the terms of `settings` (package name → object with
    grace_seconds, historic_days and delay_seconds); a MIV without settings gets the limits of its package.

    `versions` (by package name) replace the ValueSets in the folders.

    Raises MivError when a package contradicts itself or another one, or a setting violates the package's limits (HDDT
    mivs.md and information-model.md: Grace-Period at most, Historic-Data-Period at least; REG-003).
    """
    folders = sorted(path.parent for path in packages.glob("*/miv.toml"))
    if not folders:
        raise MivError(f"there is no MIV package in {packages}")
    versions = versions or {}
    mivs = tuple(load_package(folder, versions.get(folder.name)) for folder in folders)
    if unknown := sorted(set(settings) - {miv.name for miv in mivs}):
        raise MivError(f"settings for unknown MIV: {', '.join(unknown)}")
    _check_distinct(mivs)
    terms = {miv.valueset: terms_of(miv, settings.get(miv.name)) for miv in mivs}
    return MivCatalog(mivs, terms | {url + LOST: own for url, own in terms.items()})


def load_package(folder: Path, version: MivVersion | None = None) -> Miv:
    """One MIV from its folder: `miv.toml` and the FHIR package in `package/`, or `version` of it. Raises MivError."""
    try:
        return _loaded(folder, version)
    except (AttributeError, LookupError, TypeError) as error:  # of a member with the wrong type
        why = f"a member is missing or has the wrong type: {type(error).__name__} {error}"
        raise MivError(f"MIV package {folder.name}: cannot be read: {why}") from None


def _loaded(folder: Path, version: MivVersion | None) -> Miv:
    name = folder.name
    try:
        meta = tomllib.loads((folder / "miv.toml").read_text("utf-8"))
        if version is not None:
            return _with_version(name, meta, version)
        number = json.loads((folder / "package" / "package.json").read_text("utf-8"))["version"]
        valuesets = [
            json.loads(path.read_text("utf-8")) for path in sorted((folder / "package").glob("ValueSet-*.json"))
        ]
        by_url = {valueset["url"]: valueset for valueset in valuesets}
    except (OSError, ValueError, KeyError) as error:
        raise MivError(f"MIV package {name}: cannot be read: {error}") from None
    return build(name, number, meta, by_url)


def _with_version(name: str, meta: dict[str, Any], version: MivVersion) -> Miv:
    """A MIV with other ValueSets. Entries of `meta` for codes that are no longer in them are ignored."""
    if version.meta is not None:
        meta = {**tomllib.loads(version.meta), "valueset": meta["valueset"]}  # a version never changes the canonical
    valuesets = version.by_url()
    left = expand(meta["valueset"], valuesets)
    codes = [raw for raw in meta["codes"] if (raw.get("system", LOINC), raw.get("code")) in left]
    return build(name, version.version, {**meta, "codes": codes}, valuesets)


def build(name: str, version: str, meta: dict[str, Any], valuesets: dict[str, Any]) -> Miv:
    """A MIV from parsed parts; raises MivError when they contradict each other."""
    if missing := sorted(REQUIRED - set(meta)):
        raise MivError(f"MIV package {name}: miv.toml lacks {', '.join(missing)}")
    if unknown := sorted(set(meta) - REQUIRED - OPTIONAL):
        raise MivError(f"MIV package {name}: miv.toml has unknown keys {', '.join(unknown)}")
    valueset = valuesets.get(meta["valueset"])
    if valueset is None:
        raise MivError(f"MIV package {name}: ValueSet {meta['valueset']} is not in the package")
    if valueset.get("version") != version:
        raise MivError(
            f"MIV package {name}: has package version {version}, but ValueSet version {valueset.get('version')}"
        )
    concepts = expand(meta["valueset"], valuesets)
    codes = tuple(_code(name, raw, concepts) for raw in meta["codes"])
    if uncovered := sorted(set(concepts) - {(code.system, code.code) for code in codes}):
        raise MivError(f"MIV package {name}: no entry in miv.toml for {', '.join('|'.join(key) for key in uncovered)}")
    limits = meta["limits"]
    _check_limits(name, limits)
    return Miv(
        name=name,
        valueset=meta["valueset"],
        version=version,
        title=meta["title"],
        title_de=meta["title_de"],
        description=meta["description"],
        description_de=meta["description_de"],
        continuous=meta["continuous"],
        codes=codes,
        min_historic_days=limits["min_historic_days"],
        max_grace_seconds=limits["max_grace_seconds"],
        vendor_holdup_seconds=limits["vendor_holdup_seconds"],
        search_parameters=tuple(meta["search_parameters"]),
        operations=tuple(meta["operations"]),
        category=meta.get("category"),
        subject_required=meta.get("subject_required", False),
        device_types=tuple(meta.get("device_types", ())),
    )


def terms_of(miv: Miv, chosen: Any | None) -> MivTerms:
    """The registered terms of a MIV: the operator's choice, or the package's limits. Raises MivError outside the
    limits."""
    if chosen is None:
        return MivTerms(miv.max_grace_seconds, miv.min_historic_days, miv.vendor_holdup_seconds)
    if not 0 <= chosen.grace_seconds <= miv.max_grace_seconds:
        raise MivError(
            f"MIV {miv.name}: grace period {chosen.grace_seconds} s is outside 0 to {miv.max_grace_seconds} s"
        )
    if chosen.historic_days < miv.min_historic_days:
        raise MivError(
            f"MIV {miv.name}: historic data period {chosen.historic_days} d is below"
            f" the minimum of {miv.min_historic_days} d"
        )
    if chosen.delay_seconds <= 0:
        raise MivError(f"MIV {miv.name}: delay from real time must be positive")
    return MivTerms(chosen.grace_seconds, chosen.historic_days, chosen.delay_seconds)


def _check_limits(name: str, limits: Mapping[str, Any]) -> None:
    for key in ("min_historic_days", "max_grace_seconds", "vendor_holdup_seconds"):
        if not isinstance(limits.get(key), int) or limits[key] <= 0:
            raise MivError(f"MIV package {name}: limits.{key} must be a positive whole number")


def _code(name: str, raw: Mapping[str, Any], concepts: Mapping[Concept, str]) -> MivCode:
    system, code, kind = raw.get("system", LOINC), raw.get("code", ""), raw.get("kind")
    if (system, code) not in concepts:
        raise MivError(f"MIV package {name}: code {system}|{code} is not in the ValueSet")
    if kind not in KINDS:
        raise MivError(f"MIV package {name}: code {code} has kind {kind!r}, expected one of {', '.join(sorted(KINDS))}")
    if not str(raw.get("profile", "")).startswith("https://"):
        raise MivError(f"MIV package {name}: code {code} lacks the canonical of its profile")
    if (kind == "panel") != bool(raw.get("components")) or (kind == "panel") == ("unit" in raw):
        raise MivError(f"MIV package {name}: code {code} needs a unit, or components when it is a panel")
    return MivCode(
        system=system,
        code=code,
        display=concepts[system, code],
        kind=kind,
        profile=raw["profile"],
        unit=_unit(name, code, raw["unit"]) if "unit" in raw else None,
        unit_text=raw.get("unit_text", raw.get("unit")),
        quantity=raw.get("quantity"),
        components=tuple(_component(name, part) for part in raw.get("components", ())),
        plausible=_plausible(name, code, raw),
    )


def _component(name: str, raw: Mapping[str, Any]) -> MivComponent:
    unit = _unit(name, raw["code"], raw["unit"])
    return MivComponent(
        raw["system"],
        raw["code"],
        raw["display"],
        unit,
        raw.get("unit_text", unit),
        raw["required"],
        _plausible(name, raw["code"], raw),
    )


def _plausible(name: str, code: str, raw: Mapping[str, Any]) -> Plausible | None:
    """`plausible`: four ascending numbers, or nothing if any value is possible."""
    found = raw.get("plausible")
    if found is None:
        return None
    numbers = isinstance(found, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in found)
    if not numbers or len(found) != 4 or sorted(found) != found:
        raise MivError(
            f"MIV package {name}: code {code}: plausible must list the least possible, the least usual, the"
            " greatest usual and the greatest possible value"
        )
    least, usual_least, usual_most, most = map(float, found)
    return least, usual_least, usual_most, most


def _unit(name: str, code: str, unit: str) -> str:
    if not is_unit(unit):
        raise MivError(f"MIV package {name}: code {code} has unit {unit!r}, which is not a UCUM code")
    return unit


def _check_distinct(mivs: tuple[Miv, ...]) -> None:
    seen: dict[object, str] = {}
    for miv in mivs:
        for key in (miv.valueset, *((code.system, code.code) for code in miv.codes)):
            if seen.setdefault(key, miv.name) != miv.name:
                raise MivError(f"MIV packages {seen[key]} and {miv.name} both claim {key}")
