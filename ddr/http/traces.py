"""Traces by OpenTelemetry (extra `otel`): a span for each request, and for each of its steps and kinds of statements.

Off unless `otlp_endpoint` is set. Spans are made when a request has ended, from what was noted about it (ddr.call):
they contain nothing of a path, a query, a body or a person, and the trace ids of clients are ignored. Sampling etc.
follow the variables of the OpenTelemetry specification (OTEL_TRACES_SAMPLER …).
"""

from __future__ import annotations

from typing import Any

from ddr import __version__
from ddr.call import Call
from ddr.settings import Settings, SettingsError

NANOSECONDS = 1_000_000_000
WANTED = "setting otlp_endpoint: needs the extra otel (pip install 'ddr[otel]')"


class Traces:
    """Where spans go."""

    def __init__(self, tracer: Any) -> None:
        """`tracer`: an opentelemetry.trace.Tracer."""
        self._tracer = tracer

    def note(self, listener: str, interaction: str, status: int, call: Call) -> None:
        """A request has ended."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        attributes = {"ddr.listener": listener, "ddr.interaction": interaction, "http.response.status_code": status}
        if call.reason:
            attributes["ddr.refused"] = call.reason
        span = self._tracer.start_span(
            interaction,
            context=Context(),  # a context of its own, whatever else is traced in this process
            kind=trace.SpanKind.SERVER,
            start_time=call.began_ns,
            attributes=attributes,
        )
        inside = trace.set_span_in_context(span)
        for step in call.steps:
            began = call.began_ns + round(step.began * NANOSECONDS)
            part = self._tracer.start_span(step.what or step.phase, context=inside, start_time=began)
            part.end(began + round(step.seconds * NANOSECONDS))
        if status >= 500 or not status:
            span.set_status(trace.StatusCode.ERROR)
        span.end(call.began_ns + round(call.seconds * NANOSECONDS))


def open_traces(settings: Settings) -> Traces | None:
    """Traces to `otlp_endpoint` (OTLP over HTTP), None without one. Raises SettingsError when the extra is missing."""
    if not settings.otlp_endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(WANTED) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "ddr", "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.otlp_endpoint)))
    return Traces(provider.get_tracer("ddr"))
