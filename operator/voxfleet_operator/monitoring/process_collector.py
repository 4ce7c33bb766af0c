"""This process: its leadership, its loop, its watches and its events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from voxfleet_operator import metric_list
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.watch_health import WatchHealth


class Leadership(Protocol):
    """leader.Leader implements it."""

    @property
    def epoch(self) -> int: ...

    def holds(self) -> bool: ...


class ProcessCollector(Collector):
    def __init__(self, leader: Leadership, heartbeat: Heartbeat, watches: WatchHealth) -> None:
        self._leader = leader
        self._heartbeat = heartbeat
        self._watches = watches

    def collect(self) -> Iterator[Metric]:
        leads = self._leader.holds()
        yield _gauge(metric_list.LEADER.gauge_family(), float(leads))
        yield _gauge(metric_list.LEADER_TRANSITIONS.gauge_family(), float(self._leader.epoch if leads else 0))
        stalls = metric_list.LOOP_STALLS.counter_family()
        stalls.add_metric([], self._heartbeat.stalls)
        yield stalls
        ages = metric_list.WATCH_AGE_SECONDS.gauge_family()
        for resource, seconds in self._watches.watch_ages_seconds.items():
            ages.add_metric([resource], seconds)
        yield ages
        starts = metric_list.WATCH_STARTS.counter_family()
        for (resource, code), count in list(self._watches.starts.items()):
            starts.add_metric([resource, code], count)
        yield starts
        missed = metric_list.WATCH_MISSED.counter_family()
        for resource, count in self._watches.missed.items():
            missed.add_metric([resource], count)
        yield missed
        listed = metric_list.LIST_AGE_SECONDS.gauge_family()
        if self._watches.list_age_seconds is not None:
            listed.add_metric([], self._watches.list_age_seconds)
        yield listed


class EventCollector(Collector):
    """Of a leader: nobody else has events to tell."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        events = metric_list.EVENTS.counter_family()
        events.add_metric(["written"], self._recorder.written_total)
        events.add_metric(["repeated"], self._recorder.repeated_total)
        events.add_metric(["lost"], self._recorder.lost_total)
        yield events


def _gauge(family: GaugeMetricFamily, value: float) -> GaugeMetricFamily:
    family.add_metric([], value)
    return family
