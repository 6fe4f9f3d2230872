"""What every reader of a file returns: values with their devices, bad rows, and the number of skipped ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ddr.durations import END_MS

# LOINC codes of the MIVs that files are read into, by UCUM unit.
CGM = {"mg/dL": "99504-3", "mmol/L": "105272-9"}
METER = {"mg/dL": "41653-7", "mmol/L": "14743-9"}  # capillary blood, with a meter
BLOOD = {"mg/dL": "2339-0", "mmol/L": "15074-8"}
PLASMA = {"mg/dL": "2345-7", "mmol/L": "14749-6"}  # or serum
BLOOD_GLUCOSE = (*METER.values(), *BLOOD.values(), *PLASMA.values())
PANEL, SYSTOLIC, DIASTOLIC, MEAN = "85354-9", "8480-6", "8462-4", "8478-0"
PEF, FEV1 = "19935-6", "20150-9"
MMHG = "mm[Hg]"
PRESSURES = (SYSTOLIC, DIASTOLIC, MEAN)

# SNOMED CT types of devices that the gateway API accepts.
CGM_SYSTEM, GLUCOSE_METER, CUFF = "700585005", "337414009", "70665002"
PEAK_FLOW_METER, SPIROMETER = "334990001", "303501006"

_SET_MS = 946_684_800_000  # 2000-01-01T00:00Z
MOST_BAD = 10_000  # bad rows of a file that has no more good ones: reading a large file to its end takes seconds

LOW, HIGH = "L", "U"  # below and above the sensor's range (HDDT measurement-cgm.md)


class ImportFileError(Exception):
    """The file cannot be read at all; the message is one line for the person who chose it."""


class OtherKind(ImportFileError):
    """The file is not in a known format, but of a kind that people often give; `kind` is a key of
    ddr.imports.formats.SEEMS."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


class SeveralPersons(ImportFileError):
    """The file itself says that its values are of several persons: nobody's record may get another's."""


class MostlyBad(ImportFileError):
    """So many rows are bad, and more than are good, that the file cannot have the recognised format."""


def of_one_person(names: Iterable[object]) -> None:
    """Raise SeveralPersons when a file says that its values are of several persons."""
    if len({name for name in names if name}) > 1:
        raise SeveralPersons("the file has values of several persons; split it into one file for each person")


@dataclass(frozen=True, order=True, slots=True)
class Source:
    """A device as a file knows it; `serial` is "" when the file has none."""

    manufacturer: str
    name: str
    serial: str
    type: str


class Sources:
    """The devices of a file, each of them once: it has few, but hundreds of thousands of rows."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str], Source] = {}

    def __call__(self, manufacturer: str, name: str, serial: str, kind: str) -> Source:
        """The Source with these fields."""
        told = (manufacturer, name, serial, kind)
        if (found := self._known.get(told)) is None:
            found = self._known[told] = Source(*told)
        return found


@dataclass(frozen=True, slots=True)
class Value:
    """One measured value: `line` is its place in the file, `time_ms` is UTC. A panel has `parts` (code, value) instead
    of a value. A continuous value may be LOW or HIGH; a single one may lie below or above its number (`comparator`,
    HDDT measurement-blood-glucose.md, LO and HI)."""

    line: int
    time_ms: int
    code: str
    unit: str
    value: Decimal | str | None
    source: Source
    parts: tuple[tuple[str, Decimal], ...] = ()
    comparator: str = ""

    @property
    def continuous(self) -> bool:
        """True for a value in the series of a sensor."""
        return self.code in CGM.values()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that should have been a value, and why it is not."""

    line: int
    reason: str


@dataclass
class ImportFile:
    """The content of a file. `limits` are the maker's: the values that LOW and HIGH of a source refer to, by unit."""

    format: str
    values: list[Value] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    skipped: int = 0  # rows that are not values: meals, insulin, alerts, settings, scans
    limits: dict[Source, dict[str, tuple[Decimal, Decimal]]] = field(default_factory=dict)

    def limit(self, source: Source, limits: Mapping[str, tuple[Decimal, Decimal]]) -> None:
        """Note limits of a source by unit; if there are several, the first: a user who switched units has values in
        both."""
        self.limits[source] = {**limits, **self.limits.get(source, {})}

    def leave_wrong_clocks(self) -> None:
        """Reject times before 2000 (the clock was never set, or seconds were taken for milliseconds) and after 9999.

        Raises MostlyBad.
        """
        wrong = [value for value in self.values if not _SET_MS <= value.time_ms < END_MS]
        if wrong:
            self.values = [value for value in self.values if _SET_MS <= value.time_ms < END_MS]
        for value in wrong:
            early = value.time_ms < _SET_MS
            self.reject(
                value.line,
                "the time is before 2000: the device's clock was not set" if early else "no time: after 9999",
            )

    def reject(self, line: int, reason: str, beside: int = 0) -> None:
        """Note a bad row. Raises MostlyBad when there are too many, and more than good ones; `beside` good ones are not
        yet among the values."""
        self.bad.append(BadRow(line, reason))
        good = len(self.values) + beside
        if len(self.bad) > max(MOST_BAD, good):
            first = self.bad[0]
            raise MostlyBad(
                f"up to line {line} {len(self.bad)} rows are bad and {good} are good, so nothing of the file"
                f" is imported; line {first.line}: {first.reason}; choose the right format, or describe the"
                " table with --map"
            )
