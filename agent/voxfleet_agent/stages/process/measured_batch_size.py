"""How many clips go into a batch: the Mac's measured table for this model and contract, if there is one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from voxfleet_agent.lanes.lane_types import ClipTask, Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.context import StageContext
from voxfleet_agent.stages.process.prefetch import ClipSource
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.results import LadderTable, ManifestRow

LONGEST_BYTES = 512 * 2**20
"""Of the clips that a measurement fetches."""


async def batch_table(
    ctx: StageContext,
    lane: Lane,
    model: ResolvedModel,
    order: LaneSpec,
    intake: ClipSource,
    clips: Mapping[int, ManifestRow],
    lengths: Mapping[int, int],
) -> LadderTable | None:
    """The stored table, or one measured now on the longest of the clips in `lengths` (milliseconds by index).

    None: the lane's own batch size counts. Raises VoxFleetError.
    """
    table = ctx.ladders.stored(model, ctx.spec.contract_digest)
    ladder = ctx.spec.contract.batching.ladder
    # Texts are spoken one at a time: there is no batch to measure.
    if table is not None or ladder is None or order.task is not Task.TRANSCRIBE:
        return table
    longest = heapq.nlargest(ladder.to, lengths, key=lambda index: (lengths[index], -index))
    tasks: list[ClipTask] = []
    try:
        await _fetch(ctx, intake, [clips[index] for index in longest], tasks)
        return await ctx.ladders.table(lane, model, order, tasks) if tasks else None
    finally:
        for task in tasks:
            await ctx.scratch.release(task.path)


async def _fetch(ctx: StageContext, intake: ClipSource, clips: Sequence[ManifestRow], tasks: list[ClipTask]) -> None:
    """As many as fit at this moment: a measurement waits for nobody's scratch but for its first clip's.

    A clip that cannot be had is left out; its row tells why when its turn comes.
    """
    left_bytes = LONGEST_BYTES
    for clip in clips:
        name, size_bytes = intake.reservation(clip)
        left_bytes -= size_bytes
        if tasks and left_bytes < 0:
            return
        try:
            path = await ctx.scratch.reserve(name, size_bytes, wait=not tasks)
        except VoxFleetError as error:
            if tasks and error.failure_class is FailureClass.SCRATCH_EXHAUSTED:
                return
            raise
        tasks.append(ClipTask(clip.index, path, None, clip.audio_milliseconds))
        prepared = await intake.prepare(clip, path)
        if prepared.error is not None:
            tasks.pop()
            await ctx.scratch.release(path)
