"""The metrics that /metrics shows. No label holds a name that users choose, as their number has no bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from voxfleet_operator.queue import WorkQueue


class OperatorMetrics:
    """The metrics of the operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reconciles = Counter(
            "voxfleet_reconcile", "Reconciles by kind and result.", ["kind", "result"], registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            "voxfleet_reconcile_duration_seconds", "Time of a reconcile.", ["kind"], registry=self.registry
        )
        # Looking up a label takes longer than counting.
        self._reconciles = cache(self.reconciles.labels)
        self._reconcile_seconds = cache(self.reconcile_seconds.labels)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        self._reconciles(kind, result).inc()
        self._reconcile_seconds(kind).observe(seconds)

    def watch_state(self, queue: WorkQueue, leads: Callable[[], bool], macs: Callable[[], tuple[int, int]]) -> None:
        """Adds metrics that are read on demand. `macs` returns the numbers of connected Macs and of all Macs."""
        self.registry.register(_State(queue, leads, macs))


class _State(Collector):
    def __init__(self, queue: WorkQueue, leads: Callable[[], bool], macs: Callable[[], tuple[int, int]]) -> None:
        self._queue = queue
        self._leads = leads
        self._macs = macs

    def collect(self) -> Iterator[Metric]:
        connected, total = self._macs()
        yield GaugeMetricFamily("voxfleet_leader", "1 while this process holds the Lease.", float(self._leads()))
        yield GaugeMetricFamily("voxfleet_workqueue_depth", "Keys that wait for a worker.", self._queue.depth)
        yield CounterMetricFamily("voxfleet_workqueue_adds", "Keys added.", self._queue.adds_total)
        yield CounterMetricFamily(
            "voxfleet_workqueue_retries", "Keys added after a failure.", self._queue.retries_total
        )
        macs = GaugeMetricFamily("voxfleet_macs", "MacAgents by connection.", labels=["state"])
        macs.add_metric(["connected"], connected)
        macs.add_metric(["disconnected"], total - connected)
        yield macs
