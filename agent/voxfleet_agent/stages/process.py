"""The Process stage: works on a shard's clips and delivers them in parts and one commit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import partial

from voxfleet_agent import crash_points
from voxfleet_agent.lanes.lane_types import Lane, LaneSpec, LoadedModel
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.batch_size import batch_table
from voxfleet_agent.stages.buckets import sort_into_buckets
from voxfleet_agent.stages.inherit import Delivered, inherit, parse_part, read_part
from voxfleet_agent.stages.intake import FetchedClips, Intake, ReservedOutputs
from voxfleet_agent.stages.job_files import JobFiles, nonce_name, open_manifest, read_plan
from voxfleet_agent.stages.manifest import ManifestLines
from voxfleet_agent.stages.mismatch import mismatch
from voxfleet_agent.stages.outage import OWNERS, Owner, Witnesses
from voxfleet_agent.stages.parts import Parts
from voxfleet_agent.stages.pipeline import Pipeline
from voxfleet_agent.stages.recorder import Recorder
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.stages.run_record import deliver_run, delivered_run, run_record
from voxfleet_agent.stages.speech import fetch_reference
from voxfleet_agent.stages.stage import StageContext
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.protocol import ProcessSpec, ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import AttemptBase, Commit, FileRef, LadderTable, ManifestRow, PlanFile, attempt_folder


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
    parts = Parts(files, ctx.journal, _folder(ctx))
    await parts.resume()
    done = delivered.indexes | await ctx.journal.recorded_indexes()
    run, own_batch_size = _Run(ctx, lane, model, files, parts), lane.batch_size
    try:
        await run.work(clips, done)
        await parts.deliver()
        return await _commit(ctx, files, clips, delivered, run)
    finally:
        lane.batch_size = own_batch_size  # a table's, or what memory left of it, was for this job


@dataclass
class _Run:
    """The lane's part of one run, and what it leaves to tell."""

    ctx: StageContext
    lane: Lane
    model: ResolvedModel
    files: JobFiles
    parts: Parts
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

        todo = await asyncio.to_thread(divide, clips, done)
        if not todo.refused and not todo.lengths:
            return
        order, intake = await self._order(), self._intake(clips)
        if todo.lengths:
            self.table = await batch_table(self.ctx, self.lane, self.model, order, intake, clips, todo.lengths)
        recorder = Recorder(self.ctx, self.files, self.parts, recorded)
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

    def _intake(self, clips: ManifestLines) -> Intake:
        order = self.ctx.spec.process
        if self.ctx.spec.task is Task.SYNTHESIZE or order is None:
            return ReservedOutputs(self.ctx)
        output_uri = self.files.uri(nonce_name(order.plan_attempt))
        witnesses = Witnesses(self.ctx.storage, self.files.retrier, output_uri)
        return FetchedClips(self.ctx, clips, witnesses, self.retries)


@dataclass(frozen=True, slots=True)
class Todo:
    """Clips without a row."""

    refused: list[int]
    """By Plan: they need no lane."""
    lengths: dict[int, int]
    """Announced milliseconds of the others."""


def divide(clips: Mapping[int, ManifestRow], done: Set[int]) -> Todo:
    """Pure."""
    todo = Todo([], {})
    for index in clips:
        if index not in done:
            clip = clips[index]
            if clip.refusal is not None:
                todo.refused.append(index)
            else:
                todo.lengths[index] = clip.audio_milliseconds
    return todo


