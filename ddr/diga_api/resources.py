"""From rows of the store to resources, and to the entries of a searchset with everything that is included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ddr.diga_api.access import Access
from ddr.fhir.bundle import INCLUDE, MATCH
from ddr.fhir.device import device_resource, device_status
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.observation_measurement import measurement_resource
from ddr.fhir.search.query import Include, Search
from ddr.http.core import Core
from ddr.miv.model import Miv, MivCode
from ddr.series.view import ChunkView, placeholder, view
from ddr.store.database.ids import Kind
from ddr.store.search.opening import OPEN
from ddr.store.search.pages import Found
from ddr.store.search.sources import FOREVER

Row = Mapping[str, Any]
Resource = dict[str, Any]
Key = tuple[Kind, int, int]

TYPES = {
    Kind.CHUNK: "Observation",
    Kind.MEASUREMENT: "Observation",
    Kind.METRIC: "DeviceMetric",
    Kind.DEVICE: "Device",
}
KINDS = {
    resource_type: tuple(kind for kind, name in TYPES.items() if name == resource_type)
    for resource_type in TYPES.values()
}


@dataclass(frozen=True)
class Builder:
    """Builds the resources of one request."""

    core: Core
    access: Access

    def resource(self, row: Row, kind: Kind) -> Resource:
        """The resource of this kind in `row`; the row of an Observation holds its DeviceMetric and Device, too."""
        self.core.metrics.resources.labels(kind.name.lower()).inc()
        match kind:
            case Kind.DEVICE:
                status = device_status(row, self.access.view.now_ms, row["device_delay_ms"])
                return device_resource(row, self.core.ids, status)
            case Kind.METRIC:
                return device_metric_resource(row, self.core.ids)
            case Kind.CHUNK:
                return self._chunk(row)
            case _:
                return self._measurement(row)

    def version(self, row: Row, kind: Kind) -> tuple[int, int]:
        """meta.versionId and meta.lastUpdated, in ms, of the resource that `resource` would build; not of a Device."""
        match kind:
            case Kind.METRIC:
                return row["epoch_version"], row["epoch_updated_ms"]
            case Kind.CHUNK:
                seen = self._seen_chunk(row)[1]
                return seen.version, seen.updated_ms
            case _:
                return row["version"], self._opened(row)["updated_ms"]

    def _chunk(self, row: Row) -> Resource:
        row, seen = self._seen_chunk(row)
        return chunk_resource(row, seen, self.core.ids, self._code(row)[1])

    def _seen_chunk(self, row: Row) -> tuple[Row, ChunkView]:
        now_ms: int = row["at_ms"]
        miv, _ = self._code(row)
        if row["start_ms"] is None:  # nothing is stored yet
            delay_ms = self.core.catalog.delay_ms(miv.valueset)
            expected = placeholder(row, row["k"], now_ms, delay_ms)
            assert expected is not None
            row = expected
        seen = view(row, now_ms)
        if (opening := self.access.view.opening(miv.valueset)) is not OPEN:
            seen = replace(seen, updated_ms=opening.updated_ms(seen.updated_ms, seen.end_ms + 999))
        return row, seen

    def _measurement(self, row: Row) -> Resource:
        miv, code = self._code(row)
        subject = self.access.pairing_id if miv.subject_required else None
        return measurement_resource(self._opened(row), self.core.ids, code, subject)

    def _opened(self, row: Row) -> Row:
        """The row of a measurement with the stamp that this DiGA is shown."""
        if (opening := self.access.view.opening(self._code(row)[0].valueset)) is OPEN:
            return row
        end_ms = FOREVER if row["effective_end_ms"] is None else row["effective_end_ms"]
        return {**row, "updated_ms": opening.updated_ms(row["updated_ms"], end_ms)}

    def _code(self, row: Row) -> tuple[Miv, MivCode]:
        found = self.core.catalog.code(row["observed_system"], row["observed_code"])
        assert found is not None
        return found

    def entries(self, found: Found, search: Search) -> Iterator[tuple[str, Resource]]:
        """Mode and resource of every entry: the matches in order, then each included resource once."""
        seen: set[Key] = set()
        for row in found.matches:
            seen.add(key := _key(row))
            yield MATCH, self.resource(row, key[0])
        for row, key in self._included(found, search):
            if key not in seen and self._granted(key[0]):
                seen.add(key)
                yield INCLUDE, self.resource(row, key[0])

    def _included(self, found: Found, search: Search) -> Iterator[tuple[Row, Key]]:
        walked = set()  # many matches point to one and the same
        for row in found.matches:
            way = row["kind"], row["epoch_no"], row["device_no"]
            if way not in walked:
                walked.add(way)
                yield from self._followed(row, _key(row), search, matched=True)
        for row in found.related:
            if self._granted(_key(row)[0]):
                yield row, _key(row)
                yield from self._followed(row, _key(row), search, matched=False)

    def _followed(self, row: Row, key: Key, search: Search, *, matched: bool) -> Iterator[tuple[Row, Key]]:
        """What _include finds from `key`; all of it is in the same row. A type that is not granted ends the way."""
        for name, target in _references(row, key):
            if self._granted(target[0]) and _asked(search.includes, TYPES[key[0]], name, TYPES[target[0]], matched):
                yield row, target
                yield from self._followed(row, target, search, matched=False)

    def _granted(self, kind: Kind) -> bool:
        scopes = self.access.scopes
        return {Kind.DEVICE: scopes.device, Kind.METRIC: scopes.device_metric}.get(kind, True)


def _key(row: Row) -> Key:
    return Kind(row["kind"]), row["no"], row["k"]


def _references(row: Row, key: Key) -> list[tuple[str, Key]]:
    """Where the resource `key` of this row points to: parameter and key of the target."""
    device = (Kind.DEVICE, row["device_no"], 0)
    if key[0] is Kind.METRIC:
        return [("source", device)]
    if key[0] is Kind.DEVICE or row["device_no"] is None:
        return []
    calibrated = row["calibrated_device"] if key[0] is Kind.CHUNK else row["epoch_no"] is not None
    return [("device", (Kind.METRIC, row["epoch_no"], 0) if calibrated else device)]


def _asked(includes: frozenset[Include], source: str, name: str, target: str, matched: bool) -> bool:
    return any(
        (include.source, include.name) == (source, name)
        and include.target in (None, target)
        and (matched or include.iterate)
        for include in includes
    )
