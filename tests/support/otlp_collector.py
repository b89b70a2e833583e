"""An OpenTelemetry collector of our own: takes OTLP over HTTP, and decodes it with the standard's own messages."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import opentelemetry.exporter.otlp.proto.http.metric_exporter
import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import gateway.telemetry.otel  # noqa: F401  loaded before a test: a busy machine would take longer than a flush may

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Attributes
    events: list[str]
    failed: bool
    started_ns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """`value`: of a sum or gauge; of a histogram its sum. `count`, `buckets`: of a histogram."""

    name: str
    unit: str
    attributes: Attributes
    value: float
    count: int
    buckets: list[int]


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []
        self.points: dict[tuple[str, str], Point] = {}
        """The newest of each series: sums and histograms count from the start."""
        self.resource: Attributes = {}
        routes = [("/v1/traces", self._traces), ("/v1/metrics", self._metrics)]
        self.app = Starlette(routes=[Route(path, take, methods=["POST"]) for path, take in routes])

    def wait_until(self, come: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(400):
            if come():
                return
            pause.wait(0.05)
        raise AssertionError("it did not come in 20 s")

    def turns(self) -> list[Span]:
        """In the order of their beginnings, as those below them are."""
        return sorted((span for span in self.spans if span.kind == "SERVER"), key=lambda span: span.started_ns)

    def below(self, span: Span) -> list[Span]:
        below = [other for other in self.spans if other.parent_id == span.span_id]
        return sorted(below, key=lambda other: other.started_ns)

    def series(self, name: str) -> list[Point]:
        return [point for point in self.points.values() if point.name == name]

    async def _traces(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(await self._body(request))
        for resource in sent.resource_spans:
            self.resource = _attributes(resource.resource.attributes)
            self.spans += [_span(span) for scope in resource.scope_spans for span in scope.spans]
        return Response(b"")

    async def _metrics(self, request: Request) -> Response:
        sent = ExportMetricsServiceRequest.FromString(await self._body(request))
        for metric in [m for r in sent.resource_metrics for scope in r.scope_metrics for m in scope.metrics]:
            for point in _points(metric):
                self.points[(point.name, str(sorted(point.attributes.items())))] = point
        return Response(b"")

    async def _body(self, request: Request) -> bytes:
        body = await request.body()
        self.bodies.append(body)
        return body


def _span(span: SentSpan) -> Span:
    return Span(
        name=span.name,
        kind=SentSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        events=[event.name for event in span.events],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        started_ns=span.start_time_unix_nano,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _points(metric: Any) -> list[Point]:
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points
    if kind == "histogram":
        return [
            Point(metric.name, metric.unit, _attributes(p.attributes), p.sum, p.count, list(p.bucket_counts))
            for p in points
        ]
    return [Point(metric.name, metric.unit, _attributes(p.attributes), p.as_int or p.as_double, 0, []) for p in points]


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, str(kind))
