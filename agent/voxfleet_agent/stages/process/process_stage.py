"""The Process stage: turns a shard's clips into rows, uploads the rows in parts, and commits them once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from voxfleet_agent.lanes.lane_types import Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.frozen_plan import ManifestSlice, nonce_name, read_plan
from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch
from voxfleet_agent.stages.outage import OutageDetector
from voxfleet_agent.stages.process.batching import sort_into_buckets
from voxfleet_agent.stages.process.called_back import unless_called_back
from voxfleet_agent.stages.process.inherited_parts import DeliveredParts, collect_inherited_parts, parse_part, read_part
from voxfleet_agent.stages.process.measured_batch_size import find_or_measure_ladder, halved
from voxfleet_agent.stages.process.part_uploader import PartUploader
from voxfleet_agent.stages.process.pipeline import Pipeline
from voxfleet_agent.stages.process.prefetch import ClipSource, FetchedClips, ReservedOutputs
from voxfleet_agent.stages.process.row_recorder import RowRecorder
from voxfleet_agent.stages.process.run_record_file import find_run_record, make_run_record, upload_run_record
from voxfleet_agent.stages.process.shard_clips import read_clips, remaining_clips, require_shared_input, shard_indexes
from voxfleet_agent.stages.process.shard_progress import ShardProgressMeter
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.stages.synthesis_files import fetch_reference
from voxfleet_api.attempt_spec import ProcessSpec
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import AttemptBase, Commit, FileRef, attempt_folder
from voxfleet_api.rows import ManifestRow
from voxfleet_shared import crash_points


async def run_process(ctx: StageContext) -> ShardResult:
    """Starts the attempt, or resumes it where an earlier run of this same attempt stopped. Raises VoxFleetError."""
    process_spec, lane = ctx.spec.process, ctx.lane
    if process_spec is None or lane is None:
        raise ValueError("a Process attempt needs a process spec and a lane")
    files = JobFiles(ctx.storage, ctx.spec.output_folder, Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry))
    plan = await read_plan(files, process_spec.plan_attempt, process_spec.manifest_sha256, one_machine=ctx.one_machine)
    clips = await read_clips(files, shard_indexes(plan, process_spec, ctx.spec.contract_digest), process_spec)
    model = await _resolve_model(ctx, process_spec, files.retrier)
    await require_shared_input(ctx.storage, files.retrier, clips, one_machine=ctx.one_machine)

    parts = PartUploader(files, ctx.journal, _attempt_path(ctx))
    delivered = await _freeze_base(ctx, files, parts, process_spec, clips)
    finished = delivered.indexes | await ctx.journal.recorded_indexes()
    run, original_batch_size = _ShardRun(ctx, lane, model, files, parts), lane.batch_size
    try:
        with ctx.pace.working():
            await run.process(clips, finished)
        await parts.deliver()
        left = len(clips) - len(delivered.indexes | await ctx.journal.recorded_indexes())
        if left and run.called_back:
            await run.deliver_own_run_record()
            raise VoxFleetError(
                FailureClass.MACHINE_RETURNED,
                f"this Mac drains, closes or serves people first: {len(clips) - left} of {len(clips)} clips are"
                " delivered, the rest runs elsewhere",
            )
        await ctx.permit.check()
        return await _commit(ctx, files, clips, delivered, run)
    finally:
        # This job's batch size, from its ladder or stepped down for memory, must not reach the lane's next job.
        lane.batch_size = original_batch_size


def _attempt_path(ctx: StageContext) -> str:
    return attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)


async def _resolve_model(ctx: StageContext, process_spec: ProcessSpec, retrier: Retrier) -> ResolvedModel:
    model = await retrier(lambda: ctx.models.resolve(process_spec.model, ctx.storage))
    if model.digest != process_spec.model_digest:
        raise VoxFleetError(
            FailureClass.MODEL_MISMATCH,
            f"the model on this Mac has {model.digest}, the plan froze {process_spec.model_digest}; install the same"
            " files",
        )
    return model


async def _freeze_base(
    ctx: StageContext,
    files: JobFiles,
    parts: PartUploader,
    process_spec: ProcessSpec,
    clips: Mapping[int, ManifestRow],
) -> DeliveredParts:
    """Decides once what the attempt inherits, and uploads base.json after the rows that its parts do not hold.

    Later attempts look no further than the newest base.json and the parts beside it, so both must hold everything
    before it appears. If the journal already has a base, uses that one and does not list the storage again.
    """
    content = await ctx.journal.base()
    if content is None:
        inheritance = await collect_inherited_parts(files, ctx.spec, process_spec, clips)
        delivered = inheritance.delivered
        base = AttemptBase(
            shard_uid=ctx.spec.shard_uid,
            attempt=ctx.spec.attempt,
            plan_attempt=process_spec.plan_attempt,
            model_digest=process_spec.model_digest,
            parts=tuple(delivered.refs),
        )
        content = canonical_json(base.dump())
        await ctx.journal.freeze_base(content, inheritance.kept_rows)
    else:
        delivered = DeliveredParts()
        for ref in AttemptBase.model_validate_json(content).parts:
            delivered.add(await read_part(files, ref.path, ref.sha256))
    await parts.resume()
    await parts.deliver()
    await files.write_once(f"{_attempt_path(ctx)}/base.json", content)
    return delivered


@dataclass
class _ShardRun:
    """Runs the remaining clips on the lane, and keeps what run.json reports about it."""

    ctx: StageContext
    lane: Lane
    model: ResolvedModel
    files: JobFiles
    parts: PartUploader
    lane_spec: LaneSpec | None = None
    loaded: LoadedModel | None = None
    ladder: LadderTable | None = None
    ladder_milliseconds: int = 0
    retries: Counter[FailureClass] = field(default_factory=Counter)
    called_back: bool = False

    async def process(self, clips: ManifestSlice, finished: Set[int]) -> None:
        """`finished`: indexes of the clips that have a row already. Afterwards every clip has a durable row, unless the
        attempt was called back.
        """
        remaining = await asyncio.to_thread(remaining_clips, clips, finished)
        meter = ShardProgressMeter(self.ctx.progress, clips, len(finished), remaining.finished_milliseconds)
        if (not remaining.refused and not remaining.lengths) or self._is_called_back():
            return
        lane_spec, clip_source = await self._resolve_lane_spec(), self._clip_source(clips)
        if remaining.lengths:
            started = time.monotonic()
            self.ladder = await unless_called_back(
                self.ctx.permit,
                find_or_measure_ladder(
                    self.ctx, self.lane, self.model, lane_spec, clip_source, clips, remaining.lengths
                ),
            )
            if self.ladder is not None and not self.ladder.one_clip_at_a_time:
                self.ladder_milliseconds = round((time.monotonic() - started) * 1000)
        if self._is_called_back():
            return
        recorder = RowRecorder(self.ctx, self.files, self.parts, meter.row_recorded)
        pipeline = Pipeline(
            self.ctx, self.lane, clip_source, recorder, self.parts, self.files, self.retries, meter.heard
        )
        batch_size = None if self.ladder is None else self.ladder.chosen
        if self.ctx.batch_halvings:
            batch_size = halved(batch_size or self.lane.batch_size, self.ctx.batch_halvings)
        buckets = sort_into_buckets(remaining.lengths.items())
        self.ctx.pace.compare_with(self.ladder)
        try:
            self.loaded = await pipeline.run(clips, remaining.refused, buckets, self.model, lane_spec, batch_size)
        finally:
            await self._save_step_down()
        self.called_back = pipeline.called_back

    def _is_called_back(self) -> bool:
        self.called_back = self.called_back or self.ctx.permit.called_back
        return self.called_back

    async def _resolve_lane_spec(self) -> LaneSpec:
        if self.lane_spec is None:
            spec = self.ctx.spec
            reference = await fetch_reference(self.ctx, self.files.retrier)
            self.lane_spec = LaneSpec(spec.task, spec.contract, spec.transcription, spec.synthesis, reference)
        return self.lane_spec

    def _clip_source(self, clips: ManifestSlice) -> ClipSource:
        process_spec = self.ctx.spec.process
        if self.ctx.spec.task is Task.SYNTHESIZE or process_spec is None:
            return ReservedOutputs(self.ctx)
        output_uri = self.files.uri(nonce_name(process_spec.plan_attempt))
        outage_detector = OutageDetector(self.ctx.storage, self.files.retrier, output_uri)
        return FetchedClips(self.ctx, clips, outage_detector, self.retries)

    async def _save_step_down(self) -> None:
        """Lowers the stored ladder's batch size, so that the next attempt does not have to step down again."""
        step_down = self.lane.stepped_down
        if self.ladder is not None and step_down is not None:
            await self.ctx.ladders.step_down(
                self.model, self.ctx.spec.contract_digest, step_down.batch_size, step_down.reason
            )

    async def deliver_run_records(self, attempts: Set[int]) -> tuple[FileRef, ...]:
        """References of the run.json of these attempts of the shard, or of those that it was split from; uploads this
        attempt's own if it is among them."""
        refs: list[FileRef | None] = []
        for attempt in sorted(attempts):
            own = attempt == self.ctx.spec.attempt
            refs.append(await (self._deliver_run_record() if own else self._find_run_record(attempt)))
        return tuple(ref for ref in refs if ref is not None)

    async def deliver_own_run_record(self) -> None:
        """For the attempt that inherits this one's rows; an attempt that has loaded nothing has none."""
        if self.loaded is not None:
            await self._deliver_run_record()

    async def _find_run_record(self, attempt: int) -> FileRef | None:
        """A shard and those that it was split from never have the same number of an attempt."""
        process_spec = self.ctx.spec.process
        split_from = () if process_spec is None else process_spec.inherits
        for shard_uid in (self.ctx.spec.shard_uid, *split_from):
            ref = await find_run_record(self.files, f"{attempt_folder(shard_uid, attempt)}/run.json")
            if ref is not None:
                return ref
        return None

    async def _deliver_run_record(self) -> FileRef:
        """Uploads run.json, once per attempt."""
        name = f"{_attempt_path(self.ctx)}/run.json"
        ref = await find_run_record(self.files, name)
        if ref is None:
            # After a crash between the last row and the commit, no clip remains, so this run has not loaded the model.
            loaded = self.loaded or await self.lane.load(self.model, await self._resolve_lane_spec())
            retries = self.retries + self.files.retrier.counts
            record = make_run_record(
                self.ctx, self.lane, self.model, loaded, self.ladder, self.ladder_milliseconds, retries
            )
            ref = await upload_run_record(self.files, name, record)
        crash_points.point("run-uploaded")
        return ref


