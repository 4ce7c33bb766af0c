"""The Plan stage: lists the input, looks at headers, fixes the model, and freezes all of it in plan.json."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from voxfleet_agent import crash
from voxfleet_agent.audio.headers import inspect, refuse
from voxfleet_agent.stages.boundaries import boundaries
from voxfleet_agent.stages.job_files import JobFiles, nonce_name
from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.rows import error_of
from voxfleet_agent.stages.sources import Source, gather_sources
from voxfleet_agent.stages.stage import ResolvedModel, StageContext
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import RULES, Remedy, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import PlanOrder, ShardResult
from voxfleet_api.quantities import seconds_text
from voxfleet_api.results import ManifestRow, PlanFile, PlanResult, plan_folder

HEADERS_AT_A_TIME = 16


async def run_plan(ctx: StageContext) -> ShardResult:
    """Writes contract.json, manifest.jsonl and, last, plan.json, which never changes once it exists.

    Raises VoxFleetError.
    """
    order = ctx.spec.plan
    if order is None:
        raise ValueError("a Plan attempt needs a plan order")
    files = JobFiles(ctx.storage, ctx.spec.output_folder)
    folder = plan_folder(ctx.spec.attempt)
    plan_name, manifest_name = f"{folder}/plan.json", f"{folder}/manifest.jsonl"
    if await with_retries(lambda: ctx.storage.exists(files.uri(plan_name))):
        return await _frozen_result(files, plan_name)  # an earlier run of this attempt ended here

    await files.write(nonce_name(ctx.spec.attempt), secrets.token_hex(16).encode())
    model = await ctx.models.resolve(order.model)
    sources = await gather_sources(ctx.storage, order.input, ctx.spec.output_folder)
    rows = await _inspect_all(ctx, sources)
    manifest = b"".join(row.line() for row in rows)
    plan = decide_plan(order, ctx.spec.contract_digest, rows, sha256_hex(manifest), model)
    await files.write("contract.json", canonical_json(ctx.spec.contract.dump()))
    await files.write(manifest_name, manifest)
    content = canonical_json(plan.dump())
    await files.write_once(plan_name, content)
    crash.point("plan-uploaded")
    return _result(plan, content)


def decide_plan(
    order: PlanOrder, contract_digest: str, rows: Sequence[ManifestRow], manifest_sha256: str, model: ResolvedModel
) -> PlanFile:
    """Pure."""
    # A refused clip costs no lane time, so it has no weight in its shard.
    weights = [row.audio_milliseconds if row.refusal is None else 0 for row in rows]
    return PlanFile(
        manifest_sha256=manifest_sha256,
        model_digest=model.digest,
        model_revision=model.revision,
        boundaries=boundaries(weights, order.shard_audio_milliseconds, order.max_shards),
        audio_seconds=seconds_text(sum(row.audio_milliseconds for row in rows)),
        contract_digest=contract_digest,
    )


async def _frozen_result(files: JobFiles, plan_name: str) -> ShardResult:
    content = await files.read(plan_name)
    return _result(PlanFile.model_validate_json(content), content)


def _result(plan: PlanFile, content: bytes) -> ShardResult:
    return ShardResult(
        commit_sha256=sha256_hex(content), plan=PlanResult(**plan.model_dump(exclude={"contract_digest"}))
    )


async def _inspect_all(ctx: StageContext, sources: Sequence[Source]) -> list[ManifestRow]:
    permits = asyncio.Semaphore(HEADERS_AT_A_TIME)
    done = 0

    async def inspect_one(index: int, source: Source) -> ManifestRow:
        nonlocal done
        async with permits:
            row = await with_retries(lambda: inspect_clip(ctx.storage, ctx.spec.contract, index, source))
        done += 1
        ctx.progress(done, len(sources))
        return row

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inspect_one(index, source)) for index, source in enumerate(sources)]
    return [task.result() for task in tasks]


async def inspect_clip(storage: Storage, contract: VoiceContractSpec, index: int, source: Source) -> ManifestRow:
    """The clip's manifest row; what its header shows to be wrong is its refusal.

    Raises VoxFleetError for what waiting can mend: an outage must not be frozen as a refusal.
    """
    row = ManifestRow(index=index, custom_id=source.custom_id, uri=source.uri, sha256=source.sha256)
    try:
        version, reader = await storage.open_reader(source.uri)
        row = row.model_copy(update={"size_bytes": version.size_bytes, "etag": version.etag})
        facts = await asyncio.to_thread(inspect, reader, version.size_bytes)
    except VoxFleetError as error:
        if RULES[error.failure_class].remedy is Remedy.RETRY:
            raise
        return row.model_copy(update={"refusal": error_of(error)})
    refusal = refuse(facts, version.size_bytes, contract)
    return row.model_copy(update={"audio_milliseconds": facts.audio_milliseconds, "refusal": refusal})
