"""The clips of an ended job that run again: chosen by what became of them, and pinned to the versions it planned."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from voxfleet_agent.stages.file_lines import verified_lines
from voxfleet_agent.stages.frozen_plan import ManifestSlice, open_manifest
from voxfleet_agent.stages.job_files import SMALL_FILE_BYTES, JobFiles, plan_mismatch, require_sha256
from voxfleet_agent.stages.plan.chosen_clips import chosen_indexes
from voxfleet_agent.stages.plan.input_clip import InputClip, invalid_input, require_task_input
from voxfleet_agent.stages.plan.packed_clips import PackedClips
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import PlanSource
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ranges import encode
from voxfleet_api.results import ERRORS_NAME, INDEX_NAME, ResultIndex
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow

ROWS_AT_A_TIME = 1024
EARLIER_JOB = "the job that spec.source names"
STATUSES: Mapping[SourceSelect, ClipStatus] = {
    SourceSelect.FAILED: ClipStatus.FAILED,
    SourceSelect.QUARANTINED: ClipStatus.QUARANTINED,
    SourceSelect.NOT_RUN: ClipStatus.NOT_RUN,
}


@dataclass(frozen=True, slots=True)
class SourceClips:
    clips: Sequence[InputClip]
    total: int
    """All clips of the earlier job."""


async def read_source(storage: Storage, retrier: Retrier, source: PlanSource, task: Task) -> SourceClips:
    """The chosen clips, by their index in the earlier job.

    Raises VoxFleetError: INPUT_NOT_FOUND or PLAN_MISMATCH when the earlier job's files are gone or others,
    INVALID_INPUT when no clip is chosen, or one that is not of the selected kind.
    """
    files = JobFiles(storage, source.folder, retrier)
    try:
        index = await _read_index(files, source.index_sha256)
        indexes = await _selected(files, source, index)
        clips = await _read_clips(files, source, index, indexes)
    except VoxFleetError as error:
        if error.failure_class not in (FailureClass.INPUT_NOT_FOUND, FailureClass.PLAN_MISMATCH):
            raise
        raise VoxFleetError(
            error.failure_class,
            f"{EARLIER_JOB} no longer has the results that its status names, write input instead: {error.message}",
        ) from error
    for clip in clips:
        if clip.problem is None:
            require_task_input(clip, task, lambda: f"a clip of {EARLIER_JOB}")
    return SourceClips(clips, index.total)


async def _read_index(files: JobFiles, sha256: str) -> ResultIndex:
    content = await files.read(INDEX_NAME, SMALL_FILE_BYTES)
    require_sha256(INDEX_NAME, content, sha256)
    try:
        return ResultIndex.model_validate_json(content)
    except ValidationError as error:
        raise plan_mismatch(f"{INDEX_NAME} is not a list of results that this agent understands") from error


async def _selected(files: JobFiles, source: PlanSource, index: ResultIndex) -> Sequence[int]:
    asked = None
    if source.indexes is not None:
        asked = chosen_indexes("spec.source.indexes", source.indexes, index.total, EARLIER_JOB)
    if source.select is SourceSelect.INDEXES:
        return asked or ()
    kind = STATUSES[source.select]
    found = await _indexes_of_status(files, index, kind)
    if not found:
        raise invalid_input(f"spec.source selects no clip: {EARLIER_JOB} has none that {_WORDS[kind]}")
    if asked is None:
        return found
    require_all_of(asked, found, kind)
    return asked


def require_all_of(asked: Iterable[int], found: Collection[int], kind: ClipStatus) -> None:
    """Raises VoxFleetError(INVALID_INPUT) naming the clips that are of another kind. Pure."""
    others = encode(set(asked).difference(found))
    if others:
        raise invalid_input(
            f"spec.source.indexes names clips of {EARLIER_JOB} that are not such that {_WORDS[kind]}: {others[:200]};"
            " leave them out, or write select: Indexes"
        )


_WORDS = {
    ClipStatus.FAILED: "failed",
    ClipStatus.QUARANTINED: "are in quarantine",
    ClipStatus.NOT_RUN: "did not run",
}


async def _indexes_of_status(files: JobFiles, index: ResultIndex, kind: ClipStatus) -> Sequence[int]:
    errors = next((file for file in index.files if file.path == ERRORS_NAME), None)
    if errors is None:
        raise plan_mismatch(f"{INDEX_NAME} names no {ERRORS_NAME}")
    found = array("Q")
    async for lines in verified_lines(files, errors):
        found.extend(await asyncio.to_thread(_indexes_in, lines, kind))
    return found


def _indexes_in(lines: Iterable[bytes], kind: ClipStatus) -> list[int]:
    try:
        rows = [ResultRow.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise plan_mismatch(f"{ERRORS_NAME} holds a row that this agent does not understand") from error
    return [row.index for row in rows if row.status is kind]


async def _read_clips(
    files: JobFiles, source: PlanSource, index: ResultIndex, indexes: Sequence[int]
) -> Sequence[InputClip]:
    """The clips of these indexes, which ascend."""
    clips, position = PackedClips(), 0
    manifest = await open_manifest(files, source.plan_attempt)
    while position < len(indexes):
        await manifest.skip_to(indexes[position])
        stop = indexes[position] + ROWS_AT_A_TIME
        rows = await manifest.read_to(stop)
        chosen = position
        while chosen < len(indexes) and indexes[chosen] < stop:
            chosen += 1
        await asyncio.to_thread(_pack, rows, indexes[position:chosen], clips)
        position = chosen
    await manifest.require_sha256(index.manifest_sha256)
    return clips


def _pack(rows: ManifestSlice, indexes: Sequence[int], clips: PackedClips) -> None:
    for index in indexes:
        if index not in rows:
            raise plan_mismatch(f"manifest.jsonl does not hold the clip {index}")
        clips.append(clip_again(rows[index]))


def clip_again(row: ManifestRow) -> InputClip:
    """Pure."""
    problem = None
    if row.uri is None and row.text is None:
        problem = "cannot be read" if row.refusal is None else row.refusal.reason
    return InputClip(row.custom_id, row.uri, row.sha256, row.text, problem, row.etag, row.index)
