"""A shard's clips: which they are, whether this Mac can read them, and which still need a row."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial

from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.frozen_plan import ManifestLines, open_manifest
from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import ProcessSpec
from voxfleet_api.ranges import encode
from voxfleet_api.results import ManifestRow, PlanFile


@dataclass(frozen=True, slots=True)
class RemainingClips:
    """Clips without a row."""

    refused: list[int]
    """By Plan: they need no lane."""
    lengths: dict[int, int]
    """Announced milliseconds of the others."""


def remaining_clips(clips: Mapping[int, ManifestRow], done: Set[int]) -> RemainingClips:
    """Pure."""
    todo = RemainingClips([], {})
    for index in clips:
        if index not in done:
            clip = clips[index]
            if clip.refusal is not None:
                todo.refused.append(index)
            else:
                todo.lengths[index] = clip.audio_milliseconds
    return todo


def shard_indexes(file: PlanFile, order: ProcessSpec, contract_digest: str) -> range:
    """The shard's clips. Raises VoxFleetError naming what differs from what the job's status froze. Pure."""
    if file.model_digest != order.model_digest:
        raise plan_mismatch(f"plan.json names the model {file.model_digest}, the job's status {order.model_digest}")
    if file.contract_digest != contract_digest:
        raise plan_mismatch(f"plan.json names the contract {file.contract_digest}, the job's status {contract_digest}")
    if digest_of(list(file.boundaries)) != order.boundaries_digest:
        raise plan_mismatch("plan.json has other shard boundaries than the job's status")
    if order.ordinal + 1 >= len(file.boundaries):
        raise plan_mismatch(f"the plan has {len(file.boundaries) - 1} shards and so no shard {order.ordinal}")
    indexes = range(file.boundaries[order.ordinal], file.boundaries[order.ordinal + 1])
    if order.indexes != encode(indexes):
        raise plan_mismatch(f"shard {order.ordinal} of the plan holds the clips {encode(indexes)}, not {order.indexes}")
    return indexes


async def read_clips(files: JobFiles, indexes: range, order: ProcessSpec) -> ManifestLines:
    """Raises VoxFleetError(PLAN_MISMATCH) when the manifest is not the one that the job's status froze."""
    manifest = await open_manifest(files, order.plan_attempt)
    await manifest.skip(indexes.start)
    clips = await manifest.take(indexes.stop)
    await manifest.require_sha256(order.manifest_sha256)
    if len(clips) != len(indexes):
        raise plan_mismatch(f"manifest.jsonl does not hold the clips {indexes.start} to {indexes.stop - 1}")
    return clips


UNREADABLE_CLIPS = 16
"""That are passed over in search of one that can be read."""


async def require_shared_input(storage: Storage, retrier: Retrier, clips: Mapping[int, ManifestRow]) -> None:
    """Raises VoxFleetError(INPUT_NOT_SHARED) when this Mac sees nothing of the local folder that Plan read.

    A clip that was deleted since then leaves its folder behind, and one that cannot be read tells nothing of the
    others: those are the clips' own failures.
    """
    folder, unreadable = None, 0
    for clip in clips.values():
        if clip.refusal is not None or clip.uri is None or not clip.uri.startswith("file:"):
            continue
        folder = folder or f"{clip.uri.rpartition('/')[0]}/"
        try:
            if await retrier(partial(storage.exists, clip.uri)):
                return
        except VoxFleetError as error:
            if SCOPE_OF[error.failure_class] is FailureScope.ATTEMPT:
                raise
            unreadable += 1
            if unreadable == UNREADABLE_CLIPS:
                break
    if folder is None:
        return
    try:
        if await retrier(partial(storage.list_names, folder, limit=2**62)):
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
