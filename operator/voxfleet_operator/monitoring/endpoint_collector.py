"""Endpoints with a lane on some Mac, by their names: they are no more than the fleet has lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_operator import metric_list
from voxfleet_operator.cache import Cache
from voxfleet_shared.metric_specs import MetricSpec


def _slo_met(endpoint: VoiceEndpoint) -> int | None:
    """None while nobody knows."""
    found = find(endpoint.status.conditions, ConditionType.SLO_MET)
    return None if found is None or found.status == "Unknown" else int(found.status == "True")


def _wanted(endpoint: VoiceEndpoint) -> int | None:
    return None if endpoint.status.lanes is None else endpoint.status.lanes.wanted


def _warm(endpoint: VoiceEndpoint) -> int | None:
    return None if endpoint.status.lanes is None else endpoint.status.lanes.warm


def _busy(endpoint: VoiceEndpoint) -> int | None:
    return None if endpoint.status.lanes is None else endpoint.status.lanes.busy


GAUGES: tuple[tuple[MetricSpec, Callable[[VoiceEndpoint], int | None]], ...] = (
    (metric_list.ENDPOINT_LANES_WANTED, _wanted),
    (metric_list.ENDPOINT_LANES_WARM, _warm),
    (metric_list.ENDPOINT_LANES_BUSY, _busy),
    (metric_list.ENDPOINT_SLO_MET, _slo_met),
)


class EndpointCollector(Collector):
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        endpoints = self._cache.all(VoiceEndpoint)
        for spec, value_of in GAUGES:
            family = spec.gauge_family()
            for endpoint in endpoints:
                value = value_of(endpoint) if endpoint.status.macs else None
                if value is not None:
                    family.add_metric([endpoint.metadata.namespace, endpoint.metadata.name], float(value))
            yield family
        waiting = metric_list.ENDPOINTS_WAITING.gauge_family()
        waiting.add_metric([], float(sum(endpoint.status.pending_reason is not None for endpoint in endpoints)))
        yield waiting
