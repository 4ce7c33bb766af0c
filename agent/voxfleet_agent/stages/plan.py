"""The Plan stage: lists the input, looks at headers, fixes the model, and freezes all of it in plan.json."""

from __future__ import annotations

import asyncio
import secrets
from array import array
from collections.abc import Sequence

from voxfleet_agent import crash_points
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.stages.boundaries import boundaries
from voxfleet_agent.stages.inspection import inspect_clip
from voxfleet_agent.stages.job_checks import require_possible
from voxfleet_agent.stages.job_files import SMALL_FILE_BYTES, JobFiles, nonce_name
from voxfleet_agent.stages.model_checks import require_suited
from voxfleet_agent.stages.outage import Witnesses, around
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.stages.rows import error_of, row_error
from voxfleet_agent.stages.source import Source
from voxfleet_agent.stages.sources import gather_sources
from voxfleet_agent.stages.speech import estimated_milliseconds
from voxfleet_agent.stages.stage import StageContext
from voxfleet_agent.storage.packed_content import PackedContent
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_task import MAX_TEXT_CHARACTERS
from voxfleet_api.protocol import PlanSpec, ShardResult
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
    retrier = Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry)
    files = JobFiles(ctx.storage, ctx.spec.output_folder, retrier)
    folder = plan_folder(ctx.spec.attempt)
    plan_name, manifest_name = f"{folder}/plan.json", f"{folder}/manifest.jsonl"
    if await files.exists(plan_name):
        return await _frozen_result(files, plan_name)  # an earlier run of this attempt ended here

    require_possible(ctx.spec)
    await files.write(nonce_name(ctx.spec.attempt), secrets.token_hex(16).encode())
    await _require_reference(ctx, retrier)
    model = await retrier(lambda: ctx.models.resolve(order.model, ctx.storage))
    await asyncio.to_thread(require_suited, model.path, ctx.spec)
    sources = await gather_sources(ctx.storage, retrier, order.input, ctx.spec.task, ctx.spec.output_folder)
    witnesses = Witnesses(ctx.storage, retrier, files.uri(nonce_name(ctx.spec.attempt)))
    clips = await _inspect_all(ctx, retrier, witnesses, sources)
    plan = decide_plan(order, ctx.spec.contract_digest, clips, model)
    await files.write("contract.json", canonical_json(ctx.spec.contract.dump()))
    await files.write(manifest_name, clips.manifest)
    content = canonical_json(plan.dump())
    await files.write_once(plan_name, content)
    crash_points.point("plan-uploaded")
    return _result(plan, content)


class Inspected:
    """The manifest and what shards are cut by, not as rows: 100,000 of those would fill hundreds of megabytes."""

    def __init__(self) -> None:
        self.weights = array("q")
        """Milliseconds of each clip; nothing for a refused one, which costs no lane time."""
        self.audio_milliseconds = 0
        self.manifest = PackedContent()
        """manifest.jsonl."""
        self._waiting: dict[int, ManifestRow] = {}
        """Rows that came before one above them."""

    def add(self, row: ManifestRow) -> None:
        """Once for each index, in any order."""
        self._waiting[row.index] = row
        while (found := self._waiting.pop(len(self.weights), None)) is not None:
            self.manifest.append(found.line())
            self.weights.append(found.audio_milliseconds if found.refusal is None else 0)
            self.audio_milliseconds += found.audio_milliseconds


def decide_plan(order: PlanSpec, contract_digest: str, clips: Inspected, model: ResolvedModel) -> PlanFile:
    """Pure."""
    return PlanFile(
        manifest_sha256=clips.manifest.whole_sha256,
        model_digest=model.digest,
        model_revision=model.revision,
        boundaries=boundaries(clips.weights, order.shard_audio_milliseconds, order.max_shards),
        audio_seconds=seconds_text(clips.audio_milliseconds),
        contract_digest=contract_digest,
    )


async def _frozen_result(files: JobFiles, plan_name: str) -> ShardResult:
    content = await files.read(plan_name, SMALL_FILE_BYTES)
    return _result(PlanFile.model_validate_json(content), content)


def _result(plan: PlanFile, content: bytes) -> ShardResult:
    return ShardResult(
        commit_sha256=sha256_hex(content), plan=PlanResult(**plan.model_dump(exclude={"contract_digest"}))
    )


async def _require_reference(ctx: StageContext, retrier: Retrier) -> None:
    """Raises VoxFleetError(INVALID_INPUT) when the contract refuses the recording of the voice."""
    reference = None if ctx.spec.synthesis is None else ctx.spec.synthesis.reference
    if reference is None:
        return
    source = Source("reference", reference.uri)
    row = await retrier(lambda: inspect_clip(ctx.storage, ctx.spec.contract, 0, source))
    if row.refusal is not None:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"spec.synthesis.reference: {row.refusal.reason}")


async def _inspect_all(
    ctx: StageContext, retrier: Retrier, witnesses: Witnesses, sources: Sequence[Source]
) -> Inspected:
    """As many tasks as headers are read at a time, however many clips there are."""
    inspected, done = Inspected(), 0
    numbered = iter(range(len(sources)))

    async def inspect_next() -> None:
        nonlocal done
        for index in numbered:
            inspected.add(await _inspect(ctx, retrier, witnesses, index, sources))
            done += 1
            ctx.progress(done, len(sources))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(HEADERS_AT_A_TIME, len(sources))):
            group.create_task(inspect_next())
    return inspected


async def _inspect(
    ctx: StageContext, retrier: Retrier, witnesses: Witnesses, index: int, sources: Sequence[Source]
) -> ManifestRow:
    source = sources[index]
    if source.text is not None:
        return text_row(index, source.custom_id, source.text)
    uri = source.uri or ""
    try:
        row = await retrier(lambda: inspect_clip(ctx.storage, ctx.spec.contract, index, source))
    except VoxFleetError as error:
        near = (sources[place].uri or "" for place in around(index, range(len(sources))))
        await witnesses.require_own(error, uri, near)
        return ManifestRow(
            index=index, custom_id=source.custom_id, uri=uri, sha256=source.sha256, refusal=error_of(error)
        )
    if row.size_bytes is not None:
        witnesses.saw(uri)
    return row


def text_row(index: int, custom_id: str, text: str) -> ManifestRow:
    """A text has no header: its length alone is checked, and how long it takes to speak is estimated. Pure."""
    refusal = None
    if not text.strip():
        refusal = row_error(FailureClass.CONTRACT_VIOLATION, "the text is empty")
    elif len(text) > MAX_TEXT_CHARACTERS:
        refusal = row_error(
            FailureClass.CONTRACT_VIOLATION,
            f"the text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are spoken as one clip",
        )
    return ManifestRow(
        index=index,
        custom_id=custom_id,
        text=text[:MAX_TEXT_CHARACTERS],
        audio_milliseconds=estimated_milliseconds(text[:MAX_TEXT_CHARACTERS]),
        refusal=refusal,
    )
