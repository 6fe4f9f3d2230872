"""A worn CGM sensor for the tests of continuous series, and what a DiGA sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ddr.fhir.instants import parse_instant
from tests.spec.world import CGM, DAY, MINUTE, Home, Json, Reader, entries, paired
from tests.support.recorder import Recorder

SECOND = 1000
PERIOD = 5 * MINUTE
SLOTS = DAY // PERIOD  # of a chunk
DELAY = 15 * MINUTE  # from real time, as `ddr` registers it


@dataclass(frozen=True)
class Worn:
    """A patient who put on a sensor at `start_ms`, and a DiGA paired for the values."""

    home: Home
    reader: Reader
    start_ms: int

    async def send(self, slot: int, values: list[float | str]) -> Json:
        """Readings from slot number `slot` on, counted from the start of the sensor."""
        return await self.home.readings("cgm", self.start_ms + slot * PERIOD, values)

    async def chunks(self, query: str = "") -> list[Json]:
        """The Observations of a search, in order of time."""
        return await chunks(self.reader, query)


async def worn(ddr: Recorder, state: str = "calibrated", **members: Any) -> Worn:
    """A new patient with the device "cgm", put on now; `members` belong to the registration of its sensor."""
    home, start_ms = Home(ddr, await ddr.patient()), ddr.clock()
    await home.device("cgm", startedAt=home.ago(0))
    await home.cgm("cgm", start_ms, state, **members)
    return Worn(home, await paired(ddr, home.patient, CGM), start_ms)


async def chunks(reader: Reader, query: str = "") -> list[Json]:
    """The Observations of a search, in order of time."""
    return entries(await reader.search(f"Observation?_sort=date&{query}"))


def ramp(count: int, first: int = 100) -> list[float | str]:
    """This many values, each different from its neighbours."""
    return [first + number % 97 for number in range(count)]


def values(chunk: Json) -> list[str]:
    """The values of SampledData.data."""
    found: list[str] = chunk["valueSampledData"]["data"].split(" ")
    return found


def period(chunk: Json) -> tuple[int, int]:
    """First and last millisecond of effectivePeriod, whose end names the last second inside."""
    bounds = chunk["effectivePeriod"]
    return parse_instant(bounds["start"]), parse_instant(bounds["end"]) + SECOND - 1


def length(chunk: Json) -> int:
    """How long effectivePeriod is."""
    start_ms, end_ms = period(chunk)
    return end_ms + 1 - start_ms


def empty(chunk: Json) -> bool:
    """True when the chunk says that its data may still arrive, and has none; then it is preliminary."""
    if "dataAbsentReason" not in chunk:
        return False
    assert "valueSampledData" not in chunk
    assert [coding["code"] for coding in chunk["dataAbsentReason"]["coding"]] == ["temp-unknown"]
    assert chunk["status"] == "preliminary"
    return True
