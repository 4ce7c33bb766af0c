"""The Plan stage: lists the input, inspects headers, resolves the model, and freezes all of it in plan.json."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from voxfleet_agent.models.model_files import least_weight_bytes
from voxfleet_agent.stages.frozen_plan import nonce_name
from voxfleet_agent.stages.job_files import SMALL_FILE_BYTES, JobFiles
from voxfleet_agent.stages.outage import OutageDetector, nearest_first
from voxfleet_agent.stages.plan.header_inspection import inspect_clip
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.plan.input_clips import list_clips
from voxfleet_agent.stages.plan.job_checks import require_contract_allows, require_model_supports
from voxfleet_agent.stages.plan.other_spelling import SpellingLookup
from voxfleet_agent.stages.plan.sharding import InspectedClips, decide_plan, text_row
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.result_rows import row_error, row_error_of
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.stages.synthesis_files import worst_case_bytes
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import ShardResult
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.results import SKIPPED_NAME, PlanFile, PlanResult, plan_folder
from voxfleet_api.rows import ManifestRow
from voxfleet_shared import crash_points

HEADERS_AT_A_TIME = 16


async def run_plan(ctx: StageContext) -> ShardResult:
    """Writes contract.json, manifest.jsonl, skipped.jsonl and, last, plan.json, which never changes once it exists.

    Raises VoxFleetError.
    """
    plan_spec = ctx.spec.plan
    if plan_spec is None:
        raise ValueError("a Plan attempt needs a plan spec")
    retrier = Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry)
    files = JobFiles(ctx.storage, ctx.spec.output_folder, retrier)
    folder = plan_folder(ctx.spec.attempt)
    plan_name, manifest_name = f"{folder}/plan.json", f"{folder}/manifest.jsonl"
    if await files.exists(plan_name):
        return await _frozen_result(files, plan_name)  # an earlier run of this attempt ended here

    require_contract_allows(ctx.spec)
    await files.write(nonce_name(ctx.spec.attempt), secrets.token_hex(16).encode())
    await _check_reference(ctx, retrier)
    model = await retrier(lambda: ctx.models.resolve(plan_spec.model, ctx.storage))
    await asyncio.to_thread(require_model_supports, model.path, ctx.spec)
    model_bytes = await asyncio.to_thread(least_weight_bytes, model.path)
    listed = await list_clips(ctx.storage, retrier, plan_spec, ctx.spec.task, ctx.spec.output_folder)
    outage_detector = OutageDetector(ctx.storage, retrier, files.uri(nonce_name(ctx.spec.attempt)))
    clips = await _inspect_all(ctx, retrier, outage_detector, listed.clips)
    plan = decide_plan(plan_spec, ctx.spec.contract_digest, clips, model, listed.counts())
    await files.write("contract.json", canonical_json(ctx.spec.contract.dump()))
    await files.write(manifest_name, clips.manifest)
    if listed.selection is not None:
        await files.write(f"{folder}/{SKIPPED_NAME}", await asyncio.to_thread(listed.selection.skipped_rows))
    content = canonical_json(plan.dump())
    await files.write_once(plan_name, content)
    crash_points.point("plan-uploaded")
    return _result(plan, content, model_bytes)


async def _frozen_result(files: JobFiles, plan_name: str) -> ShardResult:
    content = await files.read(plan_name, SMALL_FILE_BYTES)
    return _result(PlanFile.model_validate_json(content), content)


def _result(plan: PlanFile, content: bytes, model_bytes: int | None = None) -> ShardResult:
    """`model_bytes` stands in no file: an agent that did not freeze the plan in this run cannot tell it."""
    found = PlanResult(**plan.model_dump(exclude={"contract_digest"}), model_bytes=model_bytes)
    return ShardResult(commit_sha256=sha256_hex(content), plan=found)


async def _check_reference(ctx: StageContext, retrier: Retrier) -> None:
    """Raises VoxFleetError(INVALID_INPUT) when the contract refuses the voice's recording or has no room for it."""
    reference = None if ctx.spec.synthesis is None else ctx.spec.synthesis.reference
    if reference is None:
        return
    source = InputClip("reference", reference.uri)
    row = await retrier(lambda: inspect_clip(ctx.storage, ctx.spec.contract, 0, source))
    if row.refusal is not None:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"spec.synthesis.reference: {row.refusal.reason}")
    spoken_bytes, limit_bytes = worst_case_bytes(ctx.spec.contract), quantity_bytes(ctx.spec.contract.scratch.max_bytes)
    if (row.size_bytes or 0) + spoken_bytes > limit_bytes:
        raise VoxFleetError(
            FailureClass.INVALID_INPUT,
            f"spec.synthesis.reference has {row.size_bytes} bytes and a spoken file of input.maxClip may need"
            f" {spoken_bytes} beside it, but the contract's scratch.maxBytes is {limit_bytes}; raise it",
        )


async def _inspect_all(
    ctx: StageContext, retrier: Retrier, outage_detector: OutageDetector, sources: Sequence[InputClip]
) -> InspectedClips:
    """Inspects all clips with a fixed number of tasks, however many clips there are."""
    inspected, done = InspectedClips(), 0
    speller = SpellingLookup(ctx.storage)
    numbered = iter(range(len(sources)))

    async def inspect_next() -> None:
        nonlocal done
        for index in numbered:
            row = await _inspect(ctx, retrier, outage_detector, speller, index, sources)
            inspected.add(row.model_copy(update={"source_index": sources[index].source_index}))
            done += 1
            ctx.progress(done, len(sources))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(HEADERS_AT_A_TIME, len(sources))):
            group.create_task(inspect_next())
    return inspected


async def _inspect(
    ctx: StageContext,
    retrier: Retrier,
    outage_detector: OutageDetector,
    speller: SpellingLookup,
    index: int,
    sources: Sequence[InputClip],
) -> ManifestRow:
    source = sources[index]
    if source.problem is not None:
        refusal = row_error(FailureClass.INVALID_INPUT, source.problem)
        return ManifestRow(index=index, custom_id=source.custom_id, refusal=refusal)
    if source.text is not None:
        return text_row(index, source.custom_id, source.text)
    uri = source.uri or ""
    try:
        row = await retrier(lambda: inspect_clip(ctx.storage, ctx.spec.contract, index, source))
    except VoxFleetError as error:
        neighbours = (sources[other].uri or "" for other in nearest_first(index, range(len(sources))))
        await outage_detector.raise_if_outage(error, uri, neighbours)
        return ManifestRow(
            index=index, custom_id=source.custom_id, uri=uri, sha256=source.sha256, refusal=row_error_of(error)
        )
    if row.size_bytes is not None:
        outage_detector.record_readable(uri)
    if row.refusal is not None and row.refusal.failure_class is FailureClass.INPUT_NOT_FOUND:
        reason = f"{row.refusal.reason}{await speller.hint(uri)}"
        return row.model_copy(update={"refusal": row_error(FailureClass.INPUT_NOT_FOUND, reason)})
    return row
