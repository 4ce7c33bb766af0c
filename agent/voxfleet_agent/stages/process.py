"""The Process stage: transcribes a shard's clips and delivers them in parts and one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxfleet_agent import crash
from voxfleet_agent.stages.inherit import Part, inherit, parse_part, read_part
from voxfleet_agent.stages.job_files import FrozenPlan, JobFiles, mismatch, nonce_name, read_plan
from voxfleet_agent.stages.outcome import counts, first_quarantined
from voxfleet_agent.stages.parts import Parts
from voxfleet_agent.stages.pipeline import Pipeline
from voxfleet_agent.stages.stage import ResolvedModel, StageContext
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import canonical_json, digest_of, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import ProcessOrder, ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import Base, Commit, ManifestRow, attempt_folder


async def run_process(ctx: StageContext) -> ShardResult:
    """Starts, or resumes wherever an earlier run of this very attempt stopped. Raises VoxFleetError."""
    order, lane = ctx.spec.process, ctx.transcriber
    if order is None or lane is None:
        raise ValueError("a Process attempt needs a process order and a lane")
    files = JobFiles(ctx.storage, ctx.spec.output_folder)
    plan = await read_plan(files, order.plan_attempt, order.manifest_sha256)
    clips = shard_clips(plan, order, ctx.spec.contract_digest)
    model = await _resolve_model(ctx, order)
    await require_shared_input(ctx.storage, clips)

    inherited = await _freeze_base(ctx, files, clips)
    parts = Parts(files, ctx.journal, _folder(ctx))
    await parts.upload_frozen()
    done = {row.index for part in inherited for row in part.rows} | await ctx.journal.recorded_indexes()
    finished = len(done)
    ctx.progress(finished, len(clips))

    def recorded() -> None:
        nonlocal finished
        finished += 1
        ctx.progress(finished, len(clips))

    todo = [clip for index, clip in sorted(clips.items()) if index not in done]
    if todo:
        await Pipeline(ctx, lane, model, parts, recorded, files.uri(nonce_name(order.plan_attempt))).run(todo)
    await parts.deliver()
    return await _commit(ctx, files, clips, inherited)


def shard_clips(plan: FrozenPlan, order: ProcessOrder, contract_digest: str) -> dict[int, ManifestRow]:
    """The shard's clips by index. Raises VoxFleetError naming what differs from what the job's status froze. Pure."""
    file = plan.file
    if file.model_digest != order.model_digest:
        raise mismatch(f"plan.json names the model {file.model_digest}, the job's status {order.model_digest}")
    if file.contract_digest != contract_digest:
        raise mismatch(f"plan.json names the contract {file.contract_digest}, the job's status {contract_digest}")
    if digest_of(list(file.boundaries)) != order.boundaries_digest:
        raise mismatch("plan.json has other shard boundaries than the job's status")
    if file.boundaries[-1] != len(plan.lines):
        raise mismatch(f"the boundaries end at {file.boundaries[-1]}, the manifest has {len(plan.lines)} clips")
    if order.ordinal + 1 >= len(file.boundaries):
        raise mismatch(f"the plan has {len(file.boundaries) - 1} shards and so no shard {order.ordinal}")
    indexes = range(file.boundaries[order.ordinal], file.boundaries[order.ordinal + 1])
    if order.indexes != encode(indexes):
        raise mismatch(f"shard {order.ordinal} of the plan holds the clips {encode(indexes)}, not {order.indexes}")
    return plan.rows(indexes)


async def require_shared_input(storage: Storage, clips: Mapping[int, ManifestRow]) -> None:
    """Raises VoxFleetError(INPUT_NOT_SHARED) when this Mac sees nothing of the local folder that Plan read.

    A clip that was deleted since then leaves its folder behind; that is the clip's own failure.
    """
    local = [clip.uri for clip in clips.values() if clip.refusal is None and clip.uri.startswith("file:")]
    try:
        for uri in local:
            if await storage.exists(uri):
                return
        if not local or await storage.list_names(f"{local[0].rpartition('/')[0]}/", limit=2**62):
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


async def _resolve_model(ctx: StageContext, order: ProcessOrder) -> ResolvedModel:
    model = await ctx.models.resolve(order.model)
    if model.digest != order.model_digest:
        raise VoxFleetError(
            FailureClass.MODEL_MISMATCH,
            f"the model on this Mac has {model.digest}, the plan froze {order.model_digest}; install the same files",
        )
    return model


def _folder(ctx: StageContext) -> str:
    return attempt_folder(ctx.spec.shard_uid, ctx.spec.attempt)


async def _freeze_base(ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow]) -> list[Part]:
    """What is inherited, decided once: the journal's base, if it has one, without another look at the storage."""
    content = await ctx.journal.base()
    if content is None:
        parts = await inherit(files, ctx.spec, clips)
        base = Base(shard_uid=ctx.spec.shard_uid, attempt=ctx.spec.attempt, parts=tuple(part.ref for part in parts))
        content = canonical_json(base.dump())
        await ctx.journal.freeze_base(content)
    else:
        refs = Base.model_validate_json(content).parts
        parts = [await read_part(files, ref.path, ref.sha256) for ref in refs]
    await files.write_once(f"{_folder(ctx)}/base.json", content)
    return parts


async def _commit(
    ctx: StageContext, files: JobFiles, clips: Mapping[int, ManifestRow], inherited: Sequence[Part]
) -> ShardResult:
    own = [parse_part(part.ref.path, part.ref.sha256, part.content) for part in await ctx.journal.parts()]
    parts = [*inherited, *own]
    rows = [row for part in parts for row in part.rows]
    if sorted(row.index for row in rows) != sorted(clips):
        raise mismatch("the attempt's parts do not hold one row for each of its clips")
    commit = Commit(
        shard_uid=ctx.spec.shard_uid,
        attempt=ctx.spec.attempt,
        indexes=encode(clips),
        parts=tuple(part.ref for part in parts),
        counts=counts(rows),
    )
    content = canonical_json(commit.dump())
    await files.write_once(f"{_folder(ctx)}/commit.json", content)
    crash.point("commit-uploaded")
    return ShardResult(
        commit_sha256=sha256_hex(content), counts=commit.counts, quarantine=tuple(first_quarantined(rows))
    )
