"""Exports the intervals between chunks: an exporter that adds our own histogram to the SDK's metrics."""

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

from gateway.telemetry.chunk_intervals import BOUNDS_S, ChunkIntervals
from gateway.telemetry.names import CHUNK_INTERVAL, UNITS


class ChunkIntervalExporter(MetricExporter):
    """A wrapper of `exporter`. It counts from the start, or since the last export, as `exporter` prefers."""

    def __init__(self, exporter: MetricExporter, attributes: Mapping[str, str]) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._attributes = attributes
        preferred = (exporter._preferred_temporality or {}).get(HistogramInstrument)
        self._temporality = preferred or AggregationTemporality.CUMULATIVE
        self._lock = threading.Lock()
        self._intervals = ChunkIntervals()
        self._since_ns = time.time_ns()

    def add(self, intervals: ChunkIntervals) -> None:
        with self._lock:
            self._intervals.merge(intervals)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any) -> MetricExportResult:
        with_ours = replace(metrics_data, resource_metrics=[self._extend(r) for r in metrics_data.resource_metrics])
        return self._exporter.export(with_ours, timeout_millis, **more)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        self._exporter.shutdown(timeout_millis, **more)

    def _extend(self, resource: ResourceMetrics) -> ResourceMetrics:
        """Add to the first scope, which is ours: the SDK makes one for each meter."""
        scopes = [
            replace(scope, metrics=[*scope.metrics, *self._create_metrics()]) for scope in resource.scope_metrics[:1]
        ]
        rest: list[ScopeMetrics] = list(resource.scope_metrics[1:])
        return replace(resource, scope_metrics=[*scopes, *rest])

    def _create_metrics(self) -> list[Metric]:
        with self._lock:
            if not self._intervals.count:
                return []
            point = self._create_point(time.time_ns())
            if self._temporality is AggregationTemporality.DELTA:
                self._intervals, self._since_ns = ChunkIntervals(), point.time_unix_nano
        description = "Time between two chunks of an answer, as they come from the upstream"
        return [Metric(CHUNK_INTERVAL, description, UNITS[CHUNK_INTERVAL], Histogram([point], self._temporality))]

    def _create_point(self, now_ns: int) -> HistogramDataPoint:
        intervals = self._intervals
        return HistogramDataPoint(
            attributes=self._attributes,
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=intervals.count,
            sum=intervals.sum,
            bucket_counts=list(intervals.buckets),
            explicit_bounds=BOUNDS_S,
            min=intervals.shortest,
            max=intervals.longest,
        )
