"""How fast each lane works beside its ladder: gathers samples of its clips, and keeps its verdict up to date."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from voxfleet_agent.ladder.contention import (
    MAX_SAMPLES,
    Finding,
    LaneVerdict,
    PaceSample,
    judge,
    pace_sample,
    slowdown,
    still,
)
from voxfleet_agent.lanes.lane_types import ClipVerdict
from voxfleet_agent.thermal_pressure import under_thermal_pressure
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.machine_messages import LaneContention

ROUNDING_PERCENT = 50
"""What is told of a slowdown is rounded to this, so that nobody reads more into it than it holds."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LanePaceReading:
    slowdown: float | None
    """Over the last minutes; None: too few clips to tell."""
    contended: bool


class LanePace:
    """Implements stages.stage_context.LanePace."""

    def __init__(self, name: str, watch: PaceWatch) -> None:
        self._name = name
        self._watch = watch
        self._table: LadderTable | None = None
        self._measured: tuple[str, str] | None = None
        """The digests of model and contract that the samples are of."""
        self._samples: deque[PaceSample] = deque(maxlen=MAX_SAMPLES)
        self._verdict = LaneVerdict()
        self._in_flight = 0
        """Clips that the lane has and that have no verdict yet."""

    @contextmanager
    def working(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._in_flight = 0
            self._watch.at_work.discard(self._name)
            self._table = None

    @property
    def table(self) -> LadderTable | None:
        """The ladder of what the lane works on."""
        return self._table

    def clips_sent(self, count: int) -> None:
        self._in_flight += count
        self._watch.at_work.add(self._name)

    def compare_with(self, table: LadderTable | None) -> None:
        self._table = table
        measured = None if table is None else (table.model_digest, table.contract_digest)
        if measured != self._measured:
            self._samples.clear()
            self._measured = measured

    def clip_done(self, verdict: ClipVerdict) -> None:
        self._take_sample(verdict)
        self._in_flight = max(0, self._in_flight - 1)
        if not self._in_flight:
            self._watch.at_work.discard(self._name)

    def _take_sample(self, verdict: ClipVerdict) -> None:
        if self._table is None or verdict.failure_class is not None or verdict.retried_for:
            return
        sample = pace_sample(
            self._table,
            audio_milliseconds=verdict.audio_milliseconds,
            infer_milliseconds=verdict.infer_milliseconds,
            batch_size=verdict.batch_size,
            lanes_at_work=len(self._watch.at_work),
            now_seconds=self._watch.now_seconds(),
        )
        if sample is not None and not self._watch.hot() and not self._watch.serves_sessions():
            self._samples.append(sample)
            self._turn(judge(self.verdict(), self.slowdown(), sample.at_seconds))

    def slowdown(self) -> float | None:
        return slowdown(self._samples, self._watch.now_seconds())

    def verdict(self) -> LaneVerdict:
        """As of now. Who only asks turns no verdict: the samples would be the same ones again."""
        self._turn(still(self._verdict, self._watch.now_seconds()))
        return self._verdict

    def _turn(self, verdict: LaneVerdict) -> None:
        if verdict.finding is not self._verdict.finding:
            slower = round(verdict.slowdown, 2)
            _log.info("pace of a lane", lane=self._name, finding=verdict.finding.value, times_slower=slower)
        self._verdict = verdict


class PaceWatch:
    """The pace of every lane of this agent. What it keeps of a lane is bounded, and lost with the process."""

    def __init__(
        self,
        now_seconds: Callable[[], float] = time.monotonic,
        hot: Callable[[], bool] = under_thermal_pressure,
        serves_sessions: Callable[[], bool] = lambda: False,
    ) -> None:
        """`hot`: whether the system slows the Mac down for its heat. `serves_sessions`: whether a session is open on a
        lane of this agent, which uses the GPU, too. Clips say nothing of co-tenants meanwhile."""
        self.now_seconds = now_seconds
        self.hot = hot
        self.serves_sessions = serves_sessions
        self.at_work: set[str] = set()
        """The lanes that have clips in flight now. They share the GPU, so that each slows the others down."""
        self._lanes: dict[str, LanePace] = {}

    def of(self, lane: str) -> LanePace:
        return self._lanes.setdefault(lane, LanePace(lane, self))

    def readings(self) -> Mapping[str, LanePaceReading]:
        return {
            name: LanePaceReading(lane.slowdown(), lane.verdict().finding is Finding.CONTENDED)
            for name, lane in sorted(self._lanes.items())
        }

    def contended_lanes(self) -> tuple[LaneContention, ...]:
        """Nothing in it moves until a verdict turns."""
        return tuple(
            LaneContention(lane=name, slowdown_percent=_rounded_percent(verdict.slowdown))
            for name, verdict in ((name, lane.verdict()) for name, lane in sorted(self._lanes.items()))
            if verdict.finding is Finding.CONTENDED
        )


def _rounded_percent(times: float) -> int:
    return round(times * 100 / ROUNDING_PERCENT) * ROUNDING_PERCENT