def shard_indexes(file: PlanFile, order: ProcessSpec, contract_digest: str) -> range:
    """The shard's clips. Raises VoxFleetError naming what differs from what the job's status froze. Pure."""
    if file.model_digest != order.model_digest:
        raise mismatch(f"plan.json names the model {file.model_digest}, the job's status {order.model_digest}")
    if file.contract_digest != contract_digest:
        raise mismatch(f"plan.json names the contract {file.contract_digest}, the job's status {contract_digest}")
    if digest_of(list(file.boundaries)) != order.boundaries_digest:
        raise mismatch("plan.json has other shard boundaries than the job's status")
    if order.ordinal + 1 >= len(file.boundaries):
        raise mismatch(f"the plan has {len(file.boundaries) - 1} shards and so no shard {order.ordinal}")
    indexes = range(file.boundaries[order.ordinal], file.boundaries[order.ordinal + 1])
    if order.indexes != encode(indexes):
        raise mismatch(f"shard {order.ordinal} of the plan holds the clips {encode(indexes)}, not {order.indexes}")
    return indexes


async def read_clips(files: JobFiles, indexes: range, order: ProcessSpec) -> ManifestLines:
    """Raises VoxFleetError(PLAN_MISMATCH) when the manifest is not the one that the job's status froze."""
    manifest = await open_manifest(files, order.plan_attempt)
    await manifest.skip(indexes.start)
    clips = await manifest.take(indexes.stop)
    await manifest.require_sha256(order.manifest_sha256)
    if len(clips) != len(indexes):
        raise mismatch(f"manifest.jsonl does not hold the clips {indexes.start} to {indexes.stop - 1}")
    return clips


UNREADABLE_CLIPS = 16
"""That are passed over in search of one that can be read."""


async def require_shared_input(storage: Storage, retrier: Retrier, clips: Mapping[int, ManifestRow]) -> None:
    """Raises VoxFleetError(INPUT_NOT_SHARED) when this Mac sees nothing of the local folder that Plan read.

    A clip that was deleted since then leaves its folder behind, and one that cannot be read tells nothing of the
    others: those are the clips' own failures.
    """
    folder, unreadable = None, 0
    for clip in clips.values():
        if clip.refusal is not None or clip.uri is None or not clip.uri.startswith("file:"):
            continue
        folder = folder or f"{clip.uri.rpartition('/')[0]}/"
        try:
            if await retrier(partial(storage.exists, clip.uri)):
                return
        except VoxFleetError as error:
            if OWNERS[error.failure_class] is Owner.ATTEMPT:
                raise
            unreadable += 1
            if unreadable == UNREADABLE_CLIPS:
                break
    if folder is None:
        return
    try:
        if await retrier(partial(storage.list_names, folder, limit=2**62)):
            return
        found = "finds no file in the input folder"
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.ACCESS_DENIED:
            raise
        found = f"may not read the input ({error.message})"
    raise VoxFleetError(
        FailureClass.INPUT_NOT_SHARED,
        f"this Mac {found}, which Plan read on another one; use s3://, a folder that every Mac mounts at the same path,"
        " or select one Mac with macSelector",
    )


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


async def _freeze_base(ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow]) -> Delivered:
    """What is inherited, decided once: the journal's base, if it has one, without another look at the storage."""
    content = await ctx.journal.base()
    if content is None:
        delivered = await inherit(files, ctx.spec, clips)
        base = AttemptBase(shard_uid=ctx.spec.shard_uid, attempt=ctx.spec.attempt, parts=tuple(delivered.refs))
        content = canonical_json(base.dump())
        await ctx.journal.freeze_base(content)
    else:
        delivered = Delivered()
        for ref in AttemptBase.model_validate_json(content).parts:
            delivered.add(await read_part(files, ref.path, ref.sha256))
    await files.write_once(f"{_folder(ctx)}/base.json", content)
    return delivered


async def _commit(
    ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow], delivered: Delivered, run: _Run
) -> ShardResult:
    """`delivered` holds what was inherited; the attempt's own parts are added to it."""
    inferred = False
    for part in await ctx.journal.parts():
        content = await ctx.journal.part_content(part.number)
        own = await asyncio.to_thread(parse_part, part.ref.path, part.ref.sha256, content)
        delivered.add(own)
        inferred = inferred or any(row.batch_size is not None for row in own.rows)
    if delivered.indexes != set(clips):
        raise mismatch("the attempt's parts do not hold one row for each of its clips")
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
