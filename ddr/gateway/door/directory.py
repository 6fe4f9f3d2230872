"""What the references of a Bundle lead to: other entries, or what the recorder has under its own ids."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from ddr.gateway.bounds import MOST_REFERENCES, full
from ddr.gateway.door.devices import conditional_key
from ddr.gateway.door.entries import Entry, by_name
from ddr.gateway.problem import Problem, invalid
from ddr.http.core import Core
from ddr.store.database.ids import Kind
from ddr.store.gateways import known_ids

_OWN = re.compile(r"(?:.*/)?(?:Device|DeviceMetric|Observation)/([0-9a-f]{32})(?:/_history/[0-9]+)?")


class Target(NamedTuple):
    """The device, and the sensor if a DeviceMetric is referred to."""

    device_key: str
    sensor_key: str | None = None


class Directory:
    """References of one Bundle of one patient; entries are added here as they are stored."""

    def __init__(self, core: Core, patient_id: UUID, entries: Iterable[Entry | Problem]) -> None:
        self.core = core
        self.patient_id = patient_id
        self.names = by_name(entries)
        self.targets: dict[int, Target] = {}
        self.measurement_keys: dict[int, str] = {}
        self._own: dict[str, Target | None] = {}

    async def target(self, text: str) -> Target:
        """The device or sensor of a reference. Raises Problem 422."""
        entry = self.names.get(text)
        if entry is not None:
            found = self.targets.get(entry.index)
        elif (key := conditional_key(text)) is not None:
            found = Target(key)
        else:
            found = await self._own_target(text)
        if found is None:
            detail = "matches no accepted entry, or several, and no registered device"
            raise invalid("device", detail, "unknown-device")
        return found

    async def measurement(self, text: str) -> str:
        """The key of the measurement of a reference. Raises Problem 422."""
        entry = self.names.get(text)
        if entry is not None:
            found = self.measurement_keys.get(entry.index)
        else:
            kind, number = self._decoded(text)
            known = kind is Kind.MEASUREMENT
            found = await known_ids.measurement_key(self.core.pool, self.patient_id, number) if known else None
        if found is None:
            detail = "matches no accepted entry, or several, and no stored measurement"
            raise invalid("derivedFrom", detail, "unknown-measurement")
        return found

    async def _own_target(self, text: str) -> Target | None:
        """Looked up once per reference, and only for a limited number of references."""
        if text not in self._own:
            if len(self._own) >= MOST_REFERENCES:
                raise full(MOST_REFERENCES, "references of a Bundle to what is not in it")
            self._own[text] = await self._find_own(text)
        return self._own[text]

    async def _find_own(self, text: str) -> Target | None:
        kind, number = self._decoded(text)
        if kind is Kind.DEVICE:
            key = await known_ids.device_key(self.core.pool, self.patient_id, number)
            return None if key is None else Target(key)
        keys = await known_ids.sensor_keys(self.core.pool, self.patient_id, number) if kind is Kind.METRIC else None
        return None if keys is None else Target(*keys)

    def _decoded(self, text: str) -> tuple[Kind | None, int]:
        match = _OWN.fullmatch(text)
        found = match and self.core.ids.decode(match[1])
        return (found[0], found[1]) if found else (None, 0)
