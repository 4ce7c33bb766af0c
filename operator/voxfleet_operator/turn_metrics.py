"""How long turns of endpoints took, as histograms that only grow. An endpoint's series end with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_api.endpoint_latency import BOUNDS_MILLISECONDS, Histogram, KindLatency, LatencyPart, summed
from voxfleet_operator import metric_list

TOTAL = "Total"


class TurnMetrics(Collector):
    """Without a registry nobody scrapes it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._latencies: dict[tuple[str, str], dict[str, KindLatency]] = {}
        """By namespace and name of the endpoint, then by kind."""
        if registry is not None:
            registry.register(self)

    def took(self, namespace: str, endpoint: str, grew: Mapping[str, KindLatency]) -> None:
        kinds = self._latencies.setdefault((namespace, endpoint), {})
        for kind, latency in grew.items():
            kinds[kind] = summed((kinds[kind], latency), kind) if kind in kinds else latency

    def forget(self, namespace: str, endpoint: str) -> None:
        self._latencies.pop((namespace, endpoint), None)

    def collect(self) -> Iterator[Metric]:
        seconds = metric_list.ENDPOINT_TURN_SECONDS.histogram_family()
        slow, stalls = metric_list.ENDPOINT_SLOW_TURNS.counter_family(), metric_list.ENDPOINT_STALLS.counter_family()
        for (namespace, endpoint), kinds in self._latencies.items():
            for kind, latency in kinds.items():
                labels = [namespace, endpoint, kind]
                slow.add_metric(labels, latency.slow)
                stalls.add_metric(labels, latency.stalls)
                seconds.add_metric([*labels, TOTAL], *_histogram(latency.total))
                for part in LatencyPart:
                    seconds.add_metric([*labels, part], *_histogram(latency.part(part)))
        yield from (seconds, slow, stalls)


def _histogram(times: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Buckets as they are scraped, and the sum in seconds."""
    bounds = [*(str(bound / 1000) for bound in BOUNDS_MILLISECONDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(times.counts)), strict=True)), times.sum_milliseconds / 1000
