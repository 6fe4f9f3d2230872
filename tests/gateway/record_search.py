"""What a DiGA finds of one sensor with the statements of searches and reads, compared with what ddr.series computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from ddr.diga_api.resources import TYPES
from ddr.fhir.device import device_resource
from ddr.fhir.device_metric import device_metric_resource
from ddr.fhir.instants import date_time, instant
from ddr.fhir.search.parsing import parse_search
from ddr.http.core import Core
from ddr.series.view import ChunkView, placeholder, view
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.search.conditions import Names
from ddr.store.search.pages import first_page
from ddr.store.search.reads import read
from ddr.store.search.view import Term, View
from tests.diga_api.naive import Range, compare, date_range

Query = Sequence[tuple[str, str, int | str]]
"""Search parameter, prefix, and an instant in ms or a code."""

MOST = 1000
STATUSES = ("preliminary", "final", "amended", "entered-in-error")
PREFIXES = ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb")


def queries(instants: st.SearchStrategy[int]) -> st.SearchStrategy[Query]:
    """Up to three conditions."""
    dates = st.tuples(st.sampled_from(("date", "_lastUpdated")), st.sampled_from(PREFIXES), instants)
    codes = st.tuples(st.just("status"), st.just(""), st.sampled_from(STATUSES))
    return st.lists(st.one_of(dates, codes), max_size=3)


class Reader:
    """One DiGA that may see this patient's glucose from `floor_ms` on."""

    def __init__(self, core: Core, patient_id: UUID, floor_ms: int, delay_ms: int) -> None:
        self._core, self._floor_ms, self._delay_ms = core, floor_ms, delay_ms
        (miv,) = (miv for miv in core.catalog.mivs if miv.continuous)
        self._view = View(patient_id, [Term(miv.valueset, True, floor_ms, delay_ms)], core.clock())

    async def present(self) -> int:
        """As of when it sees them: an admission moves the patient's present on (ddr.store.database.stamps)."""
        text = "UPDATE patient SET stamp_ms = greatest(stamp_ms, $2) WHERE patient_id = $1 RETURNING stamp_ms"
        present: int = await self._core.pool.fetchval(text, self._view.patient_id, self._core.clock())
        return present

    async def found(self, query: Query) -> tuple[dict[tuple[int, int], ChunkView], int]:
        """What a search finds, in its order by epoch and number, and the time as of which it does."""
        pairs = [(name, prefix + searched(name, one)) for name, prefix, one in query]
        pairs += [("_sort", "date"), ("_count", str(MOST))]
        search = parse_search("Observation", pairs, self._core.clock(), self._core.settings.fhir_base)
        page = await first_page(self._core.pool, self._view, Names(self._core.ids, {}), search, MOST)
        assert page.total == len(page.matches) and not page.rest
        return {(row["no"], row["k"]): self._seen(row) for row in page.matches}, page.at_ms

    async def beside(self, kind: Kind, changed_after_ms: int = -1) -> dict[int, Any]:
        """The Devices or DeviceMetrics that changed after this; a Device's connection is not part of its version."""
        pairs = [("_lastUpdated", f"gt{instant(max(0, changed_after_ms))}")] if changed_after_ms >= 0 else []
        search = parse_search(TYPES[kind], pairs, self._core.clock(), self._core.settings.fhir_base)
        page = await first_page(self._core.pool, self._view, Names(self._core.ids, {}), search, MOST)
        if kind is Kind.METRIC:
            return {row["no"]: device_metric_resource(row, self._core.ids) for row in page.matches}
        return {row["no"]: device_resource(row, self._core.ids, "active") for row in page.matches}

    async def read(self, no: int, k: int) -> ChunkView | None:
        """What a read finds within the historic period."""
        row = await read(self._core.pool, self._view, Kind.CHUNK, no, k)
        return self._seen(row) if row is not None and row["within"] else None

    def _seen(self, row: Row) -> ChunkView:
        stored = row if row["start_ms"] is not None else placeholder(row, row["k"], row["at_ms"], self._delay_ms)
        assert stored is not None
        return view(stored, row["at_ms"])

    def expected(self, shown: Mapping[tuple[int, int], ChunkView], query: Query) -> dict[tuple[int, int], ChunkView]:
        """What the search should find of everything that is shown."""
        return {
            key: chunk
            for key, chunk in shown.items()
            if self.sees(chunk) and all(_matches(chunk, *one) for one in query)
        }

    def sees(self, chunk: ChunkView) -> bool:
        """True when it ends within the historic period, or ended there before a late event withdrew it."""
        if _period(chunk)[1] >= date_range(date_time(self._floor_ms))[0]:
            return True
        span_ms = self._core.settings.chunk_span_seconds * 1000
        return chunk.status == "entered-in-error" and chunk.start_ms + span_ms > self._floor_ms


def _matches(chunk: ChunkView, name: str, prefix: str, one: int | str) -> bool:
    if isinstance(one, str):
        return chunk.status == one
    target = _period(chunk) if name == "date" else date_range(instant(chunk.updated_ms))
    return compare(prefix, date_range(searched(name, one)), target)


def searched(name: str, one: int | str) -> str:
    """The text for which the parameter `name` is searched."""
    if isinstance(one, str):
        return one
    return instant(one) if name == "_lastUpdated" else date_time(one)


def _period(chunk: ChunkView) -> Range:
    return date_range(date_time(chunk.start_ms))[0], date_range(date_time(chunk.end_ms))[1]
