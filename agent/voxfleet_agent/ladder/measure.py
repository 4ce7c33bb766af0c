"""Measures batch sizes on a lane, each in a fresh child after the one below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from voxfleet_agent.ladder import knees
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import LadderTier

LEAST_ROUNDS = 5
LEAST_CLIPS = 16
"""Of all rounds of a tier, so that the smallest tiers meet every clip too."""
OVER_THE_CAP = frozenset(
    {FailureClass.MEMORY_EXCEEDED, FailureClass.GPU_ABORT_OUT_OF_MEMORY, FailureClass.GPU_ABORT_TIMEOUT}
)


@dataclass(frozen=True, slots=True)
class MeasuredLadder:
    """What was measured, smallest batch size first; `tiers` is empty when no clip could be worked on."""

    tiers: tuple[LadderTier, ...]
    facts: LoadedModel


@dataclass(frozen=True, slots=True)
class MeasuredBatch:
    tasks: tuple[ClipTask, ...]
    counted: bool


async def measure_ladder(
    lane: Lane,
    model: ResolvedModel,
    order: LaneSpec,
    longest: Sequence[ClipTask],
    sizes: Sequence[int],
    memory_cap_bytes: int,
) -> MeasuredLadder:
    """Measures `sizes`, ascending, up to the first that exceeds the cap or makes the lane step down.

    When the very first makes it step down, and for a model that does not batch, 1 is measured alone. The first batch of
    each child counts for memory and not for time. A clip that fails is left out and the tier measured again. Raises
    VoxFleetError for what any clip would meet at the smallest batch size. The lane is left without a model and with
    the batch size that it came with.
    """
    before = lane.batch_size
    climber = _LadderMeasurement(lane, model, order, tuple(longest))
    tiers: list[LadderTier] = []
    try:
        facts = await climber.fresh_child()
        for size in sizes if facts.batches else (1,):
            tier = await climber.tier(size, first=not tiers)
            if tier is None:
                break
            tiers.append(tier)
            if knees.memory_bytes(tier) > memory_cap_bytes:
                break
        if not tiers and facts.batches and sizes[0] > 1:
            alone = await climber.tier(1, first=True)
            tiers += [] if alone is None else [alone]
        return MeasuredLadder(tuple(tiers), facts)
    finally:
        await lane.unload()
        lane.batch_size = before


def plan_batches(clips: Sequence[ClipTask], size: int) -> tuple[MeasuredBatch, ...]:
    """Batches of neighbours in the order of length, every clip about as often as any other; the longest come first.

    Each use of a clip has an index of its own.
    """
    rounds = max(LEAST_ROUNDS, -(-LEAST_CLIPS // size))
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
    def __init__(self, lane: Lane, model: ResolvedModel, order: LaneSpec, clips: tuple[ClipTask, ...]) -> None:
        self._lane = lane
        self._model = model
        self._order = order
        self._clips = clips
        self._fresh = False

    async def fresh_child(self) -> LoadedModel:
        await self._lane.unload()
        facts = await self._lane.load(self._model, self._order)
        self._fresh = True
        return facts

    async def tier(self, size: int, *, first: bool) -> LadderTier | None:
        """One tier; None when it does not fit, or when no clip is left. `first`: no tier stands below it."""
        while self._clips:
            if not self._fresh:
                await self.fresh_child()
            self._fresh = False
            batches = plan_batches(self._clips, size)
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
            self._clips = tuple(clip for clip in self._clips if clip.path not in failed)
        return None

    async def _verdicts(self, batches: Sequence[MeasuredBatch], size: int) -> dict[int, ClipVerdict] | None:
        """By index; None once the lane has stepped down."""
        lane = self._lane
        lane.batch_size = size

        async def fed() -> AsyncIterator[Sequence[ClipTask]]:
            for batch in batches:
                yield batch.tasks

        verdicts: dict[int, ClipVerdict] = {}
        async with aclosing(lane.work(fed())) as working:
            async for verdict in working:
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
        # Each verdict carries its whole batch's time.
        infer_milliseconds=round(sum(verdict.infer_milliseconds / verdict.batch_size for verdict in counted)),
        clip_p50_milliseconds=percentile(clip_times, 50),
        clip_p95_milliseconds=percentile(clip_times, 95),
        scratch_bytes=sum(task.path.stat().st_size for task in tasks),
    )


def percentile(ascending: Sequence[int], percent: int) -> int:
    """The smallest value that at least `percent` of the values do not exceed."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]
