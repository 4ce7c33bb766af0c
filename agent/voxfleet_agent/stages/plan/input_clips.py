"""Lists a job's clips, in order: from input.clips, a manifest, a prefix or an ended job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from voxfleet_agent.stages.plan.chosen_clips import ChosenInput, chosen_indexes
from voxfleet_agent.stages.plan.input_clip import InputClip, invalid_input, require_task_input
from voxfleet_agent.stages.plan.input_manifest import InputManifest
from voxfleet_agent.stages.plan.other_spelling import spelling_hint
from voxfleet_agent.stages.plan.prefix_selection import (
    PrefixSelection,
    enters,
    is_text,
    nothing_selected,
    printable,
    select_clips,
)
from voxfleet_agent.stages.plan.source_clips import read_source
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import PlanSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.input_selection import InputSelection, SkippedEntries, SkipReason
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ranges import MAX_INDEXES

MANIFEST_LIMIT_BYTES = 256 * 2**20
MAX_LISTED_NAMES = 500_000
"""The most files below a prefix, whether they are clips or not. Their names are in memory together."""
_FILE_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class ListedInput:
    """The job's clips in order, and for a prefix, what it holds besides."""

    clips: Sequence[InputClip]
    selection: PrefixSelection | None = None
    not_chosen: int | None = None
    """How many clips spec.only or spec.source left out; None: the job has neither."""

    def counts(self) -> InputSelection | None:
        """What there was and what of it became clips; None for an input all of which is taken."""
        listed = None if self.selection is None else self.selection.counts()
        if self.not_chosen is None:
            return listed
        total = len(self.clips) + self.not_chosen
        skipped = (SkippedEntries(reason=SkipReason.NOT_CHOSEN.value, entries=self.not_chosen),) * (self.not_chosen > 0)
        if listed is None:
            return InputSelection(listed=total, taken=len(self.clips), skipped=skipped)
        return InputSelection(listed=listed.listed, taken=len(self.clips), skipped=(*listed.skipped, *skipped))


class PrefixClips(Sequence[InputClip]):
    """The clips of a prefix. Each is made when it is used, because there may be a hundred thousand."""

    def __init__(self, prefix_uri: str, names: Sequence[str]) -> None:
        self._prefix_uri = prefix_uri
        self._names = names

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> PrefixClips: ...

    def __getitem__(self, index: int | slice) -> InputClip | PrefixClips:
        if isinstance(index, slice):
            return PrefixClips(self._prefix_uri, self._names[index])
        name = self._names[index]
        if not is_text(name):
            return InputClip(printable(name), problem="its name is not UTF-8, so no address can name it; rename it")
        if name.endswith("/"):
            return InputClip(name, problem="its key ends in a slash, so no address can name it; copy it to another key")
        return InputClip(name, f"{self._prefix_uri}{name}")

    def __len__(self) -> int:
        return len(self._names)


async def list_clips(
    storage: Storage, retrier: Retrier, plan_spec: PlanSpec, task: Task, output_folder: str
) -> ListedInput:
    """The clips that the job consists of. Raises VoxFleetError as `list_input_clips` and `read_source` do."""
    if plan_spec.source is not None:
        found = await read_source(storage, retrier, plan_spec.source, task)
        return ListedInput(found.clips, not_chosen=found.total - len(found.clips))
    if plan_spec.input is None:
        raise invalid_input("the job has neither spec.input nor spec.source; write one of them")
    listed = await list_input_clips(storage, retrier, plan_spec.input, task, output_folder)
    if plan_spec.only is None:
        return listed
    indexes = chosen_indexes("spec.only", plan_spec.only, len(listed.clips), "the input")
    clips = ChosenInput(listed.clips, indexes)
    return replace(listed, clips=clips, not_chosen=len(listed.clips) - len(clips))


async def list_input_clips(
    storage: Storage, retrier: Retrier, job_input: JobInput, task: Task, output_folder: str
) -> ListedInput:
    """All clips of spec.input. Raises VoxFleetError naming the line of a manifest, or what is missing."""
    if job_input.clips is not None:
        clips = [InputClip(clip.id, clip.uri, clip.sha256, clip.text) for clip in job_input.clips]
        for clip in clips:
            require_task_input(clip, task, lambda: "a clip of spec.input.clips")
        listed = ListedInput(clips)
    elif job_input.manifest is not None:
        uri = job_input.manifest.uri
        content = await _read_manifest(storage, retrier, uri)
        listed = ListedInput(await asyncio.to_thread(InputManifest, uri, content, task))
    elif job_input.prefix is not None:
        if task is Task.SYNTHESIZE:
            raise invalid_input(
                "task Synthesize speaks texts; write input.clips with text, or an input.manifest of texts"
            )
        listed = await _list_prefix(storage, retrier, job_input.prefix, output_folder)
    else:
        raise invalid_input("spec.input names no clips, no manifest and no prefix")
    if not listed.clips:
        raise invalid_input(
            "the input has no clips: the manifest that spec.input.manifest.uri names has no line with one"
        )
    if len(listed.clips) > MAX_INDEXES:
        raise invalid_input(
            f"the input has {len(listed.clips)} clips; at most {MAX_INDEXES} are possible, split the job"
        )
    return listed


async def _list_prefix(storage: Storage, retrier: Retrier, prefix: PrefixInput, output_folder: str) -> ListedInput:
    try:
        listing = await retrier(lambda: storage.list_objects(prefix.uri, MAX_LISTED_NAMES, enters))
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"spec.input.prefix.uri: {error.message}") from error
    if not listing.exists:
        raise await _missing_prefix(storage, prefix.uri)
    # In a thread, because many names and patterns take a while.
    selection = await asyncio.to_thread(select_clips, prefix, listing, output_folder)
    if not selection.names:
        why = await asyncio.to_thread(nothing_selected, prefix, selection)
        raise invalid_input(f"the input has no clips: spec.input.prefix.uri names a folder, but {why}")
    return ListedInput(PrefixClips(prefix.uri, selection.names), selection)


async def _missing_prefix(storage: Storage, uri: str) -> VoxFleetError:
    if uri.startswith(_FILE_SCHEME):
        missing = _missing("folder", uri)
    else:
        missing = "no object's key begins with the prefix; upload the clips or correct it"
    hint = await spelling_hint(storage, uri)
    return VoxFleetError(FailureClass.INPUT_NOT_FOUND, f"spec.input.prefix.uri: {missing}{hint}")


async def _read_manifest(storage: Storage, retrier: Retrier, uri: str) -> bytes:
    try:
        return await retrier(lambda: storage.get(uri, MANIFEST_LIMIT_BYTES))
    except VoxFleetError as error:
        message = error.message
        if error.failure_class is FailureClass.INPUT_NOT_FOUND:
            # Of other addresses nothing is quoted: a presigned one is a secret.
            if uri.startswith(_FILE_SCHEME):
                message = _missing("file", uri)
            else:
                message = f"{message}; upload it or correct the address"
            message += await spelling_hint(storage, uri)
        raise VoxFleetError(error.failure_class, f"spec.input.manifest.uri: {message}") from error


def _missing(what: str, file_uri: str) -> str:
    path = file_uri.removeprefix(_FILE_SCHEME)
    return f"the {what} {path} does not exist, or this Mac does not see it; create it, mount its volume or correct it"
