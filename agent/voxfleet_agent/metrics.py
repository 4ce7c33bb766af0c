"""A small set of Prometheus metrics. No label names a job, a shard or a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voxfleet_agent.journal.attempts import AttemptRecord
from voxfleet_api.protocol import AttemptState, PoolFacts


@dataclass(frozen=True, slots=True)
class Reading:
    """The agent at the instant of a scrape."""

    attempts: Sequence[AttemptRecord]
    pools: Sequence[PoolFacts]
    scratch_reserved_bytes: int
    scratch_quota_bytes: int
    ready: bool


class Metrics(Collector):
    """Reads everything at the scrape, so that nothing has to be counted twice."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> tuple[bytes, str]:
        """(text, media type)."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        reading = self._read()
        states = Counter(record.state for record in reading.attempts)
        attempts = GaugeMetricFamily("voxfleet_agent_attempts", "Attempts known here, by state.", labels=["state"])
        for state in AttemptState:
            attempts.add_metric([state.value], states[state])
        failures = Counter(record.failure.failure_class for record in reading.attempts if record.failure is not None)
        failed = GaugeMetricFamily(
            "voxfleet_agent_failed_attempts", "Failed attempts known here, by class.", labels=["class"]
        )
        for failure_class, count in failures.items():
            failed.add_metric([failure_class.value], count)
        lanes = GaugeMetricFamily("voxfleet_agent_lanes", "Lanes of a pool.", labels=["pool"])
        free = GaugeMetricFamily("voxfleet_agent_free_lanes", "Lanes of a pool that nobody holds.", labels=["pool"])
        for pool in reading.pools:
            lanes.add_metric([pool.name], pool.lanes)
            free.add_metric([pool.name], pool.free_lanes)
        return (
            attempts,
            failed,
            lanes,
            free,
            GaugeMetricFamily(
                "voxfleet_agent_scratch_reserved_bytes", "Scratch in use.", value=reading.scratch_reserved_bytes
            ),
            GaugeMetricFamily(
                "voxfleet_agent_scratch_quota_bytes", "Scratch allowed.", value=reading.scratch_quota_bytes
            ),
            GaugeMetricFamily("voxfleet_agent_ready", "1 when attempts are admitted.", value=float(reading.ready)),
        )
