"""The transitive requirements of a package, by the metadata of installed packages, and the pins in the lock file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = ROOT / "deploy" / "container" / "requirements.txt"
_PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)((?:.*\\\n)(?:\s+--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def serving(project: Mapping[str, Any]) -> list[str]:
    """The direct requirements of a recorder: the project's own and those of its extra `server`."""
    return [*project["dependencies"], *project["optional-dependencies"]["server"]]


@dataclass(frozen=True)
class Locked:
    """One line of the locked requirements: the exact version, and the SHA-256 of each file that may be installed."""

    name: NormalizedName
    version: str
    hashes: tuple[str, ...]


def locked(text: str) -> dict[NormalizedName, Locked]:
    """The pins of a requirements file with hashes. Raises ValueError for a requirement without one."""
    found = {}
    for name, version, rest in _PIN.findall(text):
        one = Locked(canonicalize_name(name), version, tuple(re.findall(r"sha256:([0-9a-f]{64})", rest)))
        found[one.name] = one
    wanted = [line for line in text.splitlines() if re.match(r"[\w.-]+\s*(?:[=<>~!@;[]|$)", line)]
    if len(wanted) != len(found):
        raise ValueError(f"{len(wanted)} requirements, {len(found)} of them pinned and hashed")
    return found


def closure(lines: Iterable[str], environment: Mapping[str, str]) -> dict[NormalizedName, set[NormalizedName]]:
    """Each package that these requirements need, with its own direct ones, where `environment` (PEP 508 markers)
    differs from the local one. Extras are followed. Raises PackageNotFoundError for a package that is not installed."""
    tree: dict[NormalizedName, set[NormalizedName]] = {}
    seen: set[tuple[NormalizedName, str]] = set()
    waiting = [one for line in lines if _wanted(one := Requirement(line), "", environment)]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        direct = tree.setdefault(name, set())
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            needed = [
                need for line in requires(one.name) or () if _wanted(need := Requirement(line), extra, environment)
            ]
            direct |= {canonicalize_name(need.name) for need in needed}
            waiting += needed
    return tree


def _wanted(one: Requirement, extra: str, environment: Mapping[str, str]) -> bool:
    return one.marker is None or one.marker.evaluate({**environment, "extra": extra})
