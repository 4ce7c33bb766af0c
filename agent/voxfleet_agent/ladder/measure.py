"""Measures batch sizes on a lane in ascending order, each in a fresh child."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from voxfleet_agent.ladder import knees
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ladder_table import LadderTier
from voxfleet_shared.percentile import percentile

MIN_ROUNDS = 5
MIN_CLIPS = 16
"""The fewest clips in all rounds of a tier together, so that even the smallest tiers use every clip."""
OVER_THE_CAP = frozenset(
    {FailureClass.MEMORY_EXCEEDED, FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT}
)

LongestClips = Callable[[], Awaitable[Sequence[ClipTask]]]
"""Fetches clips of the job, the longest first, as many as the largest tier needs; none when none can be fetched."""


@dataclass(frozen=True, slots=True)
class MeasuredLadder:
    """The measured tiers, smallest batch size first; empty when no clip could be measured, or there is no choice."""

    tiers: tuple[LadderTier, ...]
    loaded_model: LoadedModel


@dataclass(frozen=True, slots=True)
class MeasuredBatch:
    tasks: tuple[ClipTask, ...]
    counted: bool


async def measure_ladder(
    lane: Lane,
    model: ResolvedModel,
    spec: LaneSpec,
    longest: LongestClips,
    sizes: Sequence[int],
    memory_cap_bytes: int,
) -> MeasuredLadder:
    """Measures `sizes`, ascending, up to the first that exceeds the cap or makes the lane step down.

    Measures nothing of a model that works on one clip at a time, which stays loaded. If even the first size makes it
    step down, measures only size 1. The first batch of each child counts for memory but not for time. Drops a clip that
    fails and measures the tier again. Raises VoxFleetError for a failure at the smallest batch size that no single clip
    caused. Leaves the lane without a model and with its original batch size.
    """
    measurement = _LadderMeasurement(lane, model, spec)
    loaded_model = await measurement.fresh_child()
    if not loaded_model.batches:
        return MeasuredLadder((), loaded_model)
    original_batch_size = lane.batch_size
    tiers: list[LadderTier] = []
    try:
        measurement.clips = tuple(await longest())
        for size in sizes:
            tier = await measurement.tier(size, first=not tiers)
            if tier is None:
                break
            tiers.append(tier)
            if knees.memory_bytes(tier) > memory_cap_bytes:
                break
        if not tiers and sizes[0] > 1:
            single = await measurement.tier(1, first=True)
            tiers += [] if single is None else [single]
        return MeasuredLadder(tuple(tiers), loaded_model)
    finally:
        await lane.unload()
        lane.batch_size = original_batch_size


def rounds_of(size: int) -> int:
    """How many batches of this size a tier counts."""
    return max(MIN_ROUNDS, -(-MIN_CLIPS // size))


def plan_batches(clips: Sequence[ClipTask], size: int) -> tuple[MeasuredBatch, ...]:
    """Batches of clips of similar length, longest first, that use every clip about equally often.

    Each use of a clip has its own index.
    """
    rounds = rounds_of(size)
    starts = [0, *(number * size for number in range(rounds))]
    return tuple(
        MeasuredBatch(
            tuple(
                replace(clips[(start + offset) % len(clips)], index=number * size + offset) for offset in range(size)
            ),
            counted=number > 0,
        )
        for number, start in enumerate(starts)
    )


class _LadderMeasurement:
    def __init__(self, lane: Lane, model: ResolvedModel, spec: LaneSpec) -> None:
        self._lane = lane
        self._model = model
        self._spec = spec
        self.clips: tuple[ClipTask, ...] = ()
        self._fresh = False

    async def fresh_child(self) -> LoadedModel:
        await self._lane.unload()
        loaded_model = await self._lane.load(self._model, self._spec)
        self._fresh = True
        return loaded_model

    async def tier(self, size: int, *, first: bool) -> LadderTier | None:
        """Measures one tier; None when it does not fit or no clip remains. `first`: no smaller tier was measured."""
        while self.clips:
            if not self._fresh:
                await self.fresh_child()
            self._fresh = False
            batches = plan_batches(self.clips, size)
            try:
                verdicts = await self._verdicts(batches, size)
            except VoxFleetError as error:
                if error.failure_class in OVER_THE_CAP and (size > 1 or not first):
                    return None
                raise
            if verdicts is None:
                return None
            failed = {
                task.path for batch in batches for task in batch.tasks if verdicts[task.index].failure_class is not None
            }
            if not failed:
                return _tier(self._lane, batches, verdicts, size)
            self.clips = tuple(clip for clip in self.clips if clip.path not in failed)
        return None

    async def _verdicts(self, batches: Sequence[MeasuredBatch], size: int) -> dict[int, ClipVerdict] | None:
        """The verdicts by index; None when the lane stepped down."""
        lane = self._lane
        lane.batch_size = size

        async def feed() -> AsyncIterator[Sequence[ClipTask]]:
            for batch in batches:
                yield batch.tasks

        verdicts: dict[int, ClipVerdict] = {}
        async with aclosing(lane.work(feed())) as results:
            async for verdict in results:
                verdicts[verdict.index] = verdict
                if lane.batch_size < size or (size > 1 and verdict.failure_class in OVER_THE_CAP):
                    return None
        return verdicts


def _tier(lane: Lane, batches: Sequence[MeasuredBatch], verdicts: dict[int, ClipVerdict], size: int) -> LadderTier:
    tasks = [task for batch in batches if batch.counted for task in batch.tasks]
    counted = [verdicts[task.index] for task in tasks]
    clip_times = sorted(verdict.infer_milliseconds for verdict in counted)
    readings = lane.readings()
    return LadderTier(
        batch_size=size,
        peak_rss_bytes=readings.peak_rss_bytes,
        metal_peak_bytes=readings.metal_peak_bytes,
        audio_milliseconds=sum(verdict.audio_milliseconds for verdict in counted),
        infer_milliseconds=_typical_milliseconds(batches, verdicts),
        clip_p50_milliseconds=percentile(clip_times, 50),
        clip_p95_milliseconds=percentile(clip_times, 95),
        scratch_bytes=sum(task.path.stat().st_size for task in tasks),
    )


def _typical_milliseconds(batches: Sequence[MeasuredBatch], verdicts: Mapping[int, ClipVerdict]) -> int:
    """Inference of all batches, each counted as the median one: what else the Mac does for a moment must not decide
    between two tiers."""
    # Each verdict has the time of its whole batch, or of the part of it that went through the model together.
    times = [
        sum(verdicts[task.index].infer_milliseconds / verdicts[task.index].batch_size for task in batch.tasks)
        for batch in batches
        if batch.counted
    ]
    return round(statistics.median(times) * len(times))
