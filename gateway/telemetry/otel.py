"""Ended turns and calls, put into OpenTelemetry's words: spans with the ids that they had all along, and figures.

A span is made when all of it is known. So a running turn costs nothing here, and what happened before the SDK was
loaded is told as well. Names: `names.py`.
"""

import os
import platform
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway import __version__
from gateway.telemetry import names
from gateway.telemetry.chunk_interval_metric import WithGaps
from gateway.telemetry.destination import Answering, Destination
from gateway.telemetry.exporters import exporters_for
from gateway.telemetry.spans import Span, call_span, turn_span
from gateway.telemetry.trace_context import Place
from gateway.telemetry.turn_record import TurnRecord
from gateway.telemetry.upstream_calls import UpstreamCall

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)  # the convention's
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)  # the same


class Otel:
    """Nothing in here waits: exporting has its own threads. `figures`: what is read at each export."""

    def __init__(
        self, destination: Destination, answering: Answering, figures: Mapping[str, Callable[[], int]]
    ) -> None:
        resource = _resource()
        exporters = exporters_for(destination)
        self._answering = answering
        self._common = {names.OPERATION: answering.operation, names.PROVIDER: answering.provider}
        self._ids = _GivenIds()
        self._tracers = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        for processor in exporters.spans:
            self._tracers.add_span_processor(processor)
        self._tracer = self._tracers.get_tracer("chat-api", __version__, schema_url=names.SCHEMA_URL)
        self._gaps = [WithGaps(exporter, self._common) for exporter in exporters.metrics]
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(exporter) for exporter in self._gaps],
            resource=resource,
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self._make_instruments(self._meters.get_meter("chat-api", __version__, schema_url=names.SCHEMA_URL), figures)

    def turn(self, record: TurnRecord) -> None:
        self._tell(turn_span(record, self._answering))
        for call in record.calls:
            self.call(call)
        self._turn_figures(record)

    def call(self, call: UpstreamCall) -> None:
        self._tell(call_span(call))

    def started(self, start_s: float) -> None:
        self._start.record(start_s)

    def flush(self) -> None:
        self._tracers.force_flush()
        self._meters.force_flush()

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()

    def _tell(self, told: Span) -> None:
        self._ids.place = told.place
        kind = SpanKind.SERVER if told.server else SpanKind.CLIENT
        above = _above(told.place)
        span = self._tracer.start_span(told.name, above, kind, told.attributes, start_time=told.started_ns)
        if told.first_chunk_ns is not None:
            span.add_event(names.FIRST_CHUNK_EVENT, timestamp=told.first_chunk_ns)
        if told.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(told.ended_ns)

    def _turn_figures(self, record: TurnRecord) -> None:
        failed = {names.ERROR_TYPE: record.ending} if record.failed else {}
        self._duration.record((record.ended_ns - record.started_ns) / 1e9, {**self._common, **failed})
        ending = {names.ROUTE: record.asked.route, names.ENDING: record.ending, names.CALLER: record.asked.caller}
        self._endings.add(1, ending)
        if record.first_chunk_s is not None:
            self._first_chunk.record(record.first_chunk_s, self._common)
        if record.retries:
            self._retries.add(record.retries)
        if record.usage:
            self._tokens.record(record.usage.input_tokens, {**self._common, names.TOKEN_TYPE: "input"})
            self._tokens.record(record.usage.output_tokens, {**self._common, names.TOKEN_TYPE: "output"})
        for gaps in self._gaps:
            gaps.add(record.gaps)

    def _make_instruments(self, meter: Meter, figures: Mapping[str, Callable[[], int]]) -> None:
        self._duration = _histogram(meter, names.DURATION, _SECONDS)
        self._first_chunk = _histogram(meter, names.FIRST_CHUNK, _SECONDS)
        self._start = _histogram(meter, names.START, _SECONDS)
        self._tokens = _histogram(meter, names.TOKENS, _TOKENS)
        self._endings = meter.create_counter(names.ENDINGS, names.UNITS[names.ENDINGS])
        self._retries = meter.create_counter(names.UPSTREAM_RETRIES, names.UNITS[names.UPSTREAM_RETRIES])
        for name, read in figures.items():
            meter.create_observable_gauge(name, [_observed(read)], names.UNITS[name])


class _GivenIds(IdGenerator):
    """Ids are given before the SDK is there: the log and the upstream know them already."""

    place: Place

    def generate_trace_id(self) -> int:
        return self.place.trace_id

    def generate_span_id(self) -> int:
        return self.place.span_id


def _above(place: Place) -> Context:
    if not place.parent_id:
        return Context()
    parent = SpanContext(place.trace_id, place.parent_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _histogram(meter: Meter, name: str, bounds: Iterable[float]) -> Histogram:
    return meter.create_histogram(name, names.UNITS[name], explicit_bucket_boundaries_advisory=list(bounds))


def _observed(read: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]


def _resource() -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win. A replica of Container Apps knows its name."""
    ours = {
        "service.name": "chat-api",
        "service.version": __version__,
        "service.instance.id": os.environ.get("CONTAINER_APP_REPLICA_NAME") or platform.node(),
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})