async def _commit(
    ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow], delivered: DeliveredParts, run: _ShardRun
) -> ShardResult:
    """Adds the attempt's own parts to `delivered`, which holds the inherited ones, and uploads commit.json."""
    for part in await ctx.journal.parts():
        content = await ctx.journal.part_content(part.number)
        own = await asyncio.to_thread(parse_part, part.ref.path, part.ref.sha256, content)
        delivered.add(own)
    if delivered.indexes != set(clips):
        raise plan_mismatch("the attempt's parts do not hold one row for each of its clips")
    commit = Commit(
        shard_uid=ctx.spec.shard_uid,
        attempt=ctx.spec.attempt,
        indexes=encode(clips),
        parts=tuple(delivered.refs),
        counts=delivered.tally.counts,
        warnings=delivered.tally.warnings,
        runs=await run.deliver_run_records(delivered.inferring_attempts),
    )
    content = canonical_json(commit.dump())
    await files.write_once(f"{_attempt_path(ctx)}/commit.json", content)
    crash_points.point("commit-uploaded")
    return ShardResult(
        commit_sha256=sha256_hex(content),
        counts=commit.counts,
        quarantine=delivered.tally.first_quarantined,
        failures=delivered.tally.first_failed,
        warnings=commit.warnings,
        spent_budget=ctx.budget.spent,
    )
