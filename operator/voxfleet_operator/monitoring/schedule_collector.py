"""Schedules in sums, as jobs are."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchSchedule
from voxfleet_operator import metric_list
from voxfleet_operator.cache import Cache


class ScheduleCollector(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        schedules = self._cache.all(AudioBatchSchedule)
        stalled = sum(is_true(schedule.status.conditions, ConditionType.STALLED) for schedule in schedules)
        gauge = metric_list.SCHEDULES_STALLED.gauge_family()
        gauge.add_metric([], float(stalled))
        yield gauge
