"""What the gateway counts itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from voxfleet_api.failures import FailureClass
from voxfleet_api.session_protocol import Ended
from voxfleet_gateway import gateway_metric_list
from voxfleet_gateway.mac_links.link_state import LinkState
from voxfleet_gateway.mac_links.links import MacLinks
from voxfleet_operator import metric_list
from voxfleet_operator.metrics import NONE

IN_ORDER, CANCELLED, OTHER = "none", "cancelled", "other"
REFUSED_STATUSES = (400, 401, 403, 404, 408, 413, 415, 422, 426, 429, 503)


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._refused = gateway_metric_list.CALLS_REFUSED.counter(registry)
        self._ended = gateway_metric_list.SESSIONS_ENDED.counter(registry)
        self._api_requests = metric_list.API_REQUESTS.counter(registry)
        self._api_request_seconds = metric_list.API_REQUEST_SECONDS.histogram(registry)
        for status in REFUSED_STATUSES:
            self._refused.labels(str(status))
        for ending in (IN_ORDER, CANCELLED, *FailureClass):
            self._ended.labels(str(ending))

    def api_requested(self, verb: str, code: int | None, seconds: float) -> None:
        """`code`: the status; None without an answer."""
        self._api_requests.labels(verb, NONE if code is None else str(code)).inc()
        self._api_request_seconds.labels(verb).observe(seconds)

    def call_refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def session_ended(self, ended: Ended | None) -> None:
        """None: it was left before its end."""
        self._ended.labels(_ending(ended)).inc()


def _ending(ended: Ended | None) -> str:
    if ended is None:
        return CANCELLED
    if ended.failure_class is None:
        return IN_ORDER
    return ended.failure_class if ended.failure_class in set(FailureClass) else OTHER


class CountsSessions(Protocol):
    @property
    def open_sessions(self) -> int: ...


class CountsCalls(Protocol):
    @property
    def open_calls(self) -> int: ...


class GatewayCollector(Collector):
    """What is read at a scrape."""

    def __init__(self, sessions: CountsSessions, calls: CountsCalls, links: MacLinks) -> None:
        self._sessions = sessions
        self._calls = calls
        self._links = links

    def collect(self) -> Iterator[Metric]:
        yield _gauge(gateway_metric_list.OPEN_SESSIONS.gauge_family(), self._sessions.open_sessions)
        yield _gauge(gateway_metric_list.OPEN_CALLS.gauge_family(), self._calls.open_calls)
        yield _gauge(gateway_metric_list.QUEUED_BYTES.gauge_family(), self._links.held_bytes)
        links, states = gateway_metric_list.LINKS.gauge_family(), self._links.states()
        for state in LinkState:
            links.add_metric([str(state)], states[state])
        yield links


def make_registry() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, which says when it began
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _gauge(family: GaugeMetricFamily, value: float) -> GaugeMetricFamily:
    family.add_metric([], value)
    return family
