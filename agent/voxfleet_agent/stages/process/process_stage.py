"""The Process stage: works on a shard's clips and delivers them in parts and one commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from voxfleet_agent.lanes.lane_types import Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.context import StageContext
from voxfleet_agent.stages.frozen_plan import ManifestLines, nonce_name, read_plan
from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch
from voxfleet_agent.stages.outage import OutageDetector
from voxfleet_agent.stages.process.batching import sort_into_buckets
from voxfleet_agent.stages.process.inherited_parts import DeliveredParts, collect_inherited_parts, parse_part, read_part
from voxfleet_agent.stages.process.measured_batch_size import batch_table
from voxfleet_agent.stages.process.part_uploader import PartUploader
from voxfleet_agent.stages.process.pipeline import Pipeline
from voxfleet_agent.stages.process.prefetch import ClipSource, FetchedClips, ReservedOutputs
from voxfleet_agent.stages.process.row_recorder import RowRecorder
from voxfleet_agent.stages.process.run_record_file import deliver_run, delivered_run, run_record
from voxfleet_agent.stages.process.shard_clips import read_clips, remaining_clips, require_shared_input, shard_indexes
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.synthesis_files import fetch_reference
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import ProcessSpec, ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import AttemptBase, Commit, FileRef, LadderTable, ManifestRow, attempt_folder
from voxfleet_process import crash_points


async def run_process(ctx: StageContext) -> ShardResult:
    """Starts, or resumes wherever an earlier run of this very attempt stopped. Raises VoxFleetError."""
    order, lane = ctx.spec.process, ctx.lane
    if order is None or lane is None:
        raise ValueError("a Process attempt needs a process order and a lane")
    files = JobFiles(ctx.storage, ctx.spec.output_folder, Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry))
    plan = await read_plan(files, order.plan_attempt, order.manifest_sha256)
    clips = await read_clips(files, shard_indexes(plan, order, ctx.spec.contract_digest), order)
    model = await _resolve_model(ctx, order, files.retrier)
    await require_shared_input(ctx.storage, files.retrier, clips)

    delivered = await _freeze_base(ctx, files, clips)
    parts = PartUploader(files, ctx.journal, _folder(ctx))
    await parts.resume()
    done = delivered.indexes | await ctx.journal.recorded_indexes()
    run, own_batch_size = _ShardRun(ctx, lane, model, files, parts), lane.batch_size
    try:
        await run.work(clips, done)
        await parts.deliver()
        return await _commit(ctx, files, clips, delivered, run)
    finally:
        lane.batch_size = own_batch_size  # a table's, or what memory left of it, was for this job


@dataclass
class _ShardRun:
    """The lane's part of one run, and what it leaves to tell."""

    ctx: StageContext
    lane: Lane
    model: ResolvedModel
    files: JobFiles
    parts: PartUploader
    order: LaneSpec | None = None
    facts: LoadedModel | None = None
    table: LadderTable | None = None
    retries: Counter[FailureClass] = field(default_factory=Counter)

    async def work(self, clips: ManifestLines, done: Set[int]) -> None:
        finished = len(done)
        self.ctx.progress(finished, len(clips))

        def recorded() -> None:
            nonlocal finished
            finished += 1
            self.ctx.progress(finished, len(clips))

        todo = await asyncio.to_thread(remaining_clips, clips, done)
        if not todo.refused and not todo.lengths:
            return
        order, intake = await self._order(), self._intake(clips)
        if todo.lengths:
            self.table = await batch_table(self.ctx, self.lane, self.model, order, intake, clips, todo.lengths)
        recorder = RowRecorder(self.ctx, self.files, self.parts, recorded)
        pipeline = Pipeline(self.ctx, self.lane, intake, recorder, self.parts, self.files, self.retries)
        batch_size = None if self.table is None else self.table.chosen
        buckets = sort_into_buckets(todo.lengths.items())
        try:
            self.facts = await pipeline.run(clips, todo.refused, buckets, self.model, order, batch_size)
        finally:
            await self._remember_step_down()

    async def _remember_step_down(self) -> None:
        """So that the next attempt does not meet the same trouble with the table's batch size."""
        fell = self.lane.stepped_down
        if self.table is not None and fell is not None:
            await self.ctx.ladders.step_down(self.model, self.ctx.spec.contract_digest, fell.batch_size, fell.reason)

    async def deliver_record(self) -> FileRef:
        """run.json, written once for this attempt."""
        name = f"{_folder(self.ctx)}/run.json"
        ref = await delivered_run(self.files, name)
        if ref is None:
            # After a crash between the last row and the commit nothing was left to do, so nothing loaded the model.
            facts = self.facts or await self.lane.load(self.model, await self._order())
            retries = self.retries + self.files.retrier.counts
            record = run_record(self.ctx, self.lane, self.model, facts, self.table, retries)
            ref = await deliver_run(self.files, name, record)
        crash_points.point("run-uploaded")
        return ref

    async def _order(self) -> LaneSpec:
        if self.order is None:
            spec = self.ctx.spec
            reference = await fetch_reference(self.ctx, self.files.retrier)
            self.order = LaneSpec(spec.task, spec.contract, spec.transcription, spec.synthesis, reference)
        return self.order

    def _intake(self, clips: ManifestLines) -> ClipSource:
        order = self.ctx.spec.process
        if self.ctx.spec.task is Task.SYNTHESIZE or order is None:
            return ReservedOutputs(self.ctx)
        output_uri = self.files.uri(nonce_name(order.plan_attempt))
        witnesses = OutageDetector(self.ctx.storage, self.files.retrier, output_uri)
        return FetchedClips(self.ctx, clips, witnesses, self.retries)


