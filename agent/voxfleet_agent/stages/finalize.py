"""The Finalize stage: merges the named commits into the job's result files, index.json last."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeVar

from pydantic import ValidationError

from voxfleet_agent import crash
from voxfleet_agent.stages.formats import WRITERS, transcript_name
from voxfleet_agent.stages.inherit import Part, read_part
from voxfleet_agent.stages.job_files import JobFiles, open_manifest, read_plan
from voxfleet_agent.stages.manifest import ManifestStream
from voxfleet_agent.stages.merge import (
    ERRORS_NAME,
    INDEX_NAME,
    RESULTS_NAME,
    ROWS_AT_A_TIME,
    Merged,
    require_one_each,
    stretches,
)
from voxfleet_agent.stages.mismatch import mismatch
from voxfleet_agent.stages.repro import file_ref, repro_files
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.stages.stage import StageContext
from voxfleet_api.base import SpecModel
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.protocol import CommitRef, ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import ClipStatus, Commit, FileRef, Index, ManifestRow, PartRef, RunRecord, attempt_folder

PARTS_AT_A_TIME = 8
TRANSCRIPTS_NAME = "transcripts/files.jsonl"

M = TypeVar("M", bound=SpecModel)


async def run_finalize(ctx: StageContext) -> ShardResult:
    """One order always gives the same bytes. Raises VoxFleetError, PLAN_MISMATCH for what does not fit together."""
    order = ctx.spec.finalize
    if order is None:
        raise ValueError("a Finalize attempt needs a finalize order")
    files = JobFiles(ctx.storage, ctx.spec.output_folder, Retrier(ctx.spec.contract.retries, ctx.budget.spend_retry))
    plan = await read_plan(files, order.plan_attempt, order.manifest_sha256)
    if plan.boundaries[-1] != order.total:
        raise mismatch(f"the manifest has {plan.boundaries[-1]} clips, the job's status {order.total}")
    await (await open_manifest(files, order.plan_attempt)).require_sha256(order.manifest_sha256)
    commits = [await _read_commit(files, ref) for ref in order.commits]
    not_run = decode(order.not_run)
    delivered = (index for commit in commits for ref in commit.parts for index in decode(ref.indexes))
    require_one_each(order.total, chain(delivered, not_run))

    merged, transcripts = Merged(), list[FileRef]()
    manifest, position = await open_manifest(files, order.plan_attempt), 0
    for span, together in stretches(commits):
        await _write_not_run(merged, manifest, range(position, span.start))
        clips = await manifest.take(span.stop)
        merged.add_not_run(clips, not_run[bisect_left(not_run, span.start) : bisect_left(not_run, span.stop)])
        refs = [ref for commit in together for ref in commit.parts]
        transcripts += await _merge_parts(ctx, files, refs, clips, merged)
        merged.write()
        position = span.stop
    await _write_not_run(merged, manifest, range(position, order.total))
    transcripts.sort(key=lambda ref: ref.path)
    contents = {RESULTS_NAME: merged.results(), ERRORS_NAME: merged.errors()}
    if transcripts:
        contents[TRANSCRIPTS_NAME] = b"".join(canonical_json(ref.dump()) + b"\n" for ref in transcripts)
    results = [file_ref(name, content) for name, content in contents.items()]
    runs = [await _read_run(files, commit) for commit in commits if commit.run is not None]
    contents |= repro_files(ctx.spec, order, plan, runs, merged.metrics(), results)
    for name, content in contents.items():
        await files.write(name, content)
    index = Index(
        job_uid=ctx.spec.job.uid,
        manifest_sha256=order.manifest_sha256,
        total=order.total,
        counts=merged.tally.counts,
        files=tuple(file_ref(name, content) for name, content in contents.items()),
    )
    content = canonical_json(index.dump())
    await files.write(INDEX_NAME, content)
    crash.point("index-uploaded")
    ctx.progress(order.total, order.total)
    return ShardResult(
        commit_sha256=sha256_hex(content), counts=index.counts, quarantine=merged.tally.first_quarantined
    )


async def _write_not_run(merged: Merged, manifest: ManifestStream, indexes: range) -> None:
    """Of a stretch in which no clip ran."""
    for start in range(indexes.start, indexes.stop, ROWS_AT_A_TIME):
        clips = await manifest.take(min(start + ROWS_AT_A_TIME, indexes.stop))
        merged.add_not_run(clips, clips)
        merged.write()


async def _merge_parts(
    ctx: StageContext, files: JobFiles, refs: Sequence[PartRef], clips: Mapping[int, ManifestRow], merged: Merged
) -> list[FileRef]:
    """Reads every part once, adds its rows and writes their transcripts; the transcripts' files."""
    forms = [form for form in ctx.spec.formats if form in WRITERS]
    written: list[FileRef] = []
    waiting = iter(refs)

    async def merge_next() -> None:
        for ref in waiting:
            part = await read_part(files, ref.path, ref.sha256)
            if part.ref != ref:
                raise mismatch(f"{ref.path} holds other clips than its commit names")
            merged.add(part.rows, clips)
            written.extend(await _write_transcripts(files, part, forms))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(PARTS_AT_A_TIME, len(refs))):
            group.create_task(merge_next())
    return written


async def _write_transcripts(files: JobFiles, part: Part, forms: Sequence[OutputFormat]) -> list[FileRef]:
    refs = []
    for row in part.rows:
        if row.status is ClipStatus.SUCCEEDED:
            for form in forms:
                name, content = transcript_name(row.index, form), WRITERS[form](row)
                await files.write(name, content)
                refs.append(file_ref(name, content))
    return refs


async def _read_commit(files: JobFiles, ref: CommitRef) -> Commit:
    name = f"{attempt_folder(ref.shard_uid, ref.attempt)}/commit.json"
    commit = _parsed(Commit, name, await files.read_verified(name, ref.sha256))
    if (commit.shard_uid, commit.attempt) != (ref.shard_uid, ref.attempt):
        raise mismatch(f"{name} is the commit of another attempt")
    return commit


async def _read_run(files: JobFiles, commit: Commit) -> RunRecord:
    if commit.run is None:
        raise ValueError("the commit names no run")
    return _parsed(RunRecord, commit.run.path, await files.read_verified(commit.run.path, commit.run.sha256))


def _parsed(kind: type[M], name: str, content: bytes) -> M:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise mismatch(f"{name} is not a file that this agent understands") from error
