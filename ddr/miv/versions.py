"""Versions of a MIV's ValueSets: extracted from a terminology package, put in place, and compared. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ddr.miv.model import Miv, MivError
from ddr.miv.valuesets import Concept, expand

MIV_MARK = "/ValueSet/hddt-miv-"  # how gematik names the ValueSets that define a MIV
# Data under a code that its MIV has lost belongs to no MIV that anybody may read: its canonical URL with this suffix.
# It is kept up to date, and becomes readable again with the code.
LOST = "#lost"


@dataclass(frozen=True)
class MivVersion:
    """One version of the ValueSets of a MIV package; `meta` is the miv.toml that goes with it, None: the folder's."""

    version: str
    valuesets: tuple[dict[str, Any], ...]
    meta: str | None = None

    def by_url(self) -> dict[str, Any]:
        """The ValueSets by canonical URL."""
        return {valueset["url"]: valueset for valueset in self.valuesets}


@dataclass(frozen=True)
class Difference:
    """What another version changes: (system, code) → display."""

    added: Mapping[Concept, str]
    removed: Mapping[Concept, str]
    renamed: Mapping[Concept, str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed)


def difference(old: Mapping[Concept, str], new: Mapping[Concept, str]) -> Difference:
    """The difference from the concepts `old` to `new`, both as `ddr.miv.valuesets.expand` returns them."""
    return Difference(
        added={key: new[key] for key in new if key not in old},
        removed={key: old[key] for key in old if key not in new},
        renamed={key: new[key] for key in new if key in old and new[key] != old[key]},
    )


def concepts(miv: Miv) -> dict[Concept, str]:
    """The codes of a MIV in the form of `difference`."""
    return {(code.system, code.code): code.display for code in miv.codes}


def compared(miv: Miv, version: MivVersion) -> tuple[Difference, str]:
    """The difference from what is in force to `version`; if that cannot be read, a text that says so, without
    differences."""
    try:
        return difference(concepts(miv), expand(miv.valueset, version.by_url())), ""
    except (MivError, KeyError, TypeError, AttributeError) as error:
        return Difference({}, {}, {}), str(error) or type(error).__name__


def without(version: MivVersion, codes: Collection[Concept], label: str) -> MivVersion:
    """`version` under the name `label`, with these codes removed from every ValueSet."""
    return MivVersion(
        label, tuple({**one, **_left(one, codes), "version": label} for one in version.valuesets), version.meta
    )


def contained(resources: Iterable[Mapping[str, Any]], valueset: str) -> MivVersion | None:
    """The ValueSet `valueset` with all that it includes, as far as found in `resources`; None if it is not there
    itself."""
    known = {str(one.get("url")): dict(one) for one in resources}
    wanted, taken = [valueset], dict[str, dict[str, Any]]()
    while wanted:
        url = wanted.pop()
        if url in known and url not in taken:
            taken[url] = known[url]
            wanted += _included(known[url])
    if valueset not in taken:
        return None
    return MivVersion(str(taken[valueset].get("version") or ""), tuple(taken[url] for url in sorted(taken)))


def unknown_mivs(resources: Iterable[Mapping[str, Any]], known: Iterable[str]) -> list[str]:
    """Canonical URLs of MIV ValueSets in `resources` that are not `known`."""
    urls = {str(one.get("url")) for one in resources}
    return sorted(url for url in urls - set(known) if MIV_MARK in url)


def _left(valueset: Mapping[str, Any], codes: Collection[Concept]) -> dict[str, Any]:
    """The `compose` of a ValueSet without `codes`; includes that lose all their concepts are removed, too."""
    includes = []
    for include in valueset.get("compose", {}).get("include", []):
        listed = include.get("concept")
        kept = [one for one in listed or [] if (include.get("system"), one.get("code")) not in codes]
        if kept or not listed:
            includes.append({**include, "concept": kept} if listed else include)
        elif include.get("valueSet"):
            includes.append({name: value for name, value in include.items() if name not in ("concept", "system")})
    return {"compose": {"include": includes}} if "compose" in valueset else {}


def _included(valueset: Mapping[str, Any]) -> list[str]:
    compose = valueset.get("compose")
    includes = compose.get("include") if isinstance(compose, dict) else None
    found = [one.get("valueSet") for one in includes or [] if isinstance(one, dict)]
    return [str(url).split("|")[0] for urls in found if isinstance(urls, list) for url in urls]
