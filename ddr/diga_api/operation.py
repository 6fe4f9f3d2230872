"""$hddt-cgm-summary: the clinical metrics of a period, calculated for the request (HDDT measurement-cgm.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

from ddr.aside import LARGE_CHUNKS, aside
from ddr.diga_api.access import Access, Candidate, Gate
from ddr.diga_api.request import Request, resource_of
from ddr.fhir.cgm_summary import OPERATION, Entry, summary_bundle
from ddr.fhir.device import device_resource, device_status
from ddr.fhir.instants import instant
from ddr.fhir.outcome import operation_no_match, unknown_route
from ddr.fhir.parameters import Inputs, query_inputs, resource_inputs
from ddr.fhir.reporting_period import DECLARED, RELATED, Period, reporting_period
from ddr.http.asgi import Receive, Reply, Scope
from ddr.http.core import Core
from ddr.scopes.decision import Interaction
from ddr.series.metrics import Metrics, metrics
from ddr.series.selection import Part, counting
from ddr.store.search.summary import continuous_chunks
from ddr.store.search.view import Term

PATH = "$" + OPERATION
NO_MATCH = "No CGM summary observations found for the given effective period."


class Summarizer:
    """Answers the operations of one worker."""

    def __init__(self, core: Core, gate: Gate) -> None:
        self._core = core
        self._gate = gate
        self._miv = core.catalog.with_operation(OPERATION)
        self._zone = ZoneInfo(core.settings.time_zone)

    async def answer(self, scope: Scope, receive: Receive, request: Request) -> Reply:
        """The report. Access, audit and Grace-Period are those of a search for the MIV. Raises FhirError."""
        if self._miv is None:
            raise unknown_route(request.path)
        valueset = self._miv.valueset
        candidate = await self._gate.identify(scope, request.path, "Observation", Interaction.OPERATION, valueset)
        inputs = await self._inputs(scope, receive, request)
        request.check_representation()
        period = self._period(inputs, candidate, valueset)
        access = await self._gate.admit(candidate, [valueset])
        try:
            report = await self._report(access, period, related=inputs.get(RELATED, False))
            return self._gate.charged(access, request.reply(report))
        except BaseException:  # also when the client disconnects: what was not answered does not count
            await self._gate.forgive(access)
            raise

    async def _inputs(self, scope: Scope, receive: Receive, request: Request) -> Inputs:
        """The parameters in the query and, for a POST, in the body."""
        inputs = query_inputs(request.search_parameters(), DECLARED)
        if request.method == "POST":
            resource = await resource_of(request, scope, receive, self._core.settings.fhir_max_body_bytes)
            if resource is not None:
                inputs |= resource_inputs(resource, DECLARED)
        return inputs

    def _period(self, inputs: Inputs, candidate: Candidate, valueset: str) -> Period:
        now_ms = candidate.facts.now_ms
        return reporting_period(inputs, self._zone, now_ms, self._core.catalog.floor_ms(valueset, now_ms))

    async def _report(self, access: Access, period: Period, *, related: bool) -> dict[str, Any]:
        (term,) = access.view.terms
        from_ms, until_ms = period.from_ms, period.until_ms
        rows = await continuous_chunks(self._core.pool, access.view.patient_id, term.valueset, from_ms, until_ms)

        def calculated() -> tuple[list[Part], Metrics | None]:
            parts = counting(rows, from_ms, until_ms, self._core.settings.summary_uncalibrated)
            return parts, metrics(parts, until_ms - from_ms, period.zone)

        parts, found = await aside(len(rows) > LARGE_CHUNKS, calculated)
        if found is None:
            raise operation_no_match(NO_MATCH)
        devices = self._devices(access, term, parts) if related and access.scopes.device else ()
        return summary_bundle(found, period, access.pairing_id, devices, instant(access.view.now_ms))

    def _devices(self, access: Access, term: Term, parts: Iterable[Part]) -> Iterator[Entry]:
        """Every device that contributed a reading, once each, by number."""
        rows = {part.row["device_no"]: part.row for part in parts}
        for _, row in sorted(rows.items()):
            updated_ms = max(row["device_updated_ms"], access.view.opened_ms)
            status = device_status(row, access.view.now_ms, term.delay_ms)
            resource = device_resource({**row, "device_updated_ms": updated_ms}, self._core.ids, status)
            yield f"{self._core.settings.fhir_base}/Device/{resource['id']}", resource
