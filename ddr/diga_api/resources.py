"""From rows of the store to resources, and to the entries of a searchset with everything that is included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ddr.diga_api.access import Access
from ddr.fhir.bundle import INCLUDE, MATCH
from ddr.fhir.chunk_template import ChunkWriter
from ddr.fhir.device import DEVICE_VERSION, device_resource, device_status
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.negotiation import Format
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.observation_measurement import measurement_resource
from ddr.fhir.outages import Outage
from ddr.fhir.outcome import unavailable
from ddr.fhir.pieces import piece
from ddr.fhir.search.query import Include, Search
from ddr.fhir.versions import version_number
from ddr.http.core import Core
from ddr.miv.model import Miv, MivCode
from ddr.series.view import ChunkView, placeholder, state_of, view
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.measurements.measurements import FOREVER
from ddr.store.search.pages import Found
from ddr.store.search.view import OPEN, Opening

RETRY_SECONDS = 5  # by then, every worker has the version of a ValueSet that is in force

Resource = dict[str, Any]
Key = tuple[Kind, int, int]

TYPES = {Kind.CHUNK: "Observation", Kind.MEASUREMENT: "Observation", Kind.METRIC: "DeviceMetric", Kind.DEVICE: "Device"}
KINDS = {
    resource_type: tuple(kind for kind, name in TYPES.items() if name == resource_type)
    for resource_type in TYPES.values()
}
Version = tuple[int, int]  # meta.versionId, meta.lastUpdated in ms


class Builder:
    """Builds the resources of one request, as objects or, in the format `fmt`, as pieces of bytes."""

    def __init__(self, core: Core, access: Access, fmt: Format = Format.JSON) -> None:
        self.core, self.access, self._fmt = core, access, fmt
        self._chunks = ChunkWriter(core.ids, fmt)
        self._built: Counter[Kind] = Counter()
        self._openings: dict[tuple[str, str], Opening] = {}  # by system and code

    def resource(self, row: Row, kind: Kind) -> Resource:
        """The resource of this kind in `row`; the row of an Observation also contains its DeviceMetric and Device."""
        self._built[kind] += 1
        match kind:
            case Kind.DEVICE:
                status = device_status(row, self.access.view.now_ms, row["device_delay_ms"])
                return device_resource(row, self.core.ids, status)
            case Kind.METRIC:
                number = self._number(row["epoch_version"], row["epoch_stamp_ms"])
                return device_metric_resource({**row, "epoch_version": number}, self.core.ids)
            case Kind.CHUNK:
                row, seen = self._seen_chunk(row)
                return chunk_resource(row, seen, self.core.ids, self._code(row)[1])
            case _:
                return self._measurement(row)

    def piece(self, row: Row, kind: Kind, logical_id: str) -> bytes:
        """The same resource as bytes (ddr.fhir.pieces); `logical_id` is its id."""
        if kind is not Kind.CHUNK:
            return piece(self.resource(row, kind), self._fmt)
        self._built[kind] += 1
        row, seen = self._seen_chunk(row)
        return self._chunks.piece(row, seen, self._code(row)[1], logical_id)

    def counted(self) -> None:
        """Update the metrics with how much was built."""
        for kind, count in self._built.items():
            self.core.metrics.resources.labels(kind.name.lower()).inc(count)
        self._built.clear()

    def version(self, row: Row, kind: Kind) -> Version:
        """meta.versionId and meta.lastUpdated, in ms, of the resource that `resource` would build."""
        match kind:
            case Kind.DEVICE:
                return DEVICE_VERSION, row["device_updated_ms"]
            case Kind.METRIC:
                return self._number(row["epoch_version"], row["epoch_stamp_ms"]), row["epoch_updated_ms"]
            case Kind.CHUNK:
                row = self._stored_or_expected(row)
                end_ms, state = state_of(row, row["at_ms"])
                number = self._number(state.version, state.updated_ms)
                return number, self._opening(row).updated_ms(state.updated_ms, end_ms + 999)
            case _:
                return self._number(row["version"], row["updated_ms"]), self._opened(row)["updated_ms"]

    def changed_ms(self, row: Row, kind: Kind) -> int:
        """When the version that `version` describes was made, in ms; it may have become visible later."""
        match kind:
            case Kind.DEVICE:
                return int(row["device_updated_ms"])
            case Kind.METRIC:
                return int(row["epoch_stamp_ms"])
            case Kind.CHUNK:
                row = self._stored_or_expected(row)
                return state_of(row, row["at_ms"])[1].updated_ms
            case _:
                return int(row["updated_ms"])

    def _number(self, version: int, updated_ms: int) -> int:
        """The number with which a version is shown; `updated_ms` is its timestamp for everybody, not for this DiGA."""
        return version_number(version, updated_ms, self.access.restores)

    def _seen_chunk(self, row: Row) -> tuple[Row, ChunkView]:
        row = self._stored_or_expected(row)
        seen = view(row, row["at_ms"])
        if self.access.restores:
            seen = replace(seen, version=self._number(seen.version, seen.updated_ms))
        if (opening := self._opening(row)) is not OPEN:
            seen = replace(seen, updated_ms=opening.updated_ms(seen.updated_ms, seen.end_ms + 999))
        return row, seen

    def _stored_or_expected(self, row: Row) -> Row:
        """The row of a chunk; a placeholder while nothing of it is stored."""
        if row["start_ms"] is not None:
            return row
        delay_ms = self.core.catalog.delay_ms(self._code(row)[0].valueset)
        expected = placeholder(row, row["k"], row["at_ms"], delay_ms)
        assert expected is not None
        return expected

    def _opening(self, row: Row) -> Opening:
        key = row["observed_system"], row["observed_code"]
        if (found := self._openings.get(key)) is None:
            found = self._openings[key] = self.access.view.opening(self._code(row)[0].valueset)
        return found

    def _measurement(self, row: Row) -> Resource:
        miv, code = self._code(row)
        subject = self.access.pairing_id if miv.subject_required else None
        number = self._number(row["version"], row["updated_ms"])
        return measurement_resource({**self._opened(row), "version": number}, self.core.ids, code, subject)

    def _opened(self, row: Row) -> Row:
        """The row of a measurement with the timestamp that is shown to this DiGA."""
        if (opening := self._opening(row)) is OPEN:
            return row
        end_ms = FOREVER if row["effective_end_ms"] is None else row["effective_end_ms"]
        return {**row, "updated_ms": opening.updated_ms(row["updated_ms"], end_ms)}

    def _code(self, row: Row) -> tuple[Miv, MivCode]:
        """The MIV and the code of an Observation.

        Raises FhirError 503 when another version of its ValueSet has come into force, of which this worker will learn
        in a moment: if it left the Observation out, polls would miss it.
        """
        found = self.core.catalog.code(row["observed_system"], row["observed_code"])
        if found is None:
            raise unavailable(
                "A ValueSet is being replaced by a new version", RETRY_SECONDS, Outage.TEMPORARY_DISRUPTION
            )
        return found

    def entries(self, found: Found, search: Search) -> Iterator[tuple[str, Row, Key]]:
        """Mode, row and key of every entry: the matches in order, then each included resource once."""
        seen: set[Key] = set()
        for row in found.matches:
            seen.add(key := _key(row))
            yield MATCH, row, key
        for row, key in self._included(found, search):
            if key not in seen and self._granted(key[0]):
                seen.add(key)
                yield INCLUDE, row, key

    def _included(self, found: Found, search: Search) -> Iterator[tuple[Row, Key]]:
        walked = set()  # many matches point to the same resource
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
        """What _include finds from `key`; all of it is in the same row. A type that is not granted ends the path."""
        for name, target in _references(row, key):
            if self._granted(target[0]) and _asked(search.includes, TYPES[key[0]], name, TYPES[target[0]], matched):
                yield row, target
                yield from self._followed(row, target, search, matched=False)

    def _granted(self, kind: Kind) -> bool:
        return self.access.scopes.opens(TYPES[kind])


_KINDS = {int(kind): kind for kind in TYPES}


def _key(row: Row) -> Key:
    return _KINDS[row["kind"]], row["no"], row["k"]


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