async def _resolve_model(ctx: StageContext, order: ProcessSpec, retrier: Retrier) -> ResolvedModel:
    model = await retrier(lambda: ctx.models.resolve(order.model, ctx.storage))
    if model.digest != order.model_digest:
        raise VoxFleetError(
            FailureClass.MODEL_MISMATCH,
            f"the model on this Mac has {model.digest}, the plan froze {order.model_digest}; install the same files",
        )
    return model


def _folder(ctx: StageContext) -> str:
    return attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)


async def _freeze_base(ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow]) -> DeliveredParts:
    """What is inherited, decided once: the journal's base, if it has one, without another look at the storage."""
    content = await ctx.journal.base()
    if content is None:
        delivered = await collect_inherited_parts(files, ctx.spec, clips)
        base = AttemptBase(shard_uid=ctx.spec.shard_uid, attempt=ctx.spec.attempt, parts=tuple(delivered.refs))
        content = canonical_json(base.dump())
        await ctx.journal.freeze_base(content)
    else:
        delivered = DeliveredParts()
        for ref in AttemptBase.model_validate_json(content).parts:
            delivered.add(await read_part(files, ref.path, ref.sha256))
    await files.write_once(f"{_folder(ctx)}/base.json", content)
    return delivered


async def _commit(
    ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow], delivered: DeliveredParts, run: _ShardRun
) -> ShardResult:
    """`delivered` holds what was inherited; the attempt's own parts are added to it."""
    inferred = False
    for part in await ctx.journal.parts():
        content = await ctx.journal.part_content(part.number)
        own = await asyncio.to_thread(parse_part, part.ref.path, part.ref.sha256, content)
        delivered.add(own)
        inferred = inferred or any(row.batch_size is not None for row in own.rows)
    if delivered.indexes != set(clips):
        raise plan_mismatch("the attempt's parts do not hold one row for each of its clips")
    commit = Commit(
        shard_uid=ctx.spec.shard_uid,
        attempt=ctx.spec.attempt,
        indexes=encode(clips),
        parts=tuple(delivered.refs),
        counts=delivered.tally.counts,
        run=await run.deliver_record() if inferred else None,
    )
    content = canonical_json(commit.dump())
    await files.write_once(f"{_folder(ctx)}/commit.json", content)
    crash_points.point("commit-uploaded")
    return ShardResult(
        commit_sha256=sha256_hex(content),
        counts=commit.counts,
        quarantine=delivered.tally.first_quarantined,
    )
