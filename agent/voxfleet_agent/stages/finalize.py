"""Finalize: merge the named commits into the job's result files; index.json last."""

from __future__ import annotations

from pydantic import ValidationError

from voxfleet_agent.stages.inherit import PART_LIMIT_BYTES, parse_part
from voxfleet_agent.stages.merge import merge
from voxfleet_agent.stages.outcome import first_quarantined
from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.stage import StageContext
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import CommitRef, FinalizeOrder, ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import Commit, FileRef, Index, ManifestRow, ResultRow, attempt_folder, plan_folder


async def run_finalize(ctx: StageContext) -> ShardResult:
    """The same commits always give the same bytes. Raises VoxFleetError for whatever does not fit together."""
    order = ctx.spec.finalize
    if order is None:
        raise ValueError("a Finalize attempt without a finalize order")
    manifest = await _read_manifest(ctx, order)
    rows: list[ResultRow] = []
    for number, ref in enumerate(order.commits):
        rows += await _read_commit(ctx, ref)
        ctx.progress(number + 1, len(order.commits))
    merged = merge(manifest, rows, decode(order.not_run))
    files = {"results.jsonl": merged.results, "errors.jsonl": merged.errors}
    for name, content in files.items():
        await _put(ctx, name, content)
    index = Index(
        job_uid=ctx.spec.job.uid,
        manifest_sha256=order.manifest_sha256,
        total=len(manifest),
        counts=merged.counts,
        files=tuple(
            FileRef(path=name, sha256=sha256_hex(content), size_bytes=len(content)) for name, content in files.items()
        ),
    )
    content = canonical_json(index.dump())
    await _put(ctx, "index.json", content)
    return ShardResult(
        commit_sha256=sha256_hex(content), counts=merged.counts, quarantine=tuple(first_quarantined(merged.rows))
    )


async def _read_manifest(ctx: StageContext, order: FinalizeOrder) -> list[ManifestRow]:
    content = await _get(ctx, f"{plan_folder(order.plan_attempt)}/manifest.jsonl")
    _require_sha256("the manifest", content, order.manifest_sha256)
    rows = [ManifestRow.model_validate_json(line) for line in content.splitlines()]
    if len(rows) != order.total:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"the manifest has {len(rows)} clips, the order {order.total}")
    return rows


async def _read_commit(ctx: StageContext, ref: CommitRef) -> list[ResultRow]:
    """The rows that a commit names, verified down to each part."""
    path = f"{attempt_folder(ref.shard_uid, ref.attempt)}/commit.json"
    content = await _get(ctx, path)
    _require_sha256(path, content, ref.sha256)
    try:
        commit = Commit.model_validate_json(content)
    except ValidationError as error:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"{path} is damaged") from error
    rows: list[ResultRow] = []
    for part_ref in commit.parts:
        part_content = await _get(ctx, part_ref.path)
        _require_sha256(part_ref.path, part_content, part_ref.sha256)
        rows += parse_part(part_ref.path, part_content).rows
    if [row.index for row in sorted(rows, key=lambda row: row.index)] != decode(commit.indexes):
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"{path}: its parts are not one row for each of its clips")
    return rows


def _require_sha256(name: str, content: bytes, expected: str) -> None:
    found = sha256_hex(content)
    if found != expected:
        raise VoxFleetError(
            FailureClass.PLAN_MISMATCH, f"{name} has sha256 {found[:12]}…, {expected[:12]}… was committed"
        )


async def _get(ctx: StageContext, path: str) -> bytes:
    try:
        return await with_retries(lambda: ctx.storage.get(f"{ctx.spec.output_folder}/{path}", PART_LIMIT_BYTES))
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.INPUT_NOT_FOUND:
            raise
        raise VoxFleetError(
            FailureClass.OUTPUT_NOT_SHARED,
            f"this Mac does not see {path} below spec.output.uri; use a folder that all Macs share, s3://, or one Mac",
        ) from error


async def _put(ctx: StageContext, path: str, content: bytes) -> None:
    await with_retries(lambda: ctx.storage.put(f"{ctx.spec.output_folder}/{path}", content))
