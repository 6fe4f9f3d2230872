"""What a MIV is: code list, units, profiles and limits (HDDT mivs.md), as read from a package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ddr.durations import DAY_MS

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"

Plausible = tuple[float, float, float, float]
"""Range of a value: lowest possible, lowest usual, highest usual, highest possible; in the unit of the code."""


class MivError(Exception):
    """A package contradicts itself or the settings violate its limits; the message is one line for the operator."""


@dataclass(frozen=True)
class MivCode:
    """One code of a MIV ValueSet and the form of its values."""

    system: str
    code: str
    display: str
    kind: str  # reading | reference | relative | panel
    profile: str  # canonical of the HDDT Observation profile
    unit: str | None  # UCUM code; None for a panel
    unit_text: str | None  # Quantity.unit
    quantity: str | None = None  # codes with the same word measure the same thing (LF-026), e.g. "PEF"
    components: tuple[MivComponent, ...] = ()
    plausible: Plausible | None = None


@dataclass(frozen=True)
class MivComponent:
    """One component of a panel code."""

    system: str
    code: str
    display: str
    unit: str
    unit_text: str
    required: bool
    plausible: Plausible | None = None


@dataclass(frozen=True)
class Miv:
    """One Mandatory Interoperable Value. Times in the units of the field names."""

    name: str  # folder name of the package, e.g. "continuous-glucose-measurement"
    valueset: str  # canonical URL, exactly as in the DiGA-VZ
    version: str
    title: str
    title_de: str
    description: str
    description_de: str
    continuous: bool
    codes: tuple[MivCode, ...]
    min_historic_days: int
    max_grace_seconds: int
    vendor_holdup_seconds: int
    search_parameters: tuple[str, ...]  # beyond the generic ones
    operations: tuple[str, ...]
    category: str | None  # observation-category that the profile forces, or None
    subject_required: bool
    device_types: tuple[str, ...] = ()  # SNOMED CT types of devices that are made to measure this

    @property
    def scope(self) -> str:
        """The SMART scope of this MIV (HDDT smart-scopes.md)."""
        return f"patient/Observation.rs?code:in={self.valueset}"

    @property
    def profiles(self) -> tuple[str, ...]:
        """Canonicals of the Observation profiles of this MIV, without duplicates, in order of the codes."""
        return tuple(dict.fromkeys(code.profile for code in self.codes))


@dataclass(frozen=True)
class MivTerms:
    """What this recorder registers for one MIV: the operator's settings after the check against the package."""

    grace_seconds: int
    historic_days: int
    delay_seconds: int


@dataclass(frozen=True)
class MivCatalog:
    """All MIVs that this recorder serves, with the terms it registers for each."""

    mivs: tuple[Miv, ...]
    terms: dict[str, MivTerms]  # by valueset canonical

    def by_valueset(self, canonical: str) -> Miv | None:
        """The MIV with exactly this ValueSet canonical, or None."""
        return next((miv for miv in self.mivs if miv.valueset == canonical), None)

    def by_name(self, name: str) -> Miv | None:
        """The MIV of this package name, or None."""
        return next((miv for miv in self.mivs if miv.name == name), None)

    def with_operation(self, operation: str) -> Miv | None:
        """The MIV that has this operation (named without the dollar sign), or None."""
        return next((miv for miv in self.mivs if operation in miv.operations), None)

    def code(self, system: str, code: str) -> tuple[Miv, MivCode] | None:
        """The MIV and its code entry for a system|code, or None."""
        return self._by_code.get((system, code))

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The codes of reference values: they apply for a period and do not tell when a device measured."""
        return tuple(code.code for miv in self.mivs for code in miv.codes if code.kind == "reference")

    @cached_property
    def _by_code(self) -> dict[tuple[str, str], tuple[Miv, MivCode]]:
        pairs = [((entry.system, entry.code), (miv, entry)) for miv in self.mivs for entry in miv.codes]
        return dict(reversed(pairs))  # the first MIV with a code counts

    def delay_ms(self, canonical: str) -> int:
        """The Delay-From-Real-Time registered for the MIV with this ValueSet canonical, in milliseconds."""
        return self.terms[canonical].delay_seconds * 1000

    def floor_ms(self, canonical: str, now_ms: int) -> int:
        """The beginning of the Historic-Data-Period registered for this MIV, in ms: older data is shown to no DiGA."""
        return now_ms - self.terms[canonical].historic_days * DAY_MS

    def scopes(self) -> tuple[str, ...]:
        """Every scope this recorder supports, for the OAuth metadata."""
        return (*(miv.scope for miv in self.mivs), "patient/Device.rs", "patient/DeviceMetric.rs")
