"""The batch size that this Mac's ladder chose for a model and contract; measured now when the contract asks for it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from voxfleet_agent.lanes.lane_types import ClipTask, Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.process.prefetch import ClipSource
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.rows import ManifestRow

MAX_MEASURED_BYTES = 512 * 2**20
"""Total size of the clips that one measurement fetches."""


def halved(batch_size: int, times: int) -> int:
    """At least one clip, whatever number is sent. Pure."""
    return max(1, batch_size >> min(times, batch_size.bit_length()))


async def find_or_measure_ladder(
    ctx: StageContext,
    lane: Lane,
    model: ResolvedModel,
    lane_spec: LaneSpec,
    clip_source: ClipSource,
    clips: Mapping[int, ManifestRow],
    lengths: Mapping[int, int],
) -> LadderTable | None:
    """The stored ladder table, or one measured now on the longest clips of `lengths` (milliseconds by index).

    A model that works on one clip at a time has a table without tiers, and no clip is fetched for it. None: the lane
    keeps its own batch size. Raises VoxFleetError.

    Clips are fetched only once the model is loaded and batches, so that it is loaded once for the smallest tier.
    """
    table = ctx.ladders.stored(model, ctx.spec.contract_digest)
    ladder = ctx.spec.contract.batching.ladder
    # Texts are synthesized one at a time, so there is no batch to measure.
    if table is not None or ladder is None or lane_spec.task is not Task.TRANSCRIBE:
        return table
    tasks: list[ClipTask] = []

    async def fetch_longest() -> Sequence[ClipTask]:
        longest = heapq.nlargest(ladder.to, lengths, key=lambda index: (lengths[index], -index))
        await _fetch_longest(ctx, clip_source, [clips[index] for index in longest], tasks)
        return tasks

    try:
        return await ctx.ladders.table(lane, model, lane_spec, fetch_longest)
    finally:
        for task in tasks:
            await ctx.scratch.release(task.path)


async def _fetch_longest(
    ctx: StageContext, clip_source: ClipSource, clips: Sequence[ManifestRow], tasks: list[ClipTask]
) -> None:
    """Fetches as many clips as fit into scratch at this moment; only the first one waits for space.

    A clip that cannot be fetched is left out here; its row gives the reason when the pipeline comes to it.
    """
    remaining_bytes = MAX_MEASURED_BYTES
    for clip in clips:
        name, size_bytes = clip_source.reservation(clip)
        remaining_bytes -= size_bytes
        if tasks and remaining_bytes < 0:
            return
        try:
            path = await ctx.scratch.reserve(name, size_bytes, wait=not tasks)
        except VoxFleetError as error:
            if tasks and error.failure_class is FailureClass.SCRATCH_EXHAUSTED:
                return
            raise
        tasks.append(ClipTask(clip.index, path, None, clip.audio_milliseconds))
        prepared = await clip_source.prepare(clip, path)
        if prepared.error is not None:
            tasks.pop()
            await ctx.scratch.release(path)
