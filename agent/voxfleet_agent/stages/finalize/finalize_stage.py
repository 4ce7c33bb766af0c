"""The Finalize stage: merges the commits that its spec names into the job's result files; index.json comes last."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from pydantic import ValidationError

from voxfleet_agent.logs import logger
from voxfleet_agent.stages.finalize.merge import ResultFiles, RowOffsets, added_bytes, require_one_row_each
from voxfleet_agent.stages.finalize.report import job_report, report_files
from voxfleet_agent.stages.finalize.repro import RunRecords, repro_files
from voxfleet_agent.stages.finalize.spool import Spool
from voxfleet_agent.stages.finalize.transcript_formats import WRITERS
from voxfleet_agent.stages.frozen_plan import open_manifest, read_plan
from voxfleet_agent.stages.job_files import JobFiles, file_ref, plan_mismatch
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_api.attempt_spec import CommitRef, FinalizeSpec
from voxfleet_api.base import SpecModel
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import (
    INDEX_NAME,
    Commit,
    FileRef,
    PartRef,
    PlanFile,
    ResultIndex,
    attempt_folder,
    plan_folder,
)
from voxfleet_api.run_record import RunRecord
from voxfleet_shared import crash_points

READS_AT_A_TIME = 8

_log = logger("voxfleet.stages")

_SPOOL_NAME = "rows"

M = TypeVar("M", bound=SpecModel)


async def run_finalize(ctx: StageContext) -> ShardResult:
    """Writes the same bytes for the same spec. Raises VoxFleetError; PLAN_MISMATCH when files contradict each other.

    The rows pass through one scratch file as large as all parts together; only their offsets stay in memory.
    """
    finalize_spec = ctx.spec.finalize
    if finalize_spec is None:
        raise ValueError("a Finalize attempt needs a finalize spec")
    files = JobFiles(ctx.storage, ctx.spec.output_folder, Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry))
    # Attempts end before Finalize begins: what is unfinished now stays so.
    try:
        await ctx.storage.remove_unfinished(f"{ctx.spec.output_folder}/")
    except VoxFleetError as error:  # what stays unfinished harms no result; an outage shows at the next read
        _log.warning(
            "unfinished files were not swept",
            namespace=ctx.spec.namespace,
            job=ctx.spec.job.name,
            failure_class=error.failure_class.value,
        )
    plan = await read_plan(
        files, finalize_spec.plan_attempt, finalize_spec.manifest_sha256, one_machine=ctx.one_machine
    )
    if plan.boundaries[-1] != finalize_spec.total:
        raise plan_mismatch(f"the manifest has {plan.boundaries[-1]} clips, the job's status {finalize_spec.total}")
    await (await open_manifest(files, finalize_spec.plan_attempt)).require_sha256(finalize_spec.manifest_sha256)
    commits = [await _read_commit(files, ref) for ref in finalize_spec.commits]
    refs = [ref for commit in commits for ref in commit.parts]
    require_one_row_each(finalize_spec.total, _committed_indexes(refs, finalize_spec))
    offsets = RowOffsets(finalize_spec.total, refs, await _part_bytes(files, refs))

    formats = [item for item in ctx.spec.formats if item in WRITERS]
    not_run = len(decode(finalize_spec.not_run))
    manifest_bytes = await files.size_bytes(f"{plan_folder(finalize_spec.plan_attempt)}/manifest.jsonl")
    size_bytes = offsets.size_bytes + added_bytes(finalize_spec.total, len(formats), not_run, manifest_bytes)
    path = await ctx.scratch.reserve(_SPOOL_NAME, size_bytes)
    try:
        with Spool(path, size_bytes, offsets.size_bytes) as spool:
            await _fetch_parts(files, refs, offsets, spool)
            merged = ResultFiles(files, spool, offsets, formats)
            await merged.merge(await open_manifest(files, finalize_spec.plan_attempt))
            refs_written = await merged.write()
    finally:
        await ctx.scratch.release(path)
    return await _write_index(ctx, files, finalize_spec, plan, commits, merged, refs_written)


async def _write_index(
    ctx: StageContext,
    files: JobFiles,
    finalize_spec: FinalizeSpec,
    plan: PlanFile,
    commits: Sequence[Commit],
    merged: ResultFiles,
    results: Sequence[FileRef],
) -> ShardResult:
    """Writes the files of repro/ and the report, then index.json."""
    runs = await _read_runs(files, commits)
    contents = repro_files(ctx.spec, finalize_spec, plan, runs, merged.metrics.metrics(), results)
    described = [*results, *(file_ref(name, content) for name, content in contents.items())]
    report = job_report(
        ctx.spec,
        finalize_spec,
        plan,
        runs,
        merged.tally.counts,
        merged.clips,
        merged.metrics,
        described,
        ctx.machine_time,
    )
    contents |= report_files(report)
    for name, content in contents.items():
        await files.write(name, content)
    index = ResultIndex(
        job_uid=ctx.spec.job.uid,
        manifest_sha256=finalize_spec.manifest_sha256,
        total=finalize_spec.total,
        counts=merged.tally.counts,
        warnings=merged.tally.warnings,
        files=(*results, *(file_ref(name, content) for name, content in contents.items())),
    )
    content = canonical_json(index.dump())
    await files.write(INDEX_NAME, content)
    crash_points.point("index-uploaded")
    ctx.progress(finalize_spec.total, finalize_spec.total)
    return ShardResult(
        commit_sha256=sha256_hex(content),
        counts=index.counts,
        quarantine=merged.tally.first_quarantined,
        failures=merged.tally.first_failed,
        warnings=index.warnings,
        measured=report.measured,
    )


def _committed_indexes(refs: Sequence[PartRef], finalize_spec: FinalizeSpec) -> Iterator[int]:
    for ref in refs:
        yield from decode(ref.indexes)
    yield from decode(finalize_spec.not_run)


async def _part_bytes(files: JobFiles, refs: Sequence[PartRef]) -> array[int]:
    sizes = array("Q", bytes(8 * len(refs)))

    async def measure(number: int) -> None:
        sizes[number] = await files.size_bytes(refs[number].path)

    await _run_concurrently(len(refs), measure)
    return sizes


async def _fetch_parts(files: JobFiles, refs: Sequence[PartRef], offsets: RowOffsets, spool: Spool) -> None:
    """Downloads each part once, into the spool."""

    async def fetch(number: int) -> None:
        content = await files.read_verified(refs[number].path, refs[number].sha256)
        start = offsets.add_part(number, content)
        await in_thread(lambda: spool.write(start, content))

    await _run_concurrently(len(refs), fetch)


async def _run_concurrently(count: int, call: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(count))

    async def call_next() -> None:
        for number in numbers:
            await call(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(READS_AT_A_TIME, count)):
            group.create_task(call_next())


async def _read_commit(files: JobFiles, ref: CommitRef) -> Commit:
    name = f"{attempt_folder(ref.shard_uid, ref.attempt)}/commit.json"
    commit = _parsed(Commit, name, await files.read_verified(name, ref.sha256))
    if (commit.shard_uid, commit.attempt) != (ref.shard_uid, ref.attempt):
        raise plan_mismatch(f"{name} is the commit of another attempt")
    return commit


async def _read_runs(files: JobFiles, commits: Sequence[Commit]) -> Sequence[RunRecord]:
    runs, refs = RunRecords(), {ref.path: ref for commit in commits for ref in commit.runs}
    for ref in refs.values():  # once, though both halves of a split shard may have taken over rows of one attempt
        runs.add(_parsed(RunRecord, ref.path, await files.read_verified(ref.path, ref.sha256)))
    return runs.records


def _parsed(kind: type[M], name: str, content: bytes) -> M:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise plan_mismatch(f"{name} is not a file that this agent understands") from error
