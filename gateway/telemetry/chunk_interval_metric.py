"""The times between chunks among the exported figures: an exporter that adds our own histogram to the SDK's."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics import Histogram as HistogramInstrument
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)

from gateway.telemetry.chunk_intervals import BOUNDS_S, Gaps
from gateway.telemetry.names import CHUNK_GAP, UNITS


class WithGaps(MetricExporter):
    """Counts from the start, or since the last export: as `exporter` wants histograms."""

    def __init__(self, exporter: MetricExporter, attributes: Mapping[str, str]) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._attributes = attributes
        asked = (exporter._preferred_temporality or {}).get(HistogramInstrument)
        self._temporality = asked or AggregationTemporality.CUMULATIVE
        self._lock = threading.Lock()
        self._gaps = Gaps()
        self._since_ns = time.time_ns()

    def add(self, gaps: Gaps) -> None:
        with self._lock:
            self._gaps.merge(gaps)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any) -> MetricExportResult:
        with_ours = replace(metrics_data, resource_metrics=[self._extended(r) for r in metrics_data.resource_metrics])
        return self._exporter.export(with_ours, timeout_millis, **more)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        self._exporter.shutdown(timeout_millis, **more)

    def _extended(self, resource: ResourceMetrics) -> ResourceMetrics:
        """One scope is ours alone: the SDK makes one for each meter."""
        scopes = [replace(scope, metrics=[*scope.metrics, *self._metrics()]) for scope in resource.scope_metrics[:1]]
        rest: list[ScopeMetrics] = list(resource.scope_metrics[1:])
        return replace(resource, scope_metrics=[*scopes, *rest])

    def _metrics(self) -> list[Metric]:
        with self._lock:
            if not self._gaps.count:
                return []
            point = self._point(time.time_ns())
            if self._temporality is AggregationTemporality.DELTA:
                self._gaps, self._since_ns = Gaps(), point.time_unix_nano
        described = "Time between two chunks of an answer, as they come from the upstream"
        return [Metric(CHUNK_GAP, described, UNITS[CHUNK_GAP], Histogram([point], self._temporality))]

    def _point(self, now_ns: int) -> HistogramDataPoint:
        gaps = self._gaps
        return HistogramDataPoint(
            attributes=self._attributes,
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=gaps.count,
            sum=gaps.sum,
            bucket_counts=list(gaps.buckets),
            explicit_bounds=BOUNDS_S,
            min=gaps.shortest,
            max=gaps.longest,
        )
