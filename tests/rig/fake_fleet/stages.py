"""Plan and Process without audio: they sleep for a clip's time, and write what the real ones would write.

What they write is read back by real code: the journal, the operator, and the real Finalize, which refuses the job
unless each clip has exactly one row of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.frozen_plan import nonce_name, read_plan
from voxfleet_agent.stages.job_files import JobFiles
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.plan.input_clips import list_clips
from voxfleet_agent.stages.plan.sharding import InspectedClips, decide_plan
from voxfleet_agent.stages.process.inherited_parts import DeliveredParts, parse_part
from voxfleet_agent.stages.process.part_uploader import PART_ROWS, PartUploader
from voxfleet_agent.stages.process.shard_clips import shard_indexes
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.stages.stage_runner import StageFunction
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import AttemptBase, Commit, PlanResult, attempt_folder, plan_folder
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow, RowError, Timings

TEXT = "what a sleeping engine hears is always these same words"
PLAN_ROWS_AT_A_TIME = 2000


def clip_id(index: int) -> str:
    """The only ids that these stages know, so that Process need not read the manifest."""
    return f"clip-{index:06d}"


@dataclass(frozen=True, slots=True)
class SleepingWork:
    """How the stages of one Mac work."""

    clip_seconds: float = 0.0
    """How long a lane sleeps for each clip."""
    audio_milliseconds: int = 10_000
    """How long each clip is, for shards and for the bill."""
    quarantine_every: int | None = None
    """Quarantines each clip whose index this divides; None: none."""

    def stages(self) -> Mapping[Stage, StageFunction]:
        return {Stage.PLAN: self._plan, Stage.PROCESS: self._process, Stage.FINALIZE: run_finalize}

    async def _plan(self, ctx: StageContext) -> ShardResult:
        """Lists the input and freezes the plan as the real Plan does, but opens no clip."""
        plan_spec = ctx.spec.plan
        if plan_spec is None:
            raise ValueError("a Plan attempt needs a plan spec")
        files, folder = _files(ctx), plan_folder(ctx.spec.attempt)
        await files.write(nonce_name(ctx.spec.attempt), secrets.token_hex(16).encode())
        model = await ctx.models.resolve(plan_spec.model, ctx.storage)
        listed = await list_clips(ctx.storage, files.retrier, plan_spec, ctx.spec.task, ctx.spec.output_folder)
        clips = InspectedClips()
        for start in range(0, len(listed.clips), PLAN_ROWS_AT_A_TIME):
            some = range(start, min(start + PLAN_ROWS_AT_A_TIME, len(listed.clips)))
            await asyncio.to_thread(self._add_rows, clips, listed.clips, some)
            ctx.progress(some.stop, len(listed.clips))
        plan = decide_plan(plan_spec, ctx.spec.contract_digest, clips, model)
        await files.write("contract.json", canonical_json(ctx.spec.contract.dump()))
        await files.write(f"{folder}/manifest.jsonl", clips.manifest)
        content = canonical_json(plan.dump())
        await files.write_once(f"{folder}/plan.json", content)
        found = PlanResult(**plan.model_dump(exclude={"contract_digest"}), model_bytes=2**20)
        return ShardResult(commit_sha256=sha256_hex(content), plan=found)

    def _add_rows(self, clips: InspectedClips, sources: Sequence[InputClip], indexes: range) -> None:
        for index in indexes:
            source = sources[index]
            if source.custom_id != clip_id(index):
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT,
                    f"clip {index} has the id {source.custom_id}; the fake fleet knows only {clip_id(index)}",
                )
            clips.add(
                ManifestRow(
                    index=index,
                    custom_id=source.custom_id,
                    uri=source.uri,
                    size_bytes=32 * self.audio_milliseconds,
                    audio_milliseconds=self.audio_milliseconds,
                )
            )

    async def _process(self, ctx: StageContext) -> ShardResult:
        """Sleeps, makes a part's rows durable, uploads the part, and so on until the commit.

        A resumed attempt goes on where its journal ends; a new attempt takes over nothing of an earlier one.
        """
        process_spec, lane, attempt = ctx.spec.process, ctx.lane, ctx.spec.attempt
        if process_spec is None or lane is None:
            raise ValueError("a Process attempt needs a process spec and a lane")
        files, folder = _files(ctx), attempt_folder(ctx.spec.shard_uid, attempt)
        plan = await read_plan(files, process_spec.plan_attempt, process_spec.manifest_sha256)
        indexes = shard_indexes(plan, process_spec, ctx.spec.contract_digest)
        model = await ctx.models.resolve(process_spec.model, ctx.storage)
        parts = PartUploader(files, ctx.journal, folder)
        await self._freeze_base(ctx, files, parts)
        await lane.load(model, LaneSpec(ctx.spec.task, ctx.spec.contract, ctx.spec.transcription))
        await ctx.working()
        recorded = await ctx.journal.recorded_indexes()
        left = [index for index in indexes if index not in recorded]
        for start in range(0, len(left), PART_ROWS):
            await ctx.permit.check()
            if ctx.permit.called_back:
                raise VoxFleetError(FailureClass.MACHINE_RETURNED, f"{len(left) - start} clips run elsewhere")
            some = left[start : start + PART_ROWS]
            await asyncio.sleep(self.clip_seconds * len(some))
            await ctx.journal.record_rows([self._row(ctx, index) for index in some])
            await parts.deliver()
            ctx.work_meter(self.audio_milliseconds * len(some), len(some))
            done = len(indexes) - len(left) + start + len(some)
            ctx.progress(done, len(indexes), self.audio_milliseconds * done)
        await ctx.permit.check()
        return await self._commit(ctx, files, indexes)

    async def _freeze_base(self, ctx: StageContext, files: JobFiles, parts: PartUploader) -> None:
        content = await ctx.journal.base()
        if content is None:
            base = AttemptBase(shard_uid=ctx.spec.shard_uid, attempt=ctx.spec.attempt, parts=())
            content = canonical_json(base.dump())
            await ctx.journal.freeze_base(content)
        await parts.resume()
        await files.write_once(f"{attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)}/base.json", content)

    async def _commit(self, ctx: StageContext, files: JobFiles, indexes: range) -> ShardResult:
        delivered = DeliveredParts()
        for part in await ctx.journal.parts():
            delivered.add(parse_part(part.ref.path, part.ref.sha256, await ctx.journal.part_content(part.number)))
        commit = Commit(
            shard_uid=ctx.spec.shard_uid,
            attempt=ctx.spec.attempt,
            indexes=encode(indexes),
            parts=tuple(delivered.refs),
            counts=delivered.tally.counts,
        )
        content = canonical_json(commit.dump())
        await files.write_once(f"{attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)}/commit.json", content)
        return ShardResult(
            commit_sha256=sha256_hex(content),
            counts=commit.counts,
            quarantine=delivered.tally.first_quarantined,
        )

    def _row(self, ctx: StageContext, index: int) -> ResultRow:
        refused = self.quarantine_every is not None and index % self.quarantine_every == 0
        reason = "is cut short: its header announces 75272 bytes of audio, 30080 are there"
        return ResultRow(
            index=index,
            custom_id=clip_id(index),
            status=ClipStatus.QUARANTINED if refused else ClipStatus.SUCCEEDED,
            text=None if refused else TEXT,
            error=RowError(failure_class=FailureClass.DECODE_ERROR, reason=reason) if refused else None,
            audio_milliseconds=self.audio_milliseconds,
            timings=Timings(infer_milliseconds=round(self.clip_seconds * 1000)),
            batch_size=PART_ROWS,
            retries=0,
            attempt=ctx.spec.attempt,
            chip=ctx.provenance.chip,
            versions=ctx.provenance.versions,
        )


def _files(ctx: StageContext) -> JobFiles:
    return JobFiles(ctx.storage, ctx.spec.output_folder, Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry))
