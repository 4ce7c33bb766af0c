"""The Finalize stage: merges the named commits into the job's result files, index.json last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import ValidationError

from voxfleet_agent import crash
from voxfleet_agent.stages.inherit import Part, read_part
from voxfleet_agent.stages.job_files import FrozenPlan, JobFiles, mismatch, read_plan
from voxfleet_agent.stages.merge import ERRORS_NAME, INDEX_NAME, RESULTS_NAME, Merged, merge
from voxfleet_agent.stages.outcome import counts, first_quarantined
from voxfleet_agent.stages.stage import StageContext
from voxfleet_api.digest import sha256_hex
from voxfleet_api.protocol import CommitRef, FinalizeOrder, ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import Commit, PartRef, attempt_folder

READS_AT_A_TIME = 8


async def run_finalize(ctx: StageContext) -> ShardResult:
    """One order always gives the same bytes. Raises VoxFleetError, PLAN_MISMATCH for what does not fit together."""
    order = ctx.spec.finalize
    if order is None:
        raise ValueError("a Finalize attempt needs a finalize order")
    files = JobFiles(ctx.storage, ctx.spec.output_folder)
    plan = await read_plan(files, order.plan_attempt, order.manifest_sha256)
    if len(plan.lines) != order.total:
        raise mismatch(f"the manifest has {len(plan.lines)} clips, the job's status {order.total}")
    commits = [await _read_commit(files, ref) for ref in order.commits]
    parts = await _read_parts(files, [ref for commit in commits for ref in commit.parts])
    merged = await asyncio.to_thread(_merge, ctx.spec.job.uid, order, plan, parts)
    await files.write(RESULTS_NAME, merged.results)
    await files.write(ERRORS_NAME, merged.errors)
    await files.write(INDEX_NAME, merged.index)
    crash.point("index-uploaded")
    ctx.progress(order.total, order.total)
    return ShardResult(
        commit_sha256=sha256_hex(merged.index),
        counts=counts(merged.rows),
        quarantine=tuple(first_quarantined(merged.rows)),
    )


def _merge(job_uid: str, order: FinalizeOrder, plan: FrozenPlan, parts: Sequence[Part]) -> Merged:
    manifest = list(plan.rows(range(order.total)).values())
    rows = [row for part in parts for row in part.rows]
    return merge(job_uid, order.manifest_sha256, manifest, rows, decode(order.not_run))


async def _read_commit(files: JobFiles, ref: CommitRef) -> Commit:
    name = f"{attempt_folder(ref.shard_uid, ref.attempt)}/commit.json"
    try:
        commit = Commit.model_validate_json(await files.read_verified(name, ref.sha256))
    except ValidationError as error:
        raise mismatch(f"{name} is not a commit that this agent understands") from error
    if (commit.shard_uid, commit.attempt) != (ref.shard_uid, ref.attempt):
        raise mismatch(f"{name} is the commit of another attempt")
    return commit


async def _read_parts(files: JobFiles, refs: Sequence[PartRef]) -> list[Part]:
    permits = asyncio.Semaphore(READS_AT_A_TIME)

    async def read(ref: PartRef) -> Part:
        async with permits:
            part = await read_part(files, ref.path, ref.sha256)
        if part.ref != ref:
            raise mismatch(f"{ref.path} holds other clips than its commit names")
        return part

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read(ref)) for ref in refs]
    return [task.result() for task in tasks]
