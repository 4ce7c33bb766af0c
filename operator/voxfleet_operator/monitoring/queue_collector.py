"""The work queue, as client-go's queues are told of."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_operator import metric_list
from voxfleet_operator.queue import WorkQueue


class QueueCollector(Collector):
    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        depths, adds, retries = self._queue.depths, self._queue.adds, self._queue.retries
        depth = metric_list.QUEUE_DEPTH.gauge_family()
        for kind in adds:
            depth.add_metric([kind], depths[kind])
        yield depth
        for spec, counts in ((metric_list.QUEUE_ADDS, adds), (metric_list.QUEUE_RETRIES, retries)):
            family = spec.counter_family()
            for kind, count in counts.items():
                family.add_metric([kind], count)
            yield family
        held = self._queue.held_seconds
        for spec, value in (
            (metric_list.QUEUE_DELAYED, float(self._queue.delayed)),
            (metric_list.UNFINISHED_SECONDS, sum(held)),
            (metric_list.LONGEST_SECONDS, max(held, default=0.0)),
        ):
            gauge = spec.gauge_family()
            gauge.add_metric([], value)
            yield gauge
