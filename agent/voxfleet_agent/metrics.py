"""A small set of Prometheus metrics. No label names a job, a shard or a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_api.protocol import AttemptState, PoolFacts
from voxfleet_api.run_record import LaneReadings


@dataclass(frozen=True, slots=True)
class AgentReading:
    """The state of the agent at a scrape."""

    attempts: Sequence[JournaledAttempt]
    pools: Sequence[PoolFacts]
    lanes: Mapping[str, LaneReadings]
    scratch_reserved_bytes: int
    scratch_quota_bytes: int
    quarantine_bytes: int
    quarantined_clips: int
    ready: bool


class AgentMetrics(Collector):
    """Reads everything at the scrape, so that no value is kept twice."""

    def __init__(self, read: Callable[[], AgentReading]) -> None:
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> tuple[bytes, str]:
        """Returns (text, media type)."""
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
            failed.add_metric([str(failure_class)], count)
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
            *_lane_metrics(reading.lanes),
            GaugeMetricFamily(
                "voxfleet_agent_scratch_reserved_bytes", "Scratch in use.", value=reading.scratch_reserved_bytes
            ),
            GaugeMetricFamily(
                "voxfleet_agent_scratch_quota_bytes", "Scratch allowed.", value=reading.scratch_quota_bytes
            ),
            GaugeMetricFamily(
                "voxfleet_agent_quarantine_bytes",
                "Retained for contracts' retainFor; never part of scratch.",
                value=reading.quarantine_bytes,
            ),
            GaugeMetricFamily(
                "voxfleet_agent_quarantined_clips", "Clips that are retained.", value=reading.quarantined_clips
            ),
            GaugeMetricFamily("voxfleet_agent_ready", "1 when attempts are admitted.", value=float(reading.ready)),
        )


def _lane_metrics(lanes: Mapping[str, LaneReadings]) -> Iterable[Metric]:
    """Counters restart from zero with each attempt, which Prometheus handles."""
    gauges = {
        "ring_bytes": "Size of the ring of decoded audio.",
        "ring_high_water_bytes": "Most of the ring that was filled.",
        "peak_rss_bytes": "Most memory of the lane's process.",
        "metal_peak_bytes": "Most GPU memory of the lane's process, where there is Metal.",
        "batch_size": "Clips of one batch.",
    }
    for field, text in gauges.items():
        gauge = GaugeMetricFamily(f"voxfleet_agent_lane_{field}", f"{text} Of the latest attempt.", labels=["lane"])
        for name, readings in lanes.items():
            value = getattr(readings, field)
            if value is not None:
                gauge.add_metric([name], value)
        yield gauge
    underruns = CounterMetricFamily(
        "voxfleet_agent_lane_ring_underruns", "Times that the model waited for decoded audio.", labels=["lane"]
    )
    resets = CounterMetricFamily(
        "voxfleet_agent_lane_ring_resets", "Times that decoded audio was dropped.", labels=["lane", "cause"]
    )
    restarts = CounterMetricFamily(
        "voxfleet_agent_lane_restarts", "Times that the lane's process was replaced.", labels=["lane", "cause"]
    )
    for name, readings in lanes.items():
        underruns.add_metric([name], readings.ring_underruns)
        for family, counts in ((resets, readings.ring_resets), (restarts, readings.restarts)):
            for cause, count in counts.items():
                family.add_metric([name, cause], count)
    yield from (underruns, resets, restarts)
