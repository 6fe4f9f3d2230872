"""SMART scopes as HDDT uses them (HDDT smart-scopes.md): one per MIV, and one each for Device and DeviceMetric.

Every comparison is an exact string comparison. A scope of any other form is refused when a DiGA asks for it, and grants
nothing when a token carries it. There is no third way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

DEVICE = "patient/Device.rs"
DEVICE_METRIC = "patient/DeviceMetric.rs"
OBSERVATION = "patient/Observation.rs?code:in="

# One ValueSet without version, query or fragment: `|`, `?`, `&`, `,` or `#` would open a second reading of the scope.
_CANONICAL = re.compile(r"https?://[A-Za-z0-9._~:/-]{1,500}")


class ScopeError(ValueError):
    """A scope string contains something that is not an HDDT scope. The text says which part by its number, without
    repeating it."""


@dataclass(frozen=True)
class Scopes:
    """What a scope string grants. `valuesets` are MIV canonicals in the order given, each once."""

    valuesets: tuple[str, ...] = ()
    device: bool = False
    device_metric: bool = False

    @property
    def text(self) -> str:
        """The scope string in its normal order: Observation scopes, Device, DeviceMetric."""
        resources = [DEVICE] * self.device + [DEVICE_METRIC] * self.device_metric
        return " ".join([*map(scope_of, self.valuesets), *resources])

    def within(self, valuesets: Collection[str]) -> Scopes:
        """These scopes without the MIVs that are not in `valuesets`."""
        return Scopes(tuple(url for url in self.valuesets if url in valuesets), self.device, self.device_metric)

    def opens(self, resource_type: str) -> bool:
        """Whether resources of this type may be seen; Observations are the anchor of all others."""
        types = {"Observation": True, "Device": self.device, "DeviceMetric": self.device_metric}
        return bool(self.valuesets) and types.get(resource_type, False)

    def covers(self, other: Scopes) -> bool:
        """True when `other` asks for nothing that is not granted here."""
        return (
            set(other.valuesets) <= set(self.valuesets)
            and self.device >= other.device
            and self.device_metric >= other.device_metric
        )


def is_canonical(text: str) -> bool:
    """Whether `text` can be the canonical URL of a ValueSet in a scope."""
    return _CANONICAL.fullmatch(text) is not None


def scope_of(valueset: str) -> str:
    """The scope string of one MIV."""
    return OBSERVATION + valueset


def parse(text: str) -> Scopes:
    """The scopes of a request. Raises ScopeError if any part is malformed or unknown (AS-014, SCO-004)."""
    tokens = text.split(" ")
    for number, token in enumerate(tokens, 1):
        if not _known(token):
            wanted = f"{OBSERVATION}<canonical of a ValueSet>, {DEVICE} or {DEVICE_METRIC}"
            raise ScopeError(f"number {number} of {len(tokens)} is none of {wanted}")
    return _collect(tokens)


@lru_cache(maxsize=1024)
def granted(text: str) -> Scopes:
    """What the scope string of a token grants at the resource server; unknown and malformed parts grant nothing."""
    return _collect(token for token in text.split(" ") if _known(token))


def _known(token: str) -> bool:
    return token in (DEVICE, DEVICE_METRIC) or (
        token.startswith(OBSERVATION) and _CANONICAL.fullmatch(token, len(OBSERVATION)) is not None
    )


def _collect(tokens: Iterable[str]) -> Scopes:
    unique = dict.fromkeys(tokens)
    valuesets = tuple(token.removeprefix(OBSERVATION) for token in unique if token.startswith(OBSERVATION))
    return Scopes(valuesets, DEVICE in unique, DEVICE_METRIC in unique)
