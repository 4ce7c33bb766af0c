"""What /metrics of the agent reads at a scrape. No label names a job, a shard or a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from voxfleet_agent import metric_list
from voxfleet_agent.clip_metrics import ClipMetrics
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.ladder.pace_watch import LanePaceReading
from voxfleet_api.endpoint_lanes import LaneState
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.protocol import AttemptState
from voxfleet_api.run_record import LaneReadings
from voxfleet_shared.metric_specs import MetricSpec


@dataclass(frozen=True, slots=True)
class YieldReading:
    """How lanes for batches gave way since the agent started."""

    paused: Mapping[str, bool] = field(default_factory=dict)
    paused_seconds: Mapping[str, float] = field(default_factory=dict)
    long_steps: Mapping[str, int] = field(default_factory=dict)
    """By lane, as the two above."""
    evictions: Mapping[str, int] = field(default_factory=dict)
    """By cause."""


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
    endpoint_lanes: Mapping[LaneState, int] = field(default_factory=dict)
    open_sessions: int = 0
    paces: Mapping[str, LanePaceReading] = field(default_factory=dict)
    """Of the lanes that have worked."""
    yields: YieldReading = field(default_factory=YieldReading)


class AgentMetrics(Collector):
    """Reads all but `clips` at the scrape, so that no value is kept twice."""

    def __init__(self, read: Callable[[], AgentReading], clips: ClipMetrics) -> None:
        self._read = read
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, which says when it began
        self.registry = CollectorRegistry()
        self.registry.register(self)
        clips.register(self.registry)

    def render(self) -> tuple[bytes, str]:
        """Returns (text, media type)."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        reading = self._read()
        states = Counter(record.state for record in reading.attempts)
        attempts = metric_list.ATTEMPTS.gauge_family()
        for state in AttemptState:
            attempts.add_metric([state.value], states[state])
        yield attempts
        failures = Counter(record.failure.failure_class for record in reading.attempts if record.failure is not None)
        failed = metric_list.FAILED_ATTEMPTS.gauge_family()
        for failure_class, count in failures.items():
            failed.add_metric([str(failure_class)], count)
        yield failed
        lanes, free = metric_list.LANES.gauge_family(), metric_list.FREE_LANES.gauge_family()
        for pool in reading.pools:
            lanes.add_metric([pool.name, pool.kind], pool.lanes)
            free.add_metric([pool.name, pool.kind], pool.free_lanes)
        yield from (lanes, free)
        yield from _lane_metrics(reading.lanes)
        endpoint_lanes = metric_list.ENDPOINT_LANES.gauge_family()
        for lane_state in LaneState:
            endpoint_lanes.add_metric([lane_state.value], reading.endpoint_lanes.get(lane_state, 0))
        yield endpoint_lanes
        yield from _pace_metrics(reading.paces)
        yield from _yield_metrics(reading.yields)
        for spec, value in (
            (metric_list.OPEN_SESSIONS, reading.open_sessions),
            (metric_list.SCRATCH_RESERVED, reading.scratch_reserved_bytes),
            (metric_list.SCRATCH_QUOTA, reading.scratch_quota_bytes),
            (metric_list.QUARANTINE_BYTES, reading.quarantine_bytes),
            (metric_list.QUARANTINED_CLIPS, reading.quarantined_clips),
            (metric_list.READY, reading.ready),
        ):
            family = spec.gauge_family()
            family.add_metric([], float(value))
            yield family


def _lane_metrics(lanes: Mapping[str, LaneReadings]) -> Iterable[Metric]:
    """Counters restart from zero with each attempt, which Prometheus handles."""
    gauges: tuple[tuple[MetricSpec, Callable[[LaneReadings], int | None]], ...] = (
        (metric_list.LANE_RING_BYTES, lambda readings: readings.ring_bytes),
        (metric_list.LANE_RING_HIGH_WATER, lambda readings: readings.ring_high_water_bytes),
        (metric_list.LANE_PEAK_RSS, lambda readings: readings.peak_rss_bytes),
        (metric_list.LANE_METAL_PEAK, lambda readings: readings.metal_peak_bytes),
        (metric_list.LANE_BATCH_SIZE, lambda readings: readings.batch_size),
    )
    for spec, value_of in gauges:
        gauge = spec.gauge_family()
        for name, readings in lanes.items():
            value = value_of(readings)
            if value is not None:
                gauge.add_metric([name], value)
        yield gauge
    underruns = metric_list.LANE_UNDERRUNS.counter_family()
    causes = metric_list.LANE_UNDERRUN_CAUSES.counter_family()
    resets, restarts = metric_list.LANE_RESETS.counter_family(), metric_list.LANE_RESTARTS.counter_family()
    for name, readings in lanes.items():
        underruns.add_metric([name], readings.ring_underruns)
        for family, counts in (
            (causes, readings.ring_underruns_by_cause or {}),
            (resets, readings.ring_resets),
            (restarts, readings.restarts),
        ):
            for cause, count in counts.items():
                family.add_metric([name, cause], count)
    yield from (underruns, causes, resets, restarts)


def _pace_metrics(paces: Mapping[str, LanePaceReading]) -> Iterable[Metric]:
    slowdown, contended = metric_list.LANE_SLOWDOWN.gauge_family(), metric_list.LANE_CONTENDED.gauge_family()
    for name, pace in paces.items():
        if pace.slowdown is not None:
            slowdown.add_metric([name], pace.slowdown)
        contended.add_metric([name], pace.contended)
    yield from (slowdown, contended)


def _yield_metrics(reading: YieldReading) -> Iterable[Metric]:
    for family, values in (
        (metric_list.LANE_PAUSED.gauge_family(), reading.paused),
        (metric_list.LANE_PAUSED_SECONDS.counter_family(), reading.paused_seconds),
        (metric_list.LANE_LONG_STEPS.counter_family(), reading.long_steps),
        (metric_list.EVICTIONS.counter_family(), reading.evictions),
    ):
        for label, value in values.items():
            family.add_metric([label], value)
        yield family
