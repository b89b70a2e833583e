"""Exports ended turns and calls through OpenTelemetry: as spans with the ids that they had all along, and as metrics.

A span is made when all of it is known. So a running turn costs nothing here, and what happened before the SDK was
loaded is exported as well. Names: `names.py`.
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
from gateway.telemetry.destination import Destination, UpstreamInfo
from gateway.telemetry.exporters import create_exporters
from gateway.telemetry.spans import Span, span_from_call, span_from_turn
from gateway.telemetry.trace_context import SpanIds
from gateway.telemetry.turn_record import TurnRecord
from gateway.telemetry.upstream_calls import UpstreamCall

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)  # the convention's
_GAPS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)  # the convention's, too


class Otel:
    """An exporter that never waits: exporting has its own threads. `gauges`: what is read at each export."""

    def __init__(
        self, destination: Destination, upstream: UpstreamInfo, gauges: Mapping[str, Callable[[], int]]
    ) -> None:
        resource = _create_resource()
        exporters = create_exporters(destination)
        self._upstream = upstream
        self._common = {names.OPERATION: upstream.operation, names.PROVIDER: upstream.provider}
        self._ids = _PresetIds()
        self._tracers = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        for processor in exporters.spans:
            self._tracers.add_span_processor(processor)
        self._tracer = self._tracers.get_tracer("chat-api", __version__, schema_url=names.SCHEMA_URL)
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(exporter) for exporter in exporters.metrics],
            resource=resource,
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self._create_instruments(self._meters.get_meter("chat-api", __version__, schema_url=names.SCHEMA_URL), gauges)

    def export_turn(self, record: TurnRecord) -> None:
        self._export_span(span_from_turn(record, self._upstream))
        for call in record.calls:
            self.export_call(call)
        self._record_metrics(record)

    def export_call(self, call: UpstreamCall) -> None:
        self._export_span(span_from_call(call))

    def record_start(self, start_s: float) -> None:
        self._start.record(start_s)

    def flush(self) -> None:
        self._tracers.force_flush()
        self._meters.force_flush()

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()

    def _export_span(self, ended: Span) -> None:
        self._ids.span_ids = ended.span_ids  # start_span reads them
        kind = SpanKind.SERVER if ended.server else SpanKind.CLIENT
        parent = _create_parent_context(ended.span_ids)
        span = self._tracer.start_span(ended.name, parent, kind, ended.attributes, start_time=ended.started_ns)
        if ended.first_chunk_ns is not None:
            span.add_event(names.FIRST_CHUNK_EVENT, timestamp=ended.first_chunk_ns)
        if ended.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended.ended_ns)

    def _record_metrics(self, record: TurnRecord) -> None:
        failed = {names.ERROR_TYPE: record.ending} if record.failed else {}
        self._duration.record((record.ended_ns - record.started_ns) / 1e9, {**self._common, **failed})
        ending = {
            names.ROUTE: record.request.route,
            names.ENDING: record.ending,
            names.CALLER: record.request.caller_kind,
        }
        self._endings.add(1, ending)
        if record.first_chunk_s is not None:
            self._first_chunk.record(record.first_chunk_s, self._common)
        if record.retries:
            self._retries.add(record.retries)
        if record.usage:
            self._tokens.record(record.usage.input_tokens, {**self._common, names.TOKEN_TYPE: "input"})
            self._tokens.record(record.usage.output_tokens, {**self._common, names.TOKEN_TYPE: "output"})
        if record.mean_gap_s is not None:
            self._mean_gap.record(record.mean_gap_s, self._common)
            self._longest_gap.record(record.longest_gap_s, self._common)

    def _create_instruments(self, meter: Meter, gauges: Mapping[str, Callable[[], int]]) -> None:
        self._duration = _create_histogram(meter, names.DURATION, _SECONDS)
        self._first_chunk = _create_histogram(meter, names.FIRST_CHUNK, _SECONDS)
        self._mean_gap = _create_histogram(meter, names.MEAN_GAP, _GAPS_S)
        self._longest_gap = _create_histogram(meter, names.LONGEST_GAP, _GAPS_S)
        self._start = _create_histogram(meter, names.START, _SECONDS)
        self._tokens = _create_histogram(meter, names.TOKENS, _TOKENS)
        self._endings = meter.create_counter(names.ENDINGS, names.UNITS[names.ENDINGS])
        self._retries = meter.create_counter(names.UPSTREAM_RETRIES, names.UNITS[names.UPSTREAM_RETRIES])
        for name, read in gauges.items():
            meter.create_observable_gauge(name, [_create_callback(read)], names.UNITS[name])


class _PresetIds(IdGenerator):
    """A source of ids that were made before the SDK was loaded: the log and the upstream have them already."""

    span_ids: SpanIds

    def generate_trace_id(self) -> int:
        return self.span_ids.trace_id

    def generate_span_id(self) -> int:
        return self.span_ids.span_id


def _create_parent_context(span_ids: SpanIds) -> Context:
    if not span_ids.parent_id:
        return Context()
    parent = SpanContext(
        span_ids.trace_id, span_ids.parent_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _create_histogram(meter: Meter, name: str, bounds: Iterable[float]) -> Histogram:
    return meter.create_histogram(name, names.UNITS[name], explicit_bucket_boundaries_advisory=list(bounds))


def _create_callback(read: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _: [Observation(read())]


def _create_resource() -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence. A replica of Container Apps knows its name."""
    ours = {
        "service.name": "chat-api",
        "service.version": __version__,
        "service.instance.id": os.environ.get("CONTAINER_APP_REPLICA_NAME") or platform.node(),
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})
