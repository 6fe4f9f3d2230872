"""Spans of a request: its own span, with its status, without anything else."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ddr.call import Call
from ddr.http.traces import Traces


@pytest.mark.parametrize(("status", "is_error"), [(200, False), (404, False), (500, True), (0, True)])
def test_a_request_is_a_span_and_an_error_only_where_the_recorder_failed(status: int, is_error: bool) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Traces(provider.get_tracer("ddr")).note("diga", "search", status, Call())
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.parent, span.status.status_code.name == "ERROR") == ("search", None, is_error)
    assert dict(span.attributes or {}) == {
        "ddr.listener": "diga",
        "ddr.interaction": "search",
        "http.response.status_code": status,
    }
