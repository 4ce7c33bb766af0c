"""How a metric is declared: as data, from which come the metric itself, its page and the tests of alerts.

Labels are closed lists or bounded by the fleet. None holds what users choose the number of: a job, a shard, a clip. An
endpoint is named while it holds a lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets for what should take a moment."""


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    type: MetricType
    name: str
    """As it is scraped: a counter ends in _total. A histogram is scraped with _bucket, _sum and _count behind it."""
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS

    @property
    def series(self) -> tuple[str, ...]:
        """The names that an expression may have."""
        if self.type is MetricType.HISTOGRAM:
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)

    def counter(self, registry: CollectorRegistry | None) -> Counter:
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry | None) -> Gauge:
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry | None) -> Histogram:
        return Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)

    def gauge_family(self) -> GaugeMetricFamily:
        """For a value that is read at the scrape."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def counter_family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self.name, self.help, labels=self.labels)

    def histogram_family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


def counter(name: str, text: str, *labels: str) -> MetricSpec:
    return MetricSpec(MetricType.COUNTER, name, text, labels)


def gauge(name: str, text: str, *labels: str) -> MetricSpec:
    return MetricSpec(MetricType.GAUGE, name, text, labels)


def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = SECONDS) -> MetricSpec:
    return MetricSpec(MetricType.HISTOGRAM, name, text, labels, buckets)
