"""A shard's clips: which clips belong to it, which still need a row, and whether this Mac can read them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial

from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.frozen_plan import ManifestSlice, open_manifest
from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import ProcessSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import decode, encode
from voxfleet_api.results import PlanFile
from voxfleet_api.rows import ManifestRow


@dataclass(frozen=True, slots=True)
class RemainingClips:
    """The clips of a shard that have no row yet."""

    refused: list[int]
    """Indexes of clips that Plan refused; their rows need no lane."""
    lengths: dict[int, int]
    """Milliseconds by index of the other clips, as their headers announce them."""
    finished_milliseconds: int
    """Audio of the clips that have a row, as Plan found it."""


def remaining_clips(clips: Mapping[int, ManifestRow], finished: Set[int]) -> RemainingClips:
    """`finished`: indexes of clips that have a row. Pure."""
    refused, lengths, finished_milliseconds = list[int](), dict[int, int](), 0
    for index in clips:
        clip = clips[index]
        if index in finished:
            finished_milliseconds += clip.audio_milliseconds
        elif clip.refusal is not None:
            refused.append(index)
        else:
            lengths[index] = clip.audio_milliseconds
    return RemainingClips(refused, lengths, finished_milliseconds)


def shard_indexes(plan: PlanFile, process_spec: ProcessSpec, contract_digest: str) -> range:
    """The shard's clips. Raises VoxFleetError(PLAN_MISMATCH), naming what differs from the job's status. Pure."""
    if plan.model_digest != process_spec.model_digest:
        raise plan_mismatch(
            f"plan.json names the model {plan.model_digest}, the job's status {process_spec.model_digest}"
        )
    if plan.contract_digest != contract_digest:
        raise plan_mismatch(f"plan.json names the contract {plan.contract_digest}, the job's status {contract_digest}")
    if digest_of(list(plan.boundaries)) != process_spec.boundaries_digest:
        raise plan_mismatch("plan.json has other shard boundaries than the job's status")
    if process_spec.ordinal + 1 >= len(plan.boundaries):
        raise plan_mismatch(f"the plan has {len(plan.boundaries) - 1} shards and so no shard {process_spec.ordinal}")
    planned = range(plan.boundaries[process_spec.ordinal], plan.boundaries[process_spec.ordinal + 1])
    indexes = _part_of(planned, process_spec.indexes) if process_spec.inherits else planned
    if process_spec.indexes != encode(indexes):
        raise plan_mismatch(
            f"shard {process_spec.ordinal} of the plan holds the clips {encode(planned)}, not {process_spec.indexes}"
        )
    return indexes


def _part_of(planned: range, indexes: str) -> range:
    """The named clips, if they follow one another in the planned shard; else all of it."""
    named = decode(indexes)
    part = range(named[0], named[-1] + 1) if named else planned
    return part if part.start in planned and part[-1] in planned else planned


async def read_clips(files: JobFiles, indexes: range, process_spec: ProcessSpec) -> ManifestSlice:
    """The shard's manifest rows. Raises VoxFleetError(PLAN_MISMATCH) when the manifest is not the frozen one."""
    manifest = await open_manifest(files, process_spec.plan_attempt)
    await manifest.skip_to(indexes.start)
    clips = await manifest.read_to(indexes.stop)
    await manifest.require_sha256(process_spec.manifest_sha256)
    if len(clips) != len(indexes):
        raise plan_mismatch(f"manifest.jsonl does not hold the clips {indexes.start} to {indexes.stop - 1}")
    return clips


MAX_UNREADABLE_CLIPS = 16
"""After this many unreadable clips, `require_shared_input` looks at the folder instead."""


async def require_shared_input(
    storage: Storage, retrier: Retrier, clips: Mapping[int, ManifestRow], *, one_machine: bool = False
) -> None:
    """Raises VoxFleetError when this Mac cannot see the local folder that Plan read.

    One readable clip, or one file in the folder, is enough: a clip that was deleted after Plan, or that cannot be
    read, is that clip's own failure. The class is INPUT_NOT_SHARED or, on `one_machine`, INPUT_NOT_FOUND.
    """
    folder, unreadable = None, 0
    for clip in clips.values():
        if clip.refusal is not None or clip.uri is None or not clip.uri.startswith("file:"):
            continue
        if not storage.is_open_to_namespace(clip.uri):
            continue  # another's file, whether this Mac sees it or not
        folder = folder or f"{clip.uri.rpartition('/')[0]}/"
        try:
            if await retrier(partial(storage.exists, clip.uri)):
                return
        except VoxFleetError as error:
            if SCOPE_OF[error.failure_class] is FailureScope.ATTEMPT:
                raise
            unreadable += 1
            if unreadable == MAX_UNREADABLE_CLIPS:
                break
    if folder is None:
        return
    try:
        if (await retrier(partial(storage.list_objects, folder, limit=2**62))).names:
            return
        problem = "finds no file in the input folder"
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.ACCESS_DENIED:
            raise
        problem = f"may not read the input ({error.message})"
    raise _lost_input(problem, one_machine=one_machine)


def _lost_input(problem: str, *, one_machine: bool) -> VoxFleetError:
    if one_machine:
        return VoxFleetError(
            FailureClass.INPUT_NOT_FOUND,
            f"this machine {problem}, which it read when it planned this run; mount the volume again or put the clips"
            " back, then run the same command",
        )
    return VoxFleetError(
        FailureClass.INPUT_NOT_SHARED,
        f"this Mac {problem}, which Plan read, perhaps on another one; use s3://, a folder that every Mac mounts at the"
        " same path, or select one Mac with macSelector",
    )
